"""The Python API: what the command line does, one call each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import bundle as bundles
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.installed import TargetInfo, list_targets, remove_environment, set_up

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle
    from edgepack.toolchain.cache import Cache
    from edgepack.toolchain.devices.results import DeviceProfile
    from edgepack.toolchain.doctor import Finding
    from edgepack.toolchain.events import Listener
    from edgepack.toolchain.explain.results import Explanation
    from edgepack.toolchain.farm.results import FarmReport
    from edgepack.toolchain.links import StatefulProgram
    from edgepack.toolchain.pipeline.verifying import Verification


def export(
    model: str | Path,
    *,
    targets: str | Iterable[str] = ("cpu", "npu", "mobile"),
    out: str | Path = "build",
    cache: Cache | None = None,
    listener: Listener | None = None,
    resume: bool = False,
    check: bool = True,
    jobs: int | None = None,
    **options: Any,
) -> Bundle:
    """Take a model to its targets, and write a bundle of verified artifacts with a report.

    Args:
        model: Hugging Face folder, .onnx, .pt2, "package.module:factory" or "file.py:factory".
        targets: Target names or families.
        out: The bundle's folder; an older bundle there is replaced as a whole.
        cache: Where finished stages are kept; the user's cache unless given.
        listener: Told of stages and warnings as they come.
        resume: Continue the unfinished run to `out`.
        check: Raise when a target failed or was rejected, after the bundle is written; with False
            the bundle's `failures` say so.
        jobs: The most processes that build targets side by side; None: one a core, as far as the memory goes.
        options: The other fields of `Recipe`: precision, calibration, sizes, gate, threads, ...

    Returns:
        The bundle, with typed results.

    Raises:
        EdgepackError: See `edgepack.toolchain.errors` for the tree.
    """
    from edgepack.toolchain import pipeline
    from edgepack.toolchain.recipe import make

    names = [targets] if isinstance(targets, str) else list(targets)
    wanted = [part.strip() for name in names for part in name.split(",") if part.strip()]
    recipe = make(model=str(model), out=str(out), targets=wanted, **options)
    bundle = pipeline.run(recipe, cache=cache, listener=listener, resume=resume, jobs=jobs)
    if check:
        raise_failures(bundle)
    return bundle


def raise_failures(bundle: Bundle) -> None:
    """Raise the gravest failure that a bundle records, if there is one, as the error it was."""
    from edgepack.toolchain import errors

    if not bundle.failures:
        return
    worst = max(bundle.failures, key=lambda failure: failure.exit_code)
    kinds: dict[int, type[EdgepackError]] = {
        kind.exit_code: kind
        for kind in (EdgepackError, errors.UsageError, errors.GateError, errors.TargetError)
    }
    others = len(bundle.failures) - 1
    raise kinds.get(worst.exit_code, errors.SourceError)(
        f"{worst.target}: {worst.error}".rstrip("."),
        todo=f"The bundle at {bundle.path} holds the rest"
        + (f"; {others} more failed, see its report" if others else ""),
    )


def explain(
    what: str | Path,
    *,
    target: str | None = None,
    precision: str | None = None,
    save: str | Path | None = None,
    cache: Cache | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> Explanation:
    """Say what stays off a target's accelerator, why, what would cure it, and what it costs.

    Args:
        what: A bundle, or a model as `export` takes it.
        target: The target; a bundle with one accelerator needs none.
        precision: Which one; what the bundle ships, or every one that the target offers, unless given.
        save: New folder that receives the smallest model that shows each problem, as .onnx.
        cache: Where finished stages are kept; the user's cache unless given.
        listener: Told of stages as they come.
        options: Other fields of `Recipe`: sizes, calibration, inputs, ...

    Returns:
        A form for every part and precision, with every operator that was left.

    Raises:
        UsageError: It is not clear which target is meant, or nothing can be built for it.
        EdgepackError: The model cannot be read.
    """
    from edgepack.toolchain.explain.asking import explain as asked

    place = None if save is None else Path(save)
    return asked(
        what, target=target, precision=precision, save=place, cache=cache, listener=listener, **options
    )


def load(folder: str | Path) -> Bundle:
    """Open a bundle.

    Raises:
        BundleError: The folder is none.
    """
    return bundles.load(Path(folder))


def verify(folder: str | Path, *, tell: Callable[[str], object] = lambda _: None) -> Verification:
    """Check a bundle's hashes, then run every artifact's recorded cases again.

    Raises:
        BundleError: The folder is no bundle.
    """
    from edgepack.toolchain.pipeline.verifying import verify as check

    return check(load(folder), tell=tell)


def open_program(
    folder: str | Path | Bundle, target: str, *, threads: int = 1
) -> AbstractContextManager[StatefulProgram]:
    """A target's parts, loaded, as one program that keeps its states between calls.

    ::

        with edgepack.open_program("build", "cpu:onnxruntime") as program:
            logits = program.call("prefill", {"input_ids": ids, "attention_mask": mask})["logits"]

    Args:
        folder: A bundle or its folder.
        target: Name of a target that shipped.
        threads: Threads within one operator.

    Raises:
        BundleError: The folder is no bundle, or its files cannot be read.
        UnknownNameError: The bundle has no artifact for that target.
    """
    from edgepack.toolchain.pipeline.opening import open_program as opened

    bundle = load(folder) if isinstance(folder, (str, Path)) else folder
    return opened(bundle, target, threads=threads)


def profile(  # noqa: PLR0913 - options of one call, all by keyword
    model: str | Path,
    device: str,
    *,
    target: str | None = None,
    precision: str | None = None,
    preset: str = "quick",
    scenario: str | None = None,
    sustain_s: float | None = None,
    sweep: bool = False,
    threads: int = 1,
    prepare: bool = False,
    runner: str = "auto",
    python: str | None = None,
    onnxruntime: Path | None = None,
    ndk: Path | None = None,
    tools: Mapping[str, Path] | None = None,
    workdir: str | None = None,
    ssh_config: Path | None = None,
    out: str | Path | None = None,
    tell: Callable[[str], object] = lambda _: None,
    **options: Any,
) -> DeviceProfile:
    """Measure a bundle's artifacts, or a model's, on a device; its outputs are checked there first.

    Args:
        model: A bundle's folder, or a model as `export` takes it.
        device: "local", "ssh://[user@]host[:port]", "adb://SERIAL", "adb://host:port" or "board://NAME".
        target: Only this one; of a model `cpu:onnxruntime` unless named.
        precision: Of a model; fp32 unless named.
        preset: "quick", "single-stream" (by MLPerf Mobile's rules) or "sustained".
        scenario: Instead of a preset, "single-stream" or "offline": by MLPerf's LoadGen where the device has it.
        sustain_s: Measure each for so many seconds.
        sweep: On one big core, all big, little, and all cores, too.
        threads: Within one operator, where the system chooses the cores.
        prepare: Fix the device's clocks before, as far as it allows, and restore them afterwards.
        runner: "python", "native" (a program of ours, for ONNX Runtime's targets), or "auto": Python where it is.
        python: The device's Python, which has numpy and the runtime; "python3" unless told.
        onnxruntime: For "native": the device's libonnxruntime.so, or a wheel or an archive that holds it.
        ndk: For "native" on Android: the folder of its native development kit.
        tools: "benchmark_model" (LiteRT's) or "executor_runner" (ExecuTorch's) -> that program, built for the
            device, which then measures the files of its kind.
        workdir: edgepack's folder on the device.
        ssh_config: A configuration file for ssh instead of the user's own.
        out: Folder for profile.json and profile.html, and for the bundle of a model.
        tell: Told in a sentence what happens.
        options: For `export` of a model.

    Raises:
        DeviceError: The device cannot be reached, refused, or failed.
        GateError: Its outputs are not those of the bundle.
        EdgepackError: See `edgepack.toolchain.errors` for the tree.
    """
    import tempfile

    from edgepack.runtime.devices.address import parse
    from edgepack.toolchain.devices import opening, page, profiling, settings
    from edgepack.toolchain.devices.asking_native import Native

    # What is wrong with the request is said before a model is exported.
    wanted = settings.make(preset, scenario=scenario, sustain_s=sustain_s, sweep=sweep, threads=threads)
    parse(device)
    with tempfile.TemporaryDirectory(prefix="edgepack-profile-") as scratch:
        place = Path(out) / "bundle" if out is not None else Path(scratch) / "bundle"
        bundle = opening.bundle_of(model, place, target=target, precision=precision, **options)
        found = profiling.profile(
            bundle, device, wanted, target=target, prepare=prepare, runner=runner, python=python,
            native=Native(onnxruntime, ndk), tools=tools, workdir=workdir, ssh_config=ssh_config, tell=tell,
        )  # fmt: skip
    if out is not None:
        page.write(found, Path(out))
    return found


def farm(
    devices: str | Path,
    *,
    out: str | Path | None = None,
    executor: str = "local",
    cluster: str | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> FarmReport:
    """Measure bundles on many devices, compare with the last good run, and keep the figures in a database.

    Args:
        devices: A file that names devices and bundles (docs/devices.md).
        out: Folder for farm.html, farm.csv and farm.json.
        executor: "local", by threads of this process, or "ray", by workers of a Ray cluster.
        cluster: A Ray cluster's address; one of this machine's own, on loopback, unless named.
        tell: Told in a sentence what happens, from several threads.

    Returns:
        Every figure with its verdict; `report.worse` is what a build should fail for.

    Raises:
        UsageError: The file or a bundle is wrong, or the database cannot be used.
        UnknownNameError: There is no such executor.
        ToolchainMissingError: The executor is not installed.
    """
    from edgepack.toolchain.farm import page, plan, run

    report = run.run(plan.read(Path(devices)), tell, executor=executor, cluster=cluster)
    if out is not None:
        page.write(report, Path(out))
    return report


def accept_farm(devices: str | Path) -> int:
    """Take what the last run of a farm found worse as good; returns how many figures.

    Raises:
        UsageError: The file is wrong, or the database cannot be used.
    """
    from edgepack.toolchain.farm.plan import read
    from edgepack.toolchain.farm.store import Store

    with Store(read(Path(devices)).database or "") as store:
        last = store.last_run()
        return 0 if last is None else store.accept(last)


def doctor() -> list[Finding]:
    """What is installed, what is missing, and the command that installs it."""
    from edgepack.toolchain.doctor import examine

    return examine()


__all__ = [
    "TargetInfo",
    "accept_farm",
    "doctor",
    "export",
    "farm",
    "list_targets",
    "load",
    "open_program",
    "profile",
    "raise_failures",
    "remove_environment",
    "set_up",
    "verify",
]
