"""The command line: parse, call the API, print. Nothing is decided here.

Heavy imports are inside the commands, so that help and completion stay instant.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from edgepack.toolchain import (
    cli_bibench,
    cli_bisect,
    cli_board,
    cli_claims,
    cli_explain,
    cli_farm,
    cli_profile,
    cli_search,
    cli_setup,
    cli_zoo,
)
from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, opened_cache, progress

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle
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
cli_zoo.add_to(app)
cli_bisect.add_to(app)
cli_explain.add_to(app)
cli_profile.add_to(app)
cli_farm.add_to(app)
cli_board.add_to(app)
cli_search.add_to(app)
cli_bibench.add_to(app)
cli_setup.add_to(app)


@app.command()
def export(
    model: opt.Model = None,
    target: opt.Targets = None,
    out: opt.Out = None,
    precision: opt.Precision = None,
    quantize: opt.Quantize = None,
    target_option: opt.TargetOptions = None,
    keep: opt.Keep = None,
    rewrite: opt.Rewrites = None,
    without: opt.Without = None,
    assign: opt.Assign = None,
    task: opt.Task = None,
    inputs: opt.Inputs = None,
    size: opt.Sizes = None,
    buckets: opt.Buckets = None,
    pad: opt.Pads = None,
    host: opt.Host = None,
    static: opt.Static = False,
    calibration: opt.Calibration = None,
    calibration_samples: opt.CalibrationSamples = None,
    gate: opt.Gates = None,
    metric: opt.Metric = None,
    threads: opt.Threads = None,
    time_budget: opt.TimeBudget = None,
    time_limit: opt.TimeLimit = None,
    recipe: opt.RecipeFile = None,
    measure: opt.Measure = True,
    cache: opt.UseCache = True,
    resume: opt.Resume = False,
    jobs: opt.Jobs = None,
    trust_pickle: opt.TrustPickle = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    json_: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Export a model to its targets: artifacts, manifest and latency report in one folder."""
    with errors_shown(debug=debug, out=out):
        from edgepack.toolchain import pipeline
        from edgepack.toolchain.errors import UsageError
        from edgepack.toolchain.recipe import make, read

        values = (read(recipe) if recipe else {}) | opt.given(
            model=model, out=str(out) if out else None, targets=opt.split(target), precision=precision,
            target_options=opt.pairs(target_option, opt.scalar, "--target-option"),
            quantize=opt.pairs(quantize, opt.scalar, "--quantize"), keep=keep, rewrite=rewrite, without=without,
            assign=assign, task=task, inputs=inputs, sizes=opt.pairs(size, int, "--size"),
            buckets=opt.pairs(buckets, opt.whole_numbers, "--buckets"), pad=opt.pairs(pad, float, "--pad"),
            host=host, static=static or None, calibration=calibration,
            calibration_samples=calibration_samples, gate=opt.pairs(gate, float, "--gate"), metric=metric,
            threads=threads, time_budget_s=time_budget, time_limit_s=time_limit,
            measure=None if measure else False,
            trust_pickle=trust_pickle or None, trust_remote_code=trust_remote_code or None,
        )  # fmt: skip
        if "model" not in values and not resume:
            raise UsageError(
                "No model was named", todo="Write: edgepack export MODEL --target cpu,npu,mobile"
            )
        asked = make(**({"model": ""} | values))
        with opened_cache(use=cache) as store, progress(show=not quiet) as listener:
            bundle = pipeline.run(asked, cache=store, listener=listener, resume=resume, jobs=jobs)
        _print_bundle(bundle, as_json=json_, quiet=quiet)
    raise typer.Exit(max((failure.exit_code for failure in bundle.failures), default=0))


cli_zoo.add_export(export)


@app.command()
def report(bundle: opt.BundleFolder, json_: opt.Json = False, debug: opt.Debug = False) -> None:
    """Show a bundle's report in the terminal; report.html in it opens in a browser."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.bundle import load

        _print_bundle(load(bundle), as_json=json_, quiet=False)


@app.command()
def verify(
    bundle: opt.BundleFolder, json_: opt.Json = False, quiet: opt.Quiet = False, debug: opt.Debug = False
) -> None:
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
                words += f" (not what ships: {parity.unverified})" if parity.unverified else ""
                typer.echo(f"{'ok    ' if parity.passed else 'FAILED'}  {name}: {words}")
            typer.echo("The bundle holds." if found.ok else "The bundle does not hold.")
        changed = bool(found.problems)
    raise typer.Exit(0 if found.ok else 2 if changed else 3)


@app.command()
def targets(json_: opt.Json = False, debug: opt.Debug = False) -> None:
    """List the targets, and how to install what is missing."""
    with errors_shown(debug=debug):
        from edgepack.targets.base import targets as registry
        from edgepack.toolchain.installed import list_targets

        found = list_targets()
        broken = [str(problem) for problem in registry.problems.values()]
        if json_:
            typer.echo(json.dumps({"targets": [asdict(target) for target in found], "problems": broken}))
            return
        width = max(len(target.name) for target in found)
        for target in found:
            state = "installed" if target.installed else f"missing; run: {target.command}"
            state = f"broken: {target.problem}" if target.problem else state
            typer.echo(f"{target.name:<{width}}  {target.title}  [{state}]")
        for problem in broken:
            typer.echo(f"Warning: {problem}", err=True)


@app.command()
def doctor(json_: opt.Json = False, debug: opt.Debug = False) -> None:
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
                typer.echo(f"{finding.status:<8}  {finding.subject:<{width}}  {finding.detail}{cure}")
        missing = any(finding.status == "missing" for finding in found)
    raise typer.Exit(4 if missing else 0)


@cache_app.command("info")
def cache_info(json_: opt.Json = False) -> None:
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
