"""`edgepack bibench`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, interrupted, steps

if TYPE_CHECKING:
    from edgepack.toolchain.bibench.results import BibenchResults

Out = Annotated[
    Path, typer.Option("--out", "-o", help="Folder of the table; what lies there is not made again.")
]
Full = Annotated[bool, typer.Option("--full", help="A night's work of two cores instead of minutes.")]
Methods = Annotated[
    str, typer.Option("--method", "-m", help="Methods, comma-separated [default: all that are registered].")
]
Tasks = Annotated[str, typer.Option("--task", help="image, text, bytes, comma-separated [default: all].")]
Architectures = Annotated[
    str, typer.Option("--architecture", help="cnn, resnet, transformer, comma-separated [default: all].")
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Batches of a training, instead of the table's own.")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, help="Networks trained side by side [default: one a core, as memory allows]."
    ),
]
Markdown = Annotated[Path | None, typer.Option(help="A document that gets the table between its markers.")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bibench")(bibench)


def bibench(  # noqa: PLR0913 - options of a command
    out: Out = Path("bibench"),
    full: Full = False,  # noqa: FBT002 - typer
    method: Methods = "",
    task: Tasks = "",
    architecture: Architectures = "",
    step_count: Steps = None,
    jobs: Jobs = None,
    markdown: Markdown = None,
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Compare all methods of binarization: tasks, architectures, corruption, training, complexity, inference."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.bibench import shown
        from edgepack.toolchain.bibench.run import bibench as run

        # Before hours of work, not after.
        document = markdown.read_text(encoding="utf-8") if markdown else None
        words = [("--method", method), ("--task", task), ("--architecture", architecture)]
        command = ["edgepack bibench", *(["--full"] if full else [])]
        command += [f"{option} {given}" for option, given in words if given]
        command += [f"--steps {step_count}"] if step_count else []
        with _kept(out), steps(show=not quiet) as listener:
            results = run(
                out, full=full, methods=_split(method), tasks=_split(task), architectures=_split(architecture),
                steps=step_count, jobs=jobs, command=" ".join(command), listener=listener,
            )  # fmt: skip
        if markdown and document is not None:
            markdown.write_text(shown.put(document, results), encoding="utf-8")
        _print(results, out, as_json=json_, quiet=quiet)


@contextmanager
def _kept(out: Path) -> Iterator[None]:
    """After Ctrl-C, how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise interrupted(stop, f"finished cells are kept in {out}. The same command goes on.") from None


def _split(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _print(results: BibenchResults, out: Path, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(results.model_dump_json())
    elif not quiet:
        from rich.console import Console

        from edgepack.toolchain.bibench import shown
        from edgepack.toolchain.bibench.run import PAGE_FILE

        console = Console()
        console.print(shown.terminal(results))
        console.print(f"Page: {out / PAGE_FILE}", soft_wrap=True, highlight=False, markup=False)
