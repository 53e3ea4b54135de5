"""The rung behind checks: torch.jit.trace and the TorchScript exporter.

A trace keeps what one input did: the branch it took, the experts it chose, the length it had. So the
result counts only after `alternatives`: inputs made to take other branches, each judged against torch.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.record import answers, free_floats
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.finite import sound
from edgepack.toolchain.opsets import TARGET
from edgepack.toolchain.program import Case, Signature

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.exporters.sources.base import TorchPart
    from edgepack.exporters.weight_file import WeightFile

_SHOWN = 3


def export(part: TorchPart, signature: Signature, path: Path, weights: WeightFile) -> tuple[str, ...]:
    """Write `path` by the TorchScript exporter.

    Returns:
        A note with the values that the trace froze, where torch warned of any.

    Raises:
        Exception: Whatever torch raises.
    """
    import onnx_ir as ir

    from edgepack.exporters.torch_onnx import check_operators, name_dimensions

    arrays = part.example(part.sizes, 0)
    arguments = tuple(torch.from_numpy(value.copy()) for value in arrays.values())
    axes = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in (*signature.inputs, *signature.outputs)
    }
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(record=True) as caught,
        torch.no_grad(),
    ):
        warnings.simplefilter("always")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            part.module, arguments, file,
            dynamo=False, opset_version=TARGET, do_constant_folding=False, dynamic_axes=axes,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
        )  # fmt: skip
        model = ir.load(file)
        check_operators(model)
        _shared(model, part.module)
        name_dimensions(model, signature)
        weights.save(model, path)
    frozen = [_place(w) for w in caught if w.category.__name__ == "TracerWarning"]
    return _note(list(dict.fromkeys(frozen)))


def _shared(model: ir.Model, module: torch.nn.Module) -> None:
    """Hand the graph the module's own tensors, so that parts which share a weight share its bytes."""
    import onnx_ir as ir
    from onnx_ir import tensor_adapters

    own = dict(module.state_dict())
    for name, value in model.graph.initializers.items():
        tensor = own.get(name)
        if tensor is None or value.const_value is None:
            continue
        if tuple(tensor.shape) == tuple(value.const_value.shape.numpy()):
            value.const_value = tensor_adapters.TorchTensor(tensor.detach(), name=name)
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            # Its file goes with the temporary folder.
            value.const_value = ir.Tensor(value.const_value.numpy().copy(), name=value.name)


def _place(warning: warnings.WarningMessage) -> str:
    first = str(warning.message).split(". ", 1)[0]
    return f"{Path(warning.filename).name}:{warning.lineno}: {first}"


def _note(frozen: list[str]) -> tuple[str, ...]:
    if not frozen:
        return ()
    more = f"; and {len(frozen) - _SHOWN} more" if len(frozen) > _SHOWN else ""
    return (f"values that tracing froze, checked on other inputs: {'; '.join(frozen[:_SHOWN])}{more}",)


_FLOATS: Mapping[str, Callable[[np.ndarray], Any]] = {
    "negated": lambda x: -x,
    "shifted": lambda x: x + 2.0,
    "times 3": lambda x: x * 3.0,
    "a third": lambda x: x / 3.0,
    "zeros": lambda x: x * 0.0,
    "ones": lambda x: x * 0.0 + 1.0,
}
_INTEGERS: Mapping[str, Callable[[np.ndarray], Any]] = {
    "negated": lambda i: i.max(initial=0) + i.min(initial=0) - i,
    "shifted": lambda i: i[..., ::-1] if i.ndim else i,
    "times 3": lambda i: i * 0 + i.max(initial=0),
    "a third": lambda i: i * 0 + i.min(initial=0),
    "zeros": lambda i: i // 2,
    "ones": lambda i: i,
}
_SEEDS = (11, 12, 13)


def alternatives(part: TorchPart) -> list[Case]:
    """Reference calls on inputs made to take other branches and routes than those of `record`.

    Floats under other seeds, negated, shifted, times 3 and 1/3, zeros and ones; integers mirrored, reversed,
    constant, in the lower half of their range. An input that the model refuses, or answers with NaN, is no
    case; at least those under other seeds stand.

    Raises:
        SourceError: forward raised under another seed.
    """
    sizes = part.sizes
    call = part.reference or part.module
    cases = [
        Case(f"seed {seed}", inputs := part.example(sizes, seed), answers(call, inputs, part))
        for seed in _SEEDS
    ]
    floats = free_floats(part, sizes)
    for label, change in _FLOATS.items():
        inputs = dict(part.example(sizes, 1))
        for name, value in inputs.items():
            if name in floats:
                inputs[name] = change(value).astype(value.dtype)
            elif value.dtype.kind in "iu" and name not in part.initial:
                inputs[name] = _INTEGERS[label](value).astype(value.dtype).copy()
            elif value.dtype.kind == "b" and label == "negated":
                inputs[name] = ~value
        case = _case(label, call, inputs, part)
        if case is not None:
            cases.append(case)
    return cases


def _case(label: str, call: Any, inputs: dict[str, np.ndarray], part: TorchPart) -> Case | None:
    try:
        outputs = answers(call, inputs, part)
    except SourceError:
        return None
    kept = all(sound(value) for value in outputs.values() if value.dtype.kind == "f")
    return Case(label, inputs, outputs) if kept else None
