"""The rungs of the ladder that trace a torch module: torch.export, then torch.onnx.

    dynamo         torch.export with the named dimensions varying
    dynamo-strict  the same through TorchDynamo's bytecode analysis
    static         all sizes as in the example

Each either writes a graph or raises; whether the graph is right is for verification to say.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources.base import TorchModel
from edgepack.toolchain.program import Signature, TensorSpec

if TYPE_CHECKING:
    import torch

RUNGS = ("dynamo", "dynamo-strict", "static")
DATA_FILE = "raw.onnx.data"


def export(model: TorchModel, signature: Signature, rung: str, path: Path) -> Signature:
    """Write `path` by one rung.

    Args:
        model: The opened model.
        signature: With outputs filled in.
        rung: One of RUNGS.
        path: The ONNX file; weights go to `raw.onnx.data` beside it.

    Returns:
        The signature of the graph: as given, or with numbers only after the static rung.

    Raises:
        Exception: Whatever torch raises; the caller records it as the reason the rung was left.
    """
    import torch

    arrays = model.example(model.sizes, 0)
    args = tuple(torch.from_numpy(value.copy()) for value in arrays.values())
    static = rung == "static"
    shapes = None if static else _dynamic_shapes(model.module, signature, model.limits)
    # The exporter reports its progress and its worries on standard output; the reason a rung is
    # left goes into the ladder's record instead.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        exported = _torch_export(model.module, args, shapes, strict=rung == "dynamo-strict")
        program = torch.onnx.export(
            exported,
            dynamo=True,
            verbose=False,
            optimize=False,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
        )
        assert program is not None  # noqa: S101 - dynamo=True returns a program
        _name_dimensions(program.model, signature, static=static)
        _save(program.model, path)
    if static:
        return _pinned(signature, model)
    return signature


def _torch_export(
    module: torch.nn.Module, args: tuple[torch.Tensor, ...], shapes: Any, *, strict: bool
) -> torch.export.ExportedProgram:
    import torch

    return torch.export.export(module, args, dynamic_shapes=shapes, strict=strict)


def _dynamic_shapes(module: torch.nn.Module, signature: Signature, limits: dict[str, int]) -> tuple[Any, ...]:
    """Per input {axis: Dim}, one Dim a name; wrapped once for forwards that take *inputs."""
    from torch.export import Dim

    dims = {name: Dim(name, max=limits[name]) if name in limits else Dim(name) for name in signature.symbols}
    each = tuple({i: dims[d] for i, d in enumerate(s.shape) if isinstance(d, str)} for s in signature.inputs)
    parameters = inspect.signature(module.forward).parameters.values()
    return (each,) if any(p.kind is p.VAR_POSITIONAL for p in parameters) else each


def _name_dimensions(model: Any, signature: Signature, *, static: bool) -> None:
    """Give the graph's inputs and outputs the signature's dimension names, whatever torch called them."""
    import onnx_ir as ir

    for values, specs in ((model.graph.inputs, signature.inputs), (model.graph.outputs, signature.outputs)):
        for value, spec in zip(values, specs, strict=True):
            if not static and value.shape is not None and len(value.shape) == len(spec.shape):
                value.shape = ir.Shape(spec.shape)


def _pinned(signature: Signature, model: TorchModel) -> Signature:
    import torch

    arrays = model.example(model.sizes, 0)
    with torch.no_grad():
        result = model.module(*(torch.from_numpy(v.copy()) for v in arrays.values()))
    from edgepack.exporters.record import flatten_outputs

    outputs = flatten_outputs(result, model.facts.location).values()
    return Signature(
        tuple(TensorSpec(s.name, s.dtype, s.resolve(model.sizes)) for s in signature.inputs),
        tuple(
            TensorSpec(s.name, s.dtype, tuple(value.shape))
            for s, value in zip(signature.outputs, outputs, strict=True)
        ),
    )


def _save(model: Any, path: Path) -> None:
    import onnx_ir as ir

    ir.save(model, path, external_data=DATA_FILE)
