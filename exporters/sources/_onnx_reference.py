"""ONNX Runtime as the reference: the model as it came, every optimization off.

A file that is too new for the runtime, and uses nothing of what is new, is read under the version that the
runtime does know; everything else that it refuses is put into words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import onnx_sessions, opsets
from edgepack.toolchain.errors import SourceError

if TYPE_CHECKING:
    import numpy as np
    import onnx

_OPSET = re.compile(r"Opset (\d+) is under development.*?domain (\S+) is till opset (\d+)", re.DOTALL)
_IR = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_KERNEL = re.compile(r"(?:Could not find an implementation|Failed to find kernel) for (\w+)\((\d+)\)")
_UNKNOWN = re.compile(r"(?:Fatal error: )?(\S+?):(\w+)\(-?\d+\) is not a registered function/op")
_ATTRIBUTE = re.compile(r"Unrecognized attribute: (\w+) for operator (\w+)")
_MOST_REPAIRS = 8

Run = Callable[[Mapping[str, "np.ndarray"]], "dict[str, np.ndarray]"]


def open_reference(path: Path, model: onnx.ModelProto) -> tuple[Any, list[str]]:
    """A session on the file, and what had to be changed in `model` (in place) for the runtime to take it.

    Raises:
        SourceError: The runtime does not take it; the operator or the version is named.
    """
    import onnx

    notes: list[str] = []
    content: bytes | None = None
    mended = onnx.ModelProto()
    first: Exception | None = None
    for _ in range(_MOST_REPAIRS):
        try:
            opened = session(path, content)
        except Exception as error:
            # A kernel that is missing is worked round on trial: if that fails, it is what was wrong.
            first = first or (error if _KERNEL.search(str(error)) else None)
            if content is None:
                mended.CopyFrom(model)
            note = _repair(mended, str(error))
            if note is None:
                raise refused(path, first or error) from error
            notes.append(note)
            content = mended.SerializeToString()
        else:
            if content is not None:
                model.CopyFrom(mended)
            return opened, notes
    raise refused(path, first or RuntimeError("; ".join(notes)))


def session(path: Path, content: bytes | None = None) -> Any:
    """ONNX Runtime on a file, or on `content` whose external data lies beside it; optimizations off."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    if content is not None:
        folder = str(path.resolve().parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return onnx_sessions.opened(content or path, options)


def runner(opened: Any, names: Sequence[str]) -> Run:
    """A function from inputs to the outputs `names`, both by name."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, opened.run(list(names), dict(inputs), options), strict=True))

    return run


def agree(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], relative: float) -> bool:
    """Whether outputs are equal: floats up to `relative` of their largest value, all else exactly."""
    import numpy as np

    for name, a in first.items():
        b = second[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return False
            continue
        finite = a[np.isfinite(a)]
        scale = float(np.abs(finite).max()) if finite.size else 0.0
        if not np.allclose(a, b, rtol=relative, atol=relative * scale, equal_nan=True):
            return False
    return True


def words(error: Exception) -> str:
    """The runtime's message on one line, without codes and places in its source."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"\S+\.(?:cc|h|cpp):\d+ .*?\)(?: const)?(?: \[with [^\]]*\])? ", "", text)
    text = re.sub(r"Load model from .*? failed: ?", "", text)
    return " ".join(text.split())[:300].rstrip(". ")


def refused(path: Path, error: Exception) -> SourceError:
    """The error for a model that the runtime does not open."""
    text = words(error)
    missing, unknown = _KERNEL.search(text), _UNKNOWN.search(text)
    attribute = _ATTRIBUTE.search(text)
    if attribute:
        what = f"ONNX Runtime does not know the attribute {attribute[1]} of the operator {attribute[2]}"
        todo = "Install a newer onnxruntime, or export the model with an older operator set"
    elif missing:
        what = f"ONNX Runtime has no CPU kernel for the operator {missing[1]} of version {missing[2]} with these types"
        todo = "Export the model with other operators or types"
    elif unknown:
        what = f"ONNX Runtime does not know the operator {unknown[2]} of the domain '{unknown[1]}'"
        todo = "Custom operators must be written as functions of standard ones"
    else:
        what, todo = f"ONNX Runtime does not accept {path.name}: {text}", "Check it with onnx.checker"
    return SourceError(what, where=str(path), todo=todo)


def _repair(model: onnx.ModelProto, message: str) -> str | None:
    """Bring a file that is too new to the version that the runtime names; None if that is not the trouble.

    Raises:
        SourceError: The model uses operators that the runtime's version does not have.
    """
    newer = _IR.search(message)
    if newer:
        old, model.ir_version = model.ir_version, int(newer[2])
        return f"IR version {old} read as {newer[2]}"
    opset = _OPSET.search(message)
    if opset:
        return _older(model, *opset.groups())
    attribute, kernel, unknown = (pattern.search(message) for pattern in (_ATTRIBUTE, _KERNEL, _UNKNOWN))
    if kernel:
        return _without_kernel(model, kernel[1], int(kernel[2]))
    if attribute and opsets.expand(model, {("", attribute[2])}):
        return f"{attribute[2]} written out by its definition: the runtime does not know its {attribute[1]}"
    if unknown and opsets.expand(model, {(unknown[1], unknown[2])}):
        return f"{unknown[2]} written out by its definition"
    return None


def _older(model: onnx.ModelProto, own: str, of: str, newest: str) -> str:
    """Bring the model from set `own` of the domain `of` to `newest`, which the runtime knows.

    Raises:
        SourceError: The model uses operators that the runtime's version does not have.
    """
    domain, known = "" if of == "ai.onnx" else of, int(newest)
    changed = opsets.restamp(model, domain, known)
    written_out = ""
    # Of a version that onnx does not know itself, nothing can be written out.
    defined = int(own) <= opsets.newest(domain)
    if changed and defined and opsets.expand(model, {(domain, name) for name in changed}):
        written_out = f" once {', '.join(changed)} {'are' if len(changed) > 1 else 'is'} written out"
        changed = opsets.restamp(model, domain, known)
    if changed:
        raise SourceError(
            f"The model has operator set {own} of {of}, ONNX Runtime knows {known}, and the "
            f"{'operators' if len(changed) > 1 else 'operator'} {', '.join(changed[:5])} "
            f"{'have' if len(changed) > 1 else 'has'} changed or come between",
            where=model.graph.name,
            todo="Install a newer onnxruntime, or export the model with an older operator set",
        )
    return f"operator set {own} of {of} read as {known}: its operators are the same there{written_out}"


def _without_kernel(model: onnx.ModelProto, op: str, version: int) -> str | None:
    """Use an older kernel of the same definition, or the operator's own definition by simpler ones."""
    if version > opsets.OLDEST and not opsets.restamp(model, "", version - 1):
        return f"operator set read as {version - 1}: its operators are the same there, and {op} has a kernel"
    if opsets.expand(model, {("", op)}):
        return f"{op} written out by its definition"
    return None
