"""`edgepack bisect`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, opened_cache, progress

if TYPE_CHECKING:
    from edgepack.toolchain.blame.results import Blame

JSON_FILE, PAGE_FILE = "blame.json", "blame.html"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bisect")(bisect)


def bisect(  # noqa: PLR0913 - options of a command
    bundle: opt.BundleFolder,
    target: Annotated[str | None, typer.Option("--target", "-t", help="Which target's artifact.")] = None,
    part: Annotated[str | None, typer.Option(help="Which part of the model.")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", "-p", help="Which precision; one that lost, too.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Layers that are shown, and tried one by one.")] = 8,
    samples: Annotated[int, typer.Option(min=2, help="Held-out inputs to measure noise on, at most.")] = 32,
    apply: Annotated[
        int | None, typer.Option("--apply", min=1, help="Export again with that many layers kept float.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The bundle of --apply [default: BUNDLE-kept].")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder of blame.html and blame.json [default: BUNDLE-blame].")
    ] = None,
    cache: opt.UseCache = True,  # noqa: FBT002 - typer
    trust_pickle: opt.TrustPickle = False,  # noqa: FBT002 - typer
    trust_remote_code: opt.TrustRemoteCode = False,  # noqa: FBT002 - typer
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Rank a quantized artifact's layers by the error they add, and offer which to keep float."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.blame import bisect as blaming
        from edgepack.toolchain.blame.opening import Asked

        folder = _folder(report, bundle)
        asked = Asked(target, part, precision, trust_pickle, trust_remote_code)
        with opened_cache(use=cache) as store, progress(show=not quiet) as listener:
            blame = blaming.bisect(bundle, asked, top=top, samples=samples, cache=store, listener=listener)
            if apply is not None:
                place = out or bundle.with_name(f"{bundle.resolve().name}-kept")
                blame.applied = blaming.apply(blame, asked, apply, place, store, listener)
        _write(blame, folder)
        if json_:
            typer.echo(blame.model_dump_json())
        elif not quiet:
            _print(blame, top, folder)
    if blame.applied is not None and not blame.applied.passed:
        raise typer.Exit(3)


def _folder(report: Path | None, bundle: Path) -> Path:
    from edgepack.toolchain.errors import UsageError

    folder = report or bundle.with_name(f"{bundle.resolve().name}-blame")
    if folder.resolve().is_relative_to(bundle.resolve()):
        raise UsageError(
            "A bundle holds what its manifest names and nothing else",
            where=f"--report {folder}",
            todo="Name a folder outside of it",
        )
    return folder


def _write(blame: Blame, folder: Path) -> None:
    from edgepack.toolchain.report import blame as page
    from edgepack.toolchain.report.text import cleaned

    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON_FILE).write_text(blame.model_dump_json(indent=1), encoding="utf-8")
    (folder / PAGE_FILE).write_bytes(page.html(cleaned(blame)))


def _print(blame: Blame, top: int, folder: Path) -> None:
    from rich.console import Console

    from edgepack.toolchain.blame import shown
    from edgepack.toolchain.report.text import cleaned

    console = Console()
    console.print(shown.terminal(cleaned(blame), top))
    if blame.command:
        console.print(f"\nThe fix:\n{blame.command}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"\nPage: {folder / PAGE_FILE}", soft_wrap=True, highlight=False, markup=False)
