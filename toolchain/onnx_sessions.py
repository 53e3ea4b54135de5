"""Opens ONNX models in ONNX Runtime on the CPU, with edgepack's native operators where a model uses them.

Everything that runs an ONNX file goes through here, so that a file is computed alike when it is read,
calibrated, verified and measured. What else a session is like, its options say.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgepack.toolchain.native_operators import serve_kernels

_PROVIDERS = ["CPUExecutionProvider"]


def opened(model: Path | bytes, options: Any) -> Any:
    """An `onnxruntime.InferenceSession` of a file, or of a file's content, with `onnxruntime.SessionOptions`.

    Raises:
        Exception: The runtime does not take it; its errors have no class in common. Where the model uses native
            operators that cannot be used here, the text ends with the reason.
    """
    import onnxruntime

    missing = serve_kernels(options, model)
    content = model if isinstance(model, bytes) else os.fspath(model)
    try:
        return onnxruntime.InferenceSession(content, options, providers=_PROVIDERS)
    except Exception as error:
        if missing is None:
            raise
        raise RuntimeError(f"{error}; it uses native operators, and {missing}") from error
