"""The command line: parse, call the API, print. Nothing is decided here.

Heavy imports are inside the commands, so that help and completion stay instant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from edgepack.toolchain import cli_bisect, cli_claims, cli_search
from edgepack.toolchain.cli_shared import Debug, Json, Quiet, errors_shown, progress

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle
    from edgepack.toolchain.cache import Cache
    from edgepack.toolchain.results import Manifest

app = typer.Typer(
    name="edgepack",
    help="Take a model to the devices it ships on: verified artifacts for CPU, NPU and mobile runtimes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cache_app = typer.Typer(help="Look at or empty the cache of finished stages.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")
cli_claims.add_to(app)
cli_bisect.add_to(app)
cli_search.add_to(app)


def _complete_target(incomplete: str) -> list[str]:
    from edgepack.targets.base import FAMILIES, targets

    return [name for name in (*FAMILIES, *targets.names()) if name.startswith(incomplete)]


def _complete_precision(incomplete: str) -> list[str]:
    from edgepack.toolchain.recipe import PRECISIONS

    return [name for name in PRECISIONS if name.startswith(incomplete)]


BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that export wrote.")]


@app.command()
def export(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Hugging Face folder, .onnx, .pt2, package.module:factory or file.py:factory.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="Targets or families, comma-separated [default: cpu,npu,mobile].",
            autocompletion=_complete_target,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The bundle's folder [default: build].")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            "-p",
            help="auto, fp32, int8, or an exact one [default: auto].",
            autocompletion=_complete_precision,
        ),
    ] = None,
    quantize: Annotated[
        list[str] | None,
        typer.Option(
            "--quantize", help="An option of the precision's quantizer: ranges=percentile. Repeat for more."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", help="A node that quantizers leave float; bisect names them. Repeat for more."
        ),
    ] = None,
    assign: Annotated[
        str | None, typer.Option(help="A file with every layer's form, for --precision mixed.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="The model's task, when its configuration does not tell.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--inputs", "-i", help='An input: "name:dtype[1,seq=128]". Repeat for more.'),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option("--size", help="Size of a named dimension: sequence=128. Repeat for more."),
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Fix every dimension at its size, on all targets.")
    ] = False,
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", "-c", help="Real inputs: .npz, folder, .txt or python:factory."),
    ] = None,
    calibration_samples: Annotated[
        int | None, typer.Option(help="Samples that calibrate [default: 96].")
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option("--gate", help="A bound of your own: cosine=0.995. Repeat for more."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What judges quantized artifacts: cosine, top1, neighbours, perplexity or python:file.py:function."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads within one operator [default: 1].")] = None,
    time_budget: Annotated[
        float | None, typer.Option(help="Seconds after which no further candidate is begun.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds for one vendor tool [default: 1800].")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A YAML or JSON file with these settings.")] = None,
    measure: Annotated[bool, typer.Option(help="Time the artifacts on this machine.")] = True,
    cache: Annotated[bool, typer.Option(help="Keep and reuse finished stages.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the unfinished run to --out.")] = False,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Allow unpickling the model's weights.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Allow running code from the model's folder.")
    ] = False,
    json_: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Export a model to its targets: artifacts, manifest and latency report in one folder."""
    with errors_shown(debug=debug, out=out):
        from edgepack.toolchain import pipeline
        from edgepack.toolchain.errors import UsageError
        from edgepack.toolchain.recipe import make, read

        values: dict[str, Any] = read(recipe) if recipe else {}
        given = {
            "model": model,
            "out": str(out) if out else None,
            "targets": [n.strip() for t in target or [] for n in t.split(",") if n.strip()] or None,
            "precision": precision,
            "quantize": _pairs(quantize, _scalar, "--quantize") or None,
            "keep": keep,
            "assign": assign,
            "task": task,
            "inputs": inputs,
            "sizes": _pairs(size, int, "--size") or None,
            "static": static or None,
            "calibration": calibration,
            "calibration_samples": calibration_samples,
            "gate": _pairs(gate, float, "--gate") or None,
            "metric": metric,
            "threads": threads,
            "time_budget_s": time_budget,
            "time_limit_s": time_limit,
            "measure": None if measure else False,
            "trust_pickle": trust_pickle or None,
            "trust_remote_code": trust_remote_code or None,
        }
        values |= {key: value for key, value in given.items() if value is not None}
        if "model" not in values and not resume:
            raise UsageError(
                "No model was named", todo="Write: edgepack export MODEL --target cpu,npu,mobile"
            )
        asked = make(**({"model": ""} | values))
        with _cache(use=cache) as store, progress(show=not quiet) as listener:
            bundle = pipeline.run(asked, cache=store, listener=listener, resume=resume)
        _print_bundle(bundle, as_json=json_, quiet=quiet)
    raise typer.Exit(max((failure.exit_code for failure in bundle.failures), default=0))


@app.command()
def report(bundle: BundleFolder, json_: Json = False, debug: Debug = False) -> None:
    """Show a bundle's report in the terminal; report.html in it opens in a browser."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.bundle import load

        _print_bundle(load(bundle), as_json=json_, quiet=False)


@app.command()
def verify(bundle: BundleFolder, json_: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Check a bundle's hashes, and run its artifacts' recorded cases again."""
    with errors_shown(debug=debug):
        from edgepack.toolchain import api

        found = api.verify(bundle)
        if json_:
            data = {
                "bundle": str(bundle),
                "ok": found.ok,
                "problems": [problem._asdict() for problem in found.problems],
                "parity": {name: parity.model_dump() for name, parity in found.parities.items()},
            }
            typer.echo(json.dumps(data))
        elif not quiet:
            for problem in found.problems:
                typer.echo(f"FAILED  {problem}")
            for name, parity in found.parities.items():
                cosine = "" if parity.cosine is None else f"cosine {parity.cosine:.5f}"
                words = "; ".join(parity.failed) or f"{cosine} on {parity.inputs_tried} recorded inputs"
                typer.echo(f"{'ok    ' if parity.passed else 'FAILED'}  {name}: {words}")
            typer.echo("The bundle holds." if found.ok else "The bundle does not hold.")
        changed = bool(found.problems)
    raise typer.Exit(0 if found.ok else 2 if changed else 3)


@app.command()
def targets(json_: Json = False, debug: Debug = False) -> None:
    """List the targets, and how to install what is missing."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.api import list_targets

        found = list_targets()
        if json_:
            typer.echo(json.dumps({"targets": [asdict(target) for target in found]}))
            return
        width = max(len(target.name) for target in found)
        for target in found:
            state = "installed" if target.installed else f"missing; run: {target.command}"
            typer.echo(f"{target.name:<{width}}  {target.title}  [{state}]")


@app.command()
def doctor(json_: Json = False, debug: Debug = False) -> None:
    """Say what is installed, what is missing, and the command that installs it."""
    with errors_shown(debug=debug):
        from edgepack.toolchain import api

        found = api.doctor()
        if json_:
            typer.echo(json.dumps({"findings": [asdict(finding) for finding in found]}))
        else:
            width = max(len(finding.subject) for finding in found)
            for finding in found:
                cure = f"  run: {finding.command}" if finding.command else ""
                typer.echo(f"{finding.status:<7}  {finding.subject:<{width}}  {finding.detail}{cure}")
        missing = any(finding.status == "missing" for finding in found)
    raise typer.Exit(4 if missing else 0)


@cache_app.command("info")
def cache_info(json_: Json = False) -> None:
    """Where the cache is and how much it holds."""
    with errors_shown(debug=False):
        from edgepack.toolchain.cache import Cache

        info = Cache().info()
    if json_:
        typer.echo(json.dumps(asdict(info) | {"root": str(info.root)}))
    else:
        size, bound = info.size_bytes / 2**20, info.max_bytes / 2**30
        typer.echo(f"{info.root}: {info.entries} entries, {size:.1f} MiB of {bound:.0f} GiB")


@cache_app.command("clear")
def cache_clear() -> None:
    """Remove every entry that no running process uses."""
    with errors_shown(debug=False):
        from edgepack.toolchain.cache import Cache

        typer.echo(f"{Cache().clear() / 2**20:.1f} MiB freed")


@app.command()
def version() -> None:
    """Print edgepack's version."""
    from importlib import metadata

    typer.echo(metadata.version("edgepack"))


def main() -> NoReturn:
    """Entry point of the console script."""
    app()
    raise SystemExit(0)  # typer exits by itself; this tells type checkers so


def _scalar(text: str) -> str | float | bool:
    """What a value looks like: true, false, a number, or text."""
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _pairs(texts: list[str] | None, kind: Callable[[str], Any], option: str) -> dict[str, Any]:
    from edgepack.toolchain.errors import UsageError

    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError
            found[name.strip()] = kind(value)
        except ValueError:
            value = "value" if kind is _scalar else "number"
            raise UsageError(f"'{text}' is not of the form name={value}", where=option) from None
    return found


@contextmanager
def _cache(*, use: bool) -> Iterator[Cache]:
    from edgepack.toolchain.cache import Cache

    if use:
        yield Cache()
    else:
        with Cache.temporary() as store:
            yield store


def _print_bundle(bundle: Bundle, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(_json(bundle.manifest, bundle.path))
    elif not quiet:
        from rich.console import Console

        from edgepack.toolchain import report as reports

        console = Console()
        console.print(reports.terminal(bundle.manifest))
        page = bundle.path / reports.HTML_FILE
        console.print(f"Report: {page}", soft_wrap=True, highlight=False)


def _json(manifest: Manifest, path: Path) -> str:
    data = manifest.model_dump(exclude={"files"})
    return json.dumps(data | {"bundle": str(path)})
