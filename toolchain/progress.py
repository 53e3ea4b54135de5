"""Showing a run's progress: a live line with the stage's name on a terminal, plain warnings elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from edgepack.toolchain.events import Event, Listener


@contextmanager
def listening(stream: TextIO) -> Iterator[Listener]:
    """A listener that writes to `stream`: live on a terminal, else warnings only."""
    if not stream.isatty():

        def plain(event: Event) -> None:
            if event.kind == "warning":
                stream.write(f"Warning: {event.text}\n")
                stream.flush()

        yield plain
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(file=stream)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[int, int] = {}

        def live(event: Event) -> None:
            if event.kind == "warning":
                console.print(f"[yellow]Warning:[/] {escape(event.text)}")
            elif event.kind == "begin":
                tasks[id(event.record)] = progress.add_task(escape(event.text), total=None)
            elif event.record is not None:
                progress.remove_task(tasks.pop(id(event.record)))  # type: ignore[arg-type]
            if event.kind == "end" and event.record is not None:
                how = "from the cache" if event.record.cached else f"{event.record.seconds:.1f} s"
                detail = f"  {escape(event.record.detail)}" if event.record.detail else ""
                console.print(f"[green]✓[/] {escape(event.text)} [dim]({how}){detail}[/]")

        yield live
