"""What the commands have in common: how an error and progress are shown, and which cache they use."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from edgepack.toolchain.cache import Cache
    from edgepack.toolchain.errors import EdgepackError
    from edgepack.toolchain.events import Listener

_BY_SIGNAL = 128
"""Exit codes of signals, as shells have them: this and the signal's number."""


@contextmanager
def errors_shown(*, debug: bool, out: Path | None = None) -> Iterator[None]:
    """One paragraph and the contract's exit code for every error; a traceback only when asked for."""
    from edgepack.toolchain.ended import signals_raised
    from edgepack.toolchain.errors import EdgepackError

    try:
        with signals_raised():
            yield
    except KeyboardInterrupt as stop:
        again = f" Continue with: edgepack export --resume --out {out}." if out else ""
        raise interrupted(stop, f"nothing half-written is left.{again}") from None
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


def interrupted(stop: KeyboardInterrupt, what_is_left: str) -> typer.Exit:
    """Say how a command was stopped and what is left of it; returns what ends it with the signal's exit code."""
    from edgepack.toolchain.ended import Ended

    how, number = (
        (f"Ended by {stop}", stop.number) if isinstance(stop, Ended) else ("Interrupted", signal.SIGINT)
    )
    typer.echo(f"\n{how}; {what_is_left}", err=True)
    return typer.Exit(_BY_SIGNAL + number)


@contextmanager
def progress(*, show: bool) -> Iterator[Listener | None]:
    """A listener that shows the running stage on standard error when it is a terminal."""
    if not show:
        yield None
        return
    from edgepack.toolchain.progress import listening

    with listening(sys.stderr) as listener:
        yield listener


@contextmanager
def steps(*, show: bool) -> Iterator[Callable[[int, int, str], object]]:
    """A listener to (done, total, text): a bar on standard error when it is a terminal, else a line a step."""
    if not show:
        yield lambda _done, _total, _text: None
        return
    if not sys.stderr.isatty():
        yield lambda done, total, text: typer.echo(f"[{done}/{total}] {text}", err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")

        def bar(done: int, total: int, text: str) -> None:
            progress.update(task, completed=done, total=total, description=text)

        yield bar


def opened_cache(*, use: bool) -> AbstractContextManager[Cache]:
    """The user's cache, or a private one that is removed at the end."""
    from edgepack.toolchain.cache import Cache

    return Cache() if use else Cache.temporary()


def _fail(error: EdgepackError, *, debug: bool) -> NoReturn:
    if debug:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"Error: {error}", err=True)
    raise typer.Exit(error.exit_code) from None
