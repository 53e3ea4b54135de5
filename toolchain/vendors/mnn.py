"""What the target, the worker and the session of MNN share.

MNN's own commands, `mnnconvert` and `mnnquant`, install a package and send facts about the machine away when they have
done their work. They are never started: the extension module `_tools`, which does the converting, is called by itself,
in a process that can open no socket (`no_sockets`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any

from edgepack.toolchain.errors import ToolchainMissingError

DISTRIBUTION = "mnn"
INSTALL = "pip install 'edgepack[mnn]'"
FLOAT = {"backend": "CPU", "precision": "high", "memory": "high", "power": "normal"}
"""Settings of the runtime that compute in float32 whatever the processor has."""
INTEGER = {**FLOAT, "memory": "low"}
"""Settings under which weights stay in 8 or 4 bits and activations are quantized as the model runs."""


def settings(precision: str) -> dict[str, str]:
    """The runtime's settings for a file of that precision."""
    return INTEGER if precision in {"int8-weights", "int4-weights"} else FLOAT


def import_mnn() -> Any:
    """MNN's Python module, without the lines that it prints.

    Raises:
        ToolchainMissingError: It is not installed, or does not load.
    """
    try:
        with quiet():
            import MNN
    except ImportError as error:
        raise ToolchainMissingError(f"MNN cannot be imported: {error}", todo=f"Run: {INSTALL}") from error
    return MNN


@contextlib.contextmanager
def quiet(to: str = os.devnull) -> Iterator[None]:
    """Send what native code writes to standard output elsewhere: it is no place for a runtime's remarks.

    Args:
        to: A file.
    """
    sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # there is no standard output to keep it off
        yield
        return
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    try:
        with open(to, "wb") as elsewhere:  # noqa: PTH123 - a device or a path
            os.dup2(elsewhere.fileno(), 1)
            try:
                yield
            finally:
                if libc is not None:
                    libc.fflush(None)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
