"""What the commands have in common: options, and how an error is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from edgepack.toolchain.errors import EdgepackError
    from edgepack.toolchain.events import Listener

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the signal's number."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]


@contextmanager
def errors_shown(*, debug: bool, out: Path | None = None) -> Iterator[None]:
    """One paragraph and the contract's exit code for every error; a traceback only when asked for."""
    from edgepack.toolchain.errors import EdgepackError

    try:
        yield
    except KeyboardInterrupt:
        again = f" Continue with: edgepack export --resume --out {out}." if out else ""
        typer.echo(f"\nInterrupted; nothing half-written is left.{again}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except EdgepackError as error:
        _fail(error, debug=debug)
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"Error: edgepack itself failed ({type(error).__name__}: {error}). "
            "Run it again with --debug and report it.",
            err=True,
        )
        raise typer.Exit(1) from None


@contextmanager
def progress(*, show: bool) -> Iterator[Listener | None]:
    """A listener that shows the running stage on standard error when it is a terminal."""
    if not show:
        yield None
        return
    from edgepack.toolchain.progress import listening

    with listening(sys.stderr) as listener:
        yield listener


def _fail(error: EdgepackError, *, debug: bool) -> NoReturn:
    if debug:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"Error: {error}", err=True)
    raise typer.Exit(error.exit_code) from None
