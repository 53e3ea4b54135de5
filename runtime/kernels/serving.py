"""Giving a session the native kernels when its model uses them: what everything that opens ONNX files asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepack.runtime.kernels import DOMAIN, register, why_not
from edgepack.runtime.kernels._domains import imported_domains
from edgepack.toolchain.native_operators import kernel_libraries


@kernel_libraries.register("kernels")
def serve(session_options: Any, model: Path | bytes) -> str | None:
    """Register the library with a session's options if `model`, a file or its content, uses the operators.

    Returns:
        Why the model's own functions have to do instead, as `why_not` says it; None where nothing is in the way.
    """
    if DOMAIN not in imported_domains(model):
        return None
    return None if register(session_options) else why_not()
