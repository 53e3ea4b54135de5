"""`edgepack zoo list | show | export | matrix`: parse, ask, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, steps

if TYPE_CHECKING:
    from edgepack.exporters.architectures.cards import Growth, Published
    from edgepack.toolchain.zoo.results import Matrix

zoo_app = typer.Typer(help="Architectures of edgepack's own, opened as zoo:NAME.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the command and its subcommands."""
    app.add_typer(zoo_app, name="zoo")


@zoo_app.command("list")
def zoo_list(json_: opt.Json = False, debug: opt.Debug = False) -> None:  # noqa: FBT002 - typer
    """List the architectures and their configurations."""
    with errors_shown(debug=debug):
        from edgepack.exporters.architectures.base import architectures

        found = [one for _, one in architectures.items()]
        if json_:
            entries = [
                {
                    "name": one.card.name,
                    "system": one.card.system,
                    "paper": one.card.paper,
                    "parts": dict(one.card.parts),
                    "published": [asdict(size) for size in one.card.published],
                    "configurations": list(one.configs),
                }
                for one in found
            ]
            typer.echo(json.dumps({"architectures": entries}))
            return
        for one in sorted(found, key=lambda one: one.card.order):
            typer.echo(f"{one.card.system}  {one.card.name}  {one.card.paper}")
            typer.echo("    " + "  ".join(f"zoo:{one.card.name}/{config}" for config in one.configs))


@zoo_app.command("show")
def zoo_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An architecture's name.")],
    json_: opt.Json = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Show an architecture's card, and count its configurations beside what the paper gives."""
    with errors_shown(debug=debug):
        from edgepack.exporters.architectures.base import architectures

        one = architectures.get(name.removeprefix("zoo:").partition("/")[0])
        card = one.card
        counts = {config: one.counted(config) for config in one.configs}
        if json_:
            data = asdict(card) | {
                "configurations": {
                    key: asdict(config) | asdict(counts[key]) for key, config in one.configs.items()
                }
            }
            typer.echo(json.dumps(data))
            return
        link = f" (arXiv:{card.arxiv})" if card.arxiv else ""
        typer.echo(f"{card.name}: {card.paper}{link}, system {card.system}")
        sizes = []
        for config, count in counts.items():
            macs = "" if count.macs is None else f", {count.macs:,} multiply-accumulates"
            sizes.append(f"zoo:{card.name}/{config}: {count.parameters:,} parameters{macs}")
        published = tuple(map(_said, card.published)) or tuple(filter(None, [card.unpublished]))
        for title, lines in (
            ("The paper says", card.says), ("Parts", tuple(f"{part}: {does}" for part, does in card.parts.items())),
            ("Configurations", tuple(sizes)), ("Published sizes", published),
            ("Survives in the graph", card.structure), ("Checked", card.checks), ("Decided here", card.assumed),
            ("Cost over length", tuple(map(_grows, card.growth))),
            ("Reference code", tuple(filter(None, [card.compared]))),
        ):  # fmt: skip
            if lines:
                typer.echo(f"{title}:")
            for line in lines:
                typer.echo(f"  - {line}")


_Named = Annotated[
    str,
    typer.Argument(
        metavar="NAME[/CONFIGURATION]",
        help="An architecture; the first configuration of its list unless named.",
    ),
]


def add_export(export: Callable[..., Any]) -> None:
    """Add `edgepack zoo export`, which is `export` with a model of the zoo and all of its options.

    Args:
        export: The command's function; its option `model` is what is filled in.
    """

    def zoo_export(name: str, **options: Any) -> None:
        export(model=f"zoo:{name.removeprefix('zoo:')}", **options)

    hints = get_type_hints(export, include_extras=True) | {"name": _Named}
    named = inspect.Parameter("name", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=_Named)
    rest = [
        parameter.replace(annotation=hints[key])
        for key, parameter in inspect.signature(export).parameters.items()
        if key != "model"
    ]
    zoo_export.__signature__ = inspect.Signature([named, *rest])  # type: ignore[attr-defined]
    zoo_export.__annotations__ = {key: hint for key, hint in hints.items() if key != "model"}
    zoo_export.__doc__ = "Export an architecture to its targets: edgepack export zoo:NAME, with its options."
    zoo_app.command("export")(zoo_export)


@zoo_app.command("matrix")
def zoo_matrix(  # noqa: PLR0913 - options of a command
    target: opt.Targets = None,
    system: Annotated[str, typer.Option(help="Architectures, comma-separated [default: all].")] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for finished cells.")] = Path("zoo-matrix"),
    markdown: Annotated[
        Path | None, typer.Option(help="A document that gets the table between its markers.")
    ] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that one cell may take.")] = 900.0,
    jobs: opt.Jobs = None,
    older: Annotated[  # noqa: FBT002 - typer
        bool,
        typer.Option(
            "--older", help="Take cells of earlier code where there is none of this; they are counted."
        ),
    ] = False,
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Run every system's tiny configuration for every installed target, and show what runs where and why not."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.zoo import matrix, shown

        names = tuple(word.strip() for word in system.split(",") if word.strip())
        wanted = matrix.Wanted(out, tuple(opt.split(target) or ()), names, time_limit, jobs, older)
        # Before the runs, not after.
        document = markdown.read_text(encoding="utf-8") if markdown else None
        with steps(show=not quiet) as listener:
            found = matrix.run(wanted, listener)
        if markdown and document is not None:
            markdown.write_text(shown.put(document, found), encoding="utf-8")
        _print_matrix(found, as_json=json_, quiet=quiet)


def _print_matrix(found: Matrix, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(found.model_dump_json())
    elif not quiet:
        from rich.console import Console

        from edgepack.toolchain.zoo import shown

        Console().print(shown.terminal(found))


def _grows(growth: Growth) -> str:
    of = f"{growth.lengths[0]} to {growth.lengths[-1]} {growth.of}"
    return (
        f"{growth.value} ~ n^{growth.exponent:.2f} over {of}, beside n^{growth.other:.2f} ({growth.command})"
    )


def _said(size: Published) -> str:
    figures = [
        f"{value:,.0f} {what}"
        for value, what in ((size.parameters, "parameters"), (size.macs, "multiply-accumulates"))
        if value is not None
    ]
    return f"{size.config}: {', '.join(figures)} ({size.source})"
