"""`edgepack profile`: a bundle's artifacts on a device: checked there first, then measured."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime.devices.device import Device, opened
from edgepack.runtime.devices.preparing import prepared
from edgepack.toolchain.devices import android
from edgepack.toolchain.devices import tools as runtime_tools
from edgepack.toolchain.devices.asking import Asking
from edgepack.toolchain.devices.asking_native import Native, NativeAsking
from edgepack.toolchain.devices.asking_python import PythonAsking
from edgepack.toolchain.devices.asking_tool import ToolAsking
from edgepack.toolchain.devices.results import DeviceProfile, TargetProfile
from edgepack.toolchain.devices.settings import Settings
from edgepack.toolchain.devices.subject import facts_of, subjects
from edgepack.toolchain.errors import DeviceError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from edgepack.toolchain.bundle import Bundle

Tell = Callable[[str], object]
PYTHON, NATIVE, AUTO = "python", "native", "auto"
RUNNERS = (AUTO, PYTHON, NATIVE)


def profile(  # noqa: PLR0913 - options of one call, all by keyword
    bundle: Bundle,
    address: str,
    settings: Settings,
    *,
    target: str | None = None,
    prepare: bool = False,
    runner: str = AUTO,
    python: str | None = None,
    native: Native | None = None,
    tools: Mapping[str, Path] | None = None,
    workdir: str | None = None,
    ssh_config: Path | None = None,
    root: str | None = None,
    tell: Tell = lambda _: None,
) -> DeviceProfile:
    """Profile a bundle's artifacts on a device.

    Args:
        bundle: From `edgepack.load`.
        address: As `runtime.devices.address.parse` takes it.
        settings: How long and where.
        target: Only this one.
        prepare: Fix the device's clocks before, as far as it allows, and restore them afterwards.
        runner: "python", "native" (our program over ONNX Runtime's C interface), or "auto": Python where it is.
        python: The device's Python, with the runtime; "python3" unless told, here this process's own.
        native: What the native runner is made of.
        tools: Name in `devices.tools` -> program, built for the device: runs the files of its kind.
        workdir: edgepack's folder on the device.
        ssh_config: A configuration file for ssh.
        root: Where the device's /proc and /sys are, instead of where the device says.
        tell: Told in a sentence what happens.

    Raises:
        UsageError: The address, the target or the bundle is none.
        DeviceError: The device cannot be reached, or failed.
        GateError: Its outputs are not those of the bundle.
    """
    if runner not in RUNNERS:
        raise UnknownNameError("runner", runner, RUNNERS, where="--runner")
    programs = {runtime_tools.tools.get(name)(): path for name, path in (tools or {}).items()}
    chosen, left = subjects(bundle, target, [one.suffix for one in programs])
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(opened(address, workdir=workdir, config=ssh_config, tell=tell))
        if device.transport.emulated and prepare:
            raise UsageError(
                "An emulated board has no clocks to fix", where=f"--prepare, {address}", todo="Leave it out"
            )
        interpreter = python or _own_python(device)
        without = _without_python(device, runner, python)
        parts = native or Native()
        if parts.onnxruntime is None:
            parts = replace(parts, onnxruntime=device.transport.onnxruntime)
        place = root or device.transport.root
        targets, facts, lost = [], None, 0
        asked: Asking | ToolAsking
        notes = stack.enter_context(prepared(device)) if prepare else []
        before = android.state(device)
        for one in chosen:
            tool = runtime_tools.of_file(facts_of(one.artifacts[0]).file, list(programs))
            if tool is not None:
                asked = ToolAsking(device, one, settings, place, tool, programs[tool])
            elif without:
                asked = NativeAsking(device, one, settings, place, parts)
            else:
                asked = PythonAsking(device, one, settings, place, interpreter)
            targets.append(_answered(asked, address))
            facts, lost = facts or asked.facts, lost + asked.links_lost
        after = android.state(device)
    assert facts is not None  # noqa: S101 - there is at least one subject
    return DeviceProfile(
        edgepack=metadata.version("edgepack"),
        bundle=str(bundle.path),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=_command(bundle, address, settings, target),
        settings=settings.as_json(),
        device=facts,
        targets=targets,
        left_out=left,
        android_before=before,
        android_after=after,
        links_lost=lost,
        notes=notes,
    )


def _answered(asked: Asking | ToolAsking, address: str) -> TargetProfile:
    """A target's figures.

    Raises:
        DeviceError: What came from the device is not what a runner writes.
    """
    try:
        return asked.profile()
    except (KeyError, TypeError, ValueError) as error:
        raise DeviceError(
            f"What came from the device is not what its runner writes: {type(error).__name__}",
            where=address,
            todo="Look at what else writes into edgepack's folder there",
        ) from error


def _without_python(device: Device, runner: str, python: str | None) -> bool:
    """Whether ONNX Runtime's files go to our own program: asked for, or for want of Python.

    An emulated board's choice is that program too, for only its instructions can be counted.
    """
    free = runner == AUTO and python is None
    return runner == NATIVE or (free and (bool(device.transport.emulated) or not _has_python(device)))


def _own_python(device: Device) -> str:
    return sys.executable if device.transport.address.scheme == "local" else "python3"


def _has_python(device: Device) -> bool:
    return device.transport.address.scheme == "local" or "python3" in device.tools


def _command(bundle: Bundle, address: str, settings: Settings, target: str | None) -> str:
    words = ["edgepack", "profile", str(bundle.path), "--device", address]
    words += ["--target", target] if target else []
    if settings.scenario:
        words += ["--scenario", settings.scenario]
    elif settings.preset != "quick":
        words += ["--preset", settings.preset]
    words += ["--sweep"] if len(settings.plans) > 1 else []
    words += ["--threads", str(settings.threads)] if settings.threads != 1 else []
    return shlex.join(words)
