"""`edgepack board create|start|stop|remove|list`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown

app = typer.Typer(
    help="Emulated 64-bit ARM boards for tests and for who has no hardware.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The board's name, as in board://NAME.")]


def add_to(main: typer.Typer) -> None:
    """Add the commands."""
    main.add_typer(app, name="board")


@app.command()
def create(
    name: Name = "board",
    cpu: Annotated[str, typer.Option(help="cortex-a53, cortex-a72 or cortex-a76.")] = "cortex-a76",
    python: Annotated[  # noqa: FBT002 - typer
        bool, typer.Option("--python", help="With Debian's Python, which is fetched (75 MB unpacked).")
    ] = False,
    onnxruntime: Annotated[
        Path | None,
        typer.Option(
            help="ONNX Runtime's wheel for 64-bit ARM, or a folder that holds it [default: pip fetches it]."
        ),
    ] = None,
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Make a board; what is not named is fetched, and said before."""
    with errors_shown(debug=debug):
        from edgepack.runtime.devices.board import making

        making.create(name, processor=cpu, python=python, onnxruntime=onnxruntime, tell=_tell(quiet=quiet))
        if not quiet:
            typer.echo(f"Made. Switch it on with: edgepack board start {name}")


@app.command()
def start(
    name: Name = "board",
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Switch a board on, after proving that ONNX Runtime's library can be loaded there."""
    with errors_shown(debug=debug):
        from edgepack.runtime.devices.board import boards

        boards.start(name, tell=_tell(quiet=quiet))
        if not quiet:
            typer.echo(f"On. Use it with: edgepack profile BUNDLE --device board://{name}")


@app.command()
def stop(name: Name = "board", debug: opt.Debug = False) -> None:  # noqa: FBT002 - typer
    """Switch a board off, and end what runs there."""
    with errors_shown(debug=debug):
        from edgepack.runtime.devices.board import boards

        boards.stop(name)


@app.command()
def remove(name: Name = "board", debug: opt.Debug = False) -> None:  # noqa: FBT002 - typer
    """Remove a board with all that is on it."""
    with errors_shown(debug=debug):
        from edgepack.runtime.devices.board import boards

        boards.remove(name)


@app.command(name="list")
def list_boards(
    json_: opt.Json = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Show all boards."""
    with errors_shown(debug=debug):
        from edgepack.runtime.devices.board import boards

        found = []
        for one in boards.every():
            on = boards.started(one)
            found.append(
                {
                    "address": f"board://{one.name}",
                    "state": "on" if on else "off",
                    "processor": one.processor,
                    "onnxruntime": one.onnxruntime,
                    "python": one.has_python,
                    "counts": bool(on and on.plugin),
                }
            )
        if json_:
            typer.echo(json.dumps({"boards": found}))
            return
        for facts in found:
            python = ", Python" if facts["python"] else ""
            typer.echo(
                f"{facts['address']}  {facts['state']}  emulated {facts['processor']}, "
                f"ONNX Runtime {facts['onnxruntime']}{python}"
            )


def _tell(*, quiet: bool) -> Callable[[str], object]:
    return (lambda _: None) if quiet else (lambda text: typer.echo(text, err=True))
