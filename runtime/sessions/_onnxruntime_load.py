"""Opens models in ONNX Runtime with edgepack's settings, and puts its failures into words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.errors import SourceError, ToolchainMissingError

if TYPE_CHECKING:
    import numpy as np

_SILENT = 4  # ORT's severity "fatal": what goes wrong is raised, and need not be printed as well.
_LONGEST = 600  # characters of a runtime's message that still fit into a paragraph


def import_onnxruntime() -> Any:
    """The module `onnxruntime`.

    Raises:
        ToolchainMissingError: It is not installed, or cannot be imported.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ToolchainMissingError(
            f"ONNX Runtime cannot be imported: {error}", todo="Run: pip install onnxruntime"
        ) from error
    return onnxruntime


def session_options(threads: int, *, spinning: bool) -> Any:
    """`threads` within an operator, one between operators, silent, all graph optimizations."""
    options = import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    return options


def run_options() -> Any:
    """Options of one call: silent."""
    options = import_onnxruntime().RunOptions()
    options.log_severity_level = _SILENT
    return options


def load(path: Path, options: Any, content: bytes | None = None) -> Any:
    """An `InferenceSession` of `path`, or of `content` whose external data lie beside `path`.

    The native operators are registered with `options` if the model imports their domain and they can be
    used here; if not, the functions of the same names run that the model should carry.

    Raises:
        SourceError: There is no such file, or the runtime does not accept it.
    """
    check_file(path)
    if content is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.resolve().parent)
        )
    import_onnxruntime()
    try:
        return onnx_sessions.opened(path if content is None else content, options)
    except Exception as error:
        raise unreadable(path, error) from error


def check_file(path: Path) -> None:
    """Raise SourceError unless `path` is a file."""
    if not path.is_file():
        what = "is a folder, not a model file" if path.is_dir() else "does not exist"
        raise SourceError(f"The model file {path.name} {what}", where=str(path), todo="Give the .onnx file")


def unreadable(path: Path, error: Exception) -> SourceError:
    """The error to raise when the runtime (or a reader of its format) refuses the file."""
    return SourceError(
        f"ONNX Runtime cannot load {path.name}: {_words(error)}",
        where=str(path),
        todo="Check that the file and its external data arrived whole, and that the runtime is new enough "
        "for its operators; if not, export the model again",
    )


def failed_run(error: Exception, path: Path, inputs: Mapping[str, np.ndarray]) -> SourceError:
    """The error to raise when the graph fails on inputs that passed the check."""
    shapes = ", ".join(f"{name}[{','.join(map(str, value.shape))}]" for name, value in inputs.items())
    return SourceError(
        f"The model fails in ONNX Runtime on inputs that its signature allows ({shapes}): {_words(error)}",
        where=str(path),
        todo="A size may have been fixed while exporting: export with example inputs of this size, or name "
        "the dimensions that vary",
    )


def _words(error: Exception) -> str:
    """The runtime's message on one line, without its codes and C++ places, shortened."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"\S+\.(?:cc|h|cpp):\d+ (?:[^()]*\(.*?\)(?: const)?(?: \[with [^\]]*\])? )?", "", text)
    text = re.sub(r"Load model from .*? failed: ?", "", text)
    text = " ".join(text.split()).rstrip(". ") or type(error).__name__
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
