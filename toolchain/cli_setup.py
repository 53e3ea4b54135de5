"""`edgepack setup`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, steps


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("setup")(setup)


def setup(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Its name; edgepack targets lists them.")],
    remove: Annotated[  # noqa: FBT002 - typer
        bool, typer.Option("--remove", help="Delete the environment instead.")
    ] = False,
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Make the isolated environment of a target's toolchain; run again, it goes on where it was interrupted."""
    with errors_shown(debug=debug):
        from edgepack.toolchain import api

        if remove:
            done = api.remove_environment(target)
            facts: dict[str, object] = {"target": target, "removed": done}
            words = "removed" if done else "there was none"
        else:
            with steps(show=not quiet) as tell:
                count = api.set_up(target, tell=tell)
            facts = {"target": target, "installed": count}
            words = f"ready, {count} packages installed now"
        if json_:
            typer.echo(json.dumps(facts))
        elif not quiet:
            typer.echo(f"{target}: {words}")
