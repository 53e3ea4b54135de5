"""The native operators of the domain `edgepack`: finding their library, and registering it.

A file that uses the domain carries each operator a second time, as a function of ordinary ONNX
operators (`functions.py`), and so runs anywhere. Where the library is registered with a session's
options, its kernels run instead. edgepack's own sessions register it by themselves
(`toolchain/onnx_sessions.py`); with a plain `onnxruntime` it is::

    options = onnxruntime.SessionOptions()
    edgepack.runtime.kernels.register(options)

Two environment variables are read: `EDGEPACK_KERNELS_LIBRARY` (the path of another build of the
library, or `off` for none) and, by the library, `EDGEPACK_KERNEL` (the name of the kernel that runs
instead of the best one; `available` lists them).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from edgepack.toolchain.native_operators import DOMAIN as DOMAIN
from edgepack.toolchain.native_operators import VERSION as VERSION

OFF = "off"
_VARIABLE = "EDGEPACK_KERNELS_LIBRARY"
_OLDEST_RUNTIME = (1, 17)  # the first with the entries of the C interface that the library uses
_MARK = "edgepack.kernels"  # a session option of ours: it stays with the object that it was set on


def library_name() -> str:
    """The file's name on this system."""
    return "libedgepack_kernels.dylib" if sys.platform == "darwin" else "libedgepack_kernels.so"


def library_path() -> Path:
    """Where the library is, or would be if it were built."""
    return Path(os.environ.get(_VARIABLE) or Path(__file__).with_name(library_name()))


def available() -> tuple[str, ...]:
    """The kernels that this processor runs, best first; none where the library cannot be used."""
    return () if why_not() else _kernels(library_path())


def why_not() -> str | None:
    """Why the native operators cannot be used here, in a sentence without its full stop; None if they can."""
    path = library_path()
    if os.fspath(path) == OFF:
        return f"{_VARIABLE} turns the native kernels off"
    if not path.is_file():
        return (
            f"the native kernels were not built ({path} does not exist): install cmake and a C++ compiler, and "
            "run python -m edgepack.runtime.kernels.build"
        )
    try:
        import onnxruntime
    except ImportError as error:
        return f"onnxruntime cannot be imported: {error}"
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < _OLDEST_RUNTIME:
        oldest = ".".join(map(str, _OLDEST_RUNTIME))
        return f"onnxruntime {onnxruntime.__version__} is too old for the native kernels, which need {oldest}"
    try:
        _kernels(path)
    except (OSError, AttributeError) as error:
        return f"the library of native kernels cannot be loaded: {error}"
    return None


def register(session_options: Any) -> bool:
    """Register the library with an `onnxruntime.SessionOptions`, unless that was done before.

    Returns:
        Whether the native kernels are registered; `why_not` has the reason if they are not.
    """
    if why_not():
        return False
    if not _is_marked(session_options):
        session_options.register_custom_ops_library(os.fspath(library_path()))
        session_options.add_session_config_entry(_MARK, "registered")
    return True


def _is_marked(session_options: Any) -> bool:
    """The runtime refuses an options object that has the domain twice."""
    try:
        return bool(session_options.get_session_config_entry(_MARK))
    except Exception:  # noqa: BLE001 - what the runtime raises for an entry that is not there has no type of its own
        return False


def _kernels(path: Path) -> tuple[str, ...]:
    """What the library says that this processor runs.

    Raises:
        OSError: The system cannot load it: another architecture, a file that is no library.
        AttributeError: It is a library, and not this one.
    """
    import ctypes

    names = ctypes.CDLL(os.fspath(path)).edgepack_kernels
    names.restype = ctypes.c_char_p
    return tuple(bytes(names()).decode().split(","))
