"""`edgepack zoo list | show`: parse, ask the registry, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown

if TYPE_CHECKING:
    from edgepack.exporters.architectures.cards import Published

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
        for one in sorted(found, key=lambda one: one.card.system):
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
            ("Reference code", tuple(filter(None, [card.compared]))),
        ):  # fmt: skip
            if lines:
                typer.echo(f"{title}:")
            for line in lines:
                typer.echo(f"  - {line}")


def _said(size: Published) -> str:
    figures = [
        f"{value:,.0f} {what}"
        for value, what in ((size.parameters, "parameters"), (size.macs, "multiply-accumulates"))
        if value is not None
    ]
    return f"{size.config}: {', '.join(figures)} ({size.source})"
