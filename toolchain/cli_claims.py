"""`edgepack claims`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, steps

if TYPE_CHECKING:
    from edgepack.toolchain.claims.base import Claim
    from edgepack.toolchain.claims.results import ClaimResults

RESULTS_FILE, PAGE_FILE = "results.json", "claim.html"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("claims")(claims)


def claims(  # noqa: PLR0913 - options of a command
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which claim; a list without it.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder [default: claims/NAME].")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small grid.")] = False,  # noqa: FBT002 - typer
    size: Annotated[str, typer.Option(help="Model sizes, comma-separated.")] = "",
    input_: Annotated[str, typer.Option("--input", help="Input lengths, comma-separated.")] = "",
    output: Annotated[str, typer.Option(help="Output lengths, comma-separated.")] = "",
    rounds: Annotated[int, typer.Option(help="How often each side runs.")] = 7,
    threads: Annotated[int, typer.Option(help="Threads within one operator.")] = 1,
    precision: Annotated[str, typer.Option(help="fp32 or int8-dynamic.")] = "fp32",
    markdown: Annotated[
        Path | None, typer.Option(help="A document that gets the table between the claim's markers.")
    ] = None,
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Measure a paper's claim here and print it beside the paper's figure. What is measured is kept in --out."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.cache import Cache
        from edgepack.toolchain.claims import base, page, shown

        if name is None:
            for known, one in base.claims.items():
                says = "; ".join(f"{s.value} {s.says}" for s in one.statements)
                typer.echo(f"{known}  {one.paper}: {says}")
            return
        claim = base.claims.get(name)
        folder = out or Path("claims") / name
        settings = base.Settings(
            folder, Cache(), _words(size), _numbers(input_, "--input"), _numbers(output, "--output"),
            rounds, threads, precision, quick,
        )  # fmt: skip
        # Before hours of measuring, not after.
        document = markdown.read_text(encoding="utf-8") if markdown else None
        with steps(show=not quiet) as listener:
            results = claim.measure(settings, listener)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULTS_FILE).write_text(results.model_dump_json(indent=1), encoding="utf-8")
        (folder / PAGE_FILE).write_bytes(page.html(claim, results))
        if markdown and document is not None:
            markdown.write_text(shown.put(document, claim, results), encoding="utf-8")
        _print(claim, results, folder, as_json=json_, quiet=quiet)


def _print(claim: Claim, results: ClaimResults, folder: Path, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(results.model_dump_json())
    elif not quiet:
        from rich.console import Console

        from edgepack.toolchain.claims import shown

        console = Console()
        console.print(shown.terminal(claim, results))
        console.print(f"Page: {folder / PAGE_FILE}", soft_wrap=True, highlight=False)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str, option: str) -> tuple[int, ...]:
    from edgepack.toolchain.errors import UsageError

    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise UsageError(
            f"'{text}' is not a list of whole numbers", where=option, todo="Write it like 128,512"
        ) from None
