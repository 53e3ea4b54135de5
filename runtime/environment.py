"""The machine and the settings that a measurement belongs to, read from /proc and /sys.

Everything is read below a root folder, so that a tree copied from another machine (or made by a
test) reads the same way. What a machine does not tell is None, or is left out of a list.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.runtime._cpu import cpu_features, cpu_model

if TYPE_CHECKING:
    from edgepack.toolchain.results import Environment

PACKAGES = (
    "edgepack",
    "torch",
    "transformers",
    "onnx",
    "onnxruntime",
    "onnx-ir",
    "onnxscript",
    "litert-torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "ethos-u-vela",
    "numpy",
)
_VARYING = frozenset({"load_average", "temperature_c", "memory_bytes"})
_HOTTEST_C = 150.0  # sensors that are switched off report nonsense


def capture(threads: int, *, spinning: bool, root: Path = Path("/"), cores: int | None = None) -> Environment:
    """The environment as it is now.

    Args:
        threads: Threads that the measurements use within one operator.
        spinning: Whether idle threads of ONNX Runtime spin.
        root: Where /proc, /sys and /etc are.
        cores: Cores of that root's machine; None asks the system which ones this process may use.
    """
    from edgepack.toolchain.results import Environment

    return Environment(**facts(threads, spinning=spinning, root=root, cores=cores))


def facts(
    threads: int, *, spinning: bool, root: Path = Path("/"), cores: int | None = None
) -> dict[str, Any]:
    """The fields of `Environment`, by nothing but the standard library: a device has no more."""
    cpuinfo = _text(root / "proc/cpuinfo") or ""
    return {
        "cpu_model": cpu_model(cpuinfo, _text(root / "proc/device-tree/model")),
        "cpu_features": cpu_features(cpuinfo),
        "cores": cores if cores is not None else usable_cores(root),
        "threads": threads,
        "spinning": spinning,
        "governor": _governor(root),
        "load_average": _load_average(root),
        "temperature_c": _temperature(root),
        "memory_bytes": _memory(root),
        "os": _os(root),
        "python": platform.python_version(),
        "packages": _packages(),
    }


def fingerprint(environment: Environment) -> str:
    """SHA-256 of what makes two timings comparable: all but load, temperature and the size of memory."""
    lasting = environment.model_dump(exclude=set(_VARYING))
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may run on, by affinity and by a container's quota (cgroup v2, rounded up)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = (_text(root / "sys/fs/cgroup/cpu.max") or "max").partition(" ")
    if quota.isdigit() and period.strip().isdigit() and int(period) > 0:
        cores = min(cores, max(1, -(-int(quota) // int(period))))
    return cores


def _governor(root: Path) -> str | None:
    """Frequency governor of the cores; several, joined by commas, where clusters differ."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    found = {text for file in files if (text := _text(file))}
    return ", ".join(sorted(found)) or None


def _load_average(root: Path) -> float | None:
    """Runnable processes, mean over the last minute."""
    text = _text(root / "proc/loadavg")
    if text:
        with contextlib.suppress(ValueError):
            return float(text.split()[0])
    if root == Path("/") and hasattr(os, "getloadavg"):
        with contextlib.suppress(OSError):
            return os.getloadavg()[0]
    return None


def _temperature(root: Path) -> float | None:
    """Degrees Celsius of the hottest zone of the processor, or of any zone when none is named after it."""
    readings = list(_zones(root))
    cpu = [
        celsius for kind, celsius in readings if any(word in kind for word in ("cpu", "pkg", "soc", "core"))
    ]
    return max(cpu or [celsius for _, celsius in readings], default=None)


def _zones(root: Path) -> Iterator[tuple[str, float]]:
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        text = _text(zone / "temp")
        with contextlib.suppress(ValueError, TypeError):
            celsius = int(text) / 1000  # type: ignore[arg-type]
            if 0 < celsius < _HOTTEST_C:
                yield (_text(zone / "type") or "").lower(), celsius


def _memory(root: Path) -> int:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _os(root: Path) -> str:
    """Distribution, kernel and architecture: "Debian GNU/Linux 12 (bookworm), Linux 6.1.0, aarch64"."""
    release = _text(root / "etc/os-release") or ""
    pretty = [
        line.partition("=")[2].strip("\"'")
        for line in release.splitlines()
        if line.startswith("PRETTY_NAME=")
    ]
    kernel = _text(root / "proc/sys/kernel/osrelease") or platform.release()
    name = "Linux" if sys.platform.startswith("linux") else platform.system()
    machine = _text(root / "proc/sys/kernel/arch") or platform.machine()
    return ", ".join([*pretty[:1], f"{name} {kernel}", machine])


def _packages() -> dict[str, str]:
    """Versions of those of edgepack's packages that are installed; none of them is imported."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _text(file: Path) -> str | None:
    """What a file of the kernel says, or None. Reading a sensor may fail in ways of its own."""
    try:
        return file.read_text(errors="replace").strip().rstrip("\0")
    except OSError:
        return None
