"""`edgepack claims` and `edgepack zoo`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, steps

if TYPE_CHECKING:
    from edgepack.toolchain.claims.base import Claim
    from edgepack.toolchain.claims.results import ClaimResults

RESULTS_FILE, PAGE_FILE = "results.json", "claim.html"
zoo_app = typer.Typer(help="Architectures of edgepack's own, opened as zoo:NAME.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("claims")(claims)
    app.add_typer(zoo_app, name="zoo")


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


@zoo_app.command("list")
def zoo_list(json_: opt.Json = False, debug: opt.Debug = False) -> None:  # noqa: FBT002 - typer
    """List the architectures and their configurations."""
    with errors_shown(debug=debug):
        from edgepack.exporters.architectures.base import architectures

        found = {name: dict(one.parameters) for name, one in architectures.items()}
        if json_:
            typer.echo(json.dumps({"architectures": found}))
            return
        for name, one in architectures.items():
            typer.echo(f"{name}  {one.card.paper}")
            for config, parameters in one.parameters.items():
                typer.echo(f"  zoo:{name}/{config}  {parameters / 1e6:.2f}M parameters")


@zoo_app.command("show")
def zoo_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An architecture's name.")],
    json_: opt.Json = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Show an architecture's card."""
    with errors_shown(debug=debug):
        from edgepack.exporters.architectures.base import architectures

        one = architectures.get(name.removeprefix("zoo:").partition("/")[0])
        card = one.card
        if json_:
            data = asdict(card) | {
                "configurations": {
                    key: asdict(config) | {"parameters": one.parameters[key]}
                    for key, config in one.configs.items()
                }
            }
            typer.echo(json.dumps(data))
            return
        link = f" (arXiv:{card.arxiv})" if card.arxiv else ""
        typer.echo(f"{card.name}: {card.paper}{link}, row {card.row}")
        parts = tuple(f"{part}: {does}" for part, does in card.parts.items())
        sizes = tuple(f"zoo:{name}/{key}: {count:,} parameters" for key, count in one.parameters.items())
        for title, lines in (
            ("The paper says", card.says), ("Parts", parts), ("Configurations", sizes),
            ("Checked", card.checks), ("Decided here", card.assumed),
        ):  # fmt: skip
            typer.echo(f"{title}:")
            for line in lines:
                typer.echo(f"  - {line}")


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
