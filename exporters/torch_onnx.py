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

from edgepack.exporters.sources.base import TorchPart
from edgepack.toolchain.program import Signature, TensorSpec, terms

if TYPE_CHECKING:
    import torch

    from edgepack.exporters.weight_file import WeightFile

RUNGS = ("dynamo", "dynamo-strict", "static")


def export(part: TorchPart, signature: Signature, rung: str, path: Path, weights: WeightFile) -> Signature:
    """Write `path` by one rung.

    Args:
        part: The opened part.
        signature: With outputs filled in.
        rung: One of RUNGS.
        path: The ONNX file.
        weights: Receives its weights, shared with the other parts.

    Returns:
        The signature of the graph: as given, or with numbers only after the static rung.

    Raises:
        Exception: Whatever torch raises; the caller records it as the reason the rung was left.
    """
    import torch

    arrays = part.example(part.sizes, 0)
    args = tuple(torch.from_numpy(value.copy()) for value in arrays.values())
    static = rung == "static"
    shapes = None if static else _dynamic_shapes(part.module, signature, part.limits)
    # The exporter reports its progress and its worries on standard output; the reason a rung is
    # left goes into the ladder's record instead.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        exported = _torch_export(part.module, args, shapes, strict=rung == "dynamo-strict")
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
        weights.save(program.model, path)
    if static:
        return _pinned(signature, part)
    return signature


def _torch_export(
    module: torch.nn.Module, args: tuple[torch.Tensor, ...], shapes: Any, *, strict: bool
) -> torch.export.ExportedProgram:
    import torch

    return torch.export.export(module, args, dynamic_shapes=shapes, strict=strict)


def _dynamic_shapes(module: torch.nn.Module, signature: Signature, limits: dict[str, int]) -> tuple[Any, ...]:
    """Per input {axis: Dim}, one Dim a name; those of a forward's *inputs are wrapped once more.

    A sum of names is left to torch to find: it has no way of saying one. If it takes it for a
    constant instead, the cases of other sizes show it.
    """
    from torch.export import Dim

    dims: dict[str, Any] = {
        name: Dim(name, max=limits[name]) if name in limits else Dim(name) for name in signature.symbols
    }
    sums = {d for s in signature.inputs for d in s.shape if len(terms(d)) > 1}
    if sums:
        # Names that enter a sum must be free to be related to it.
        dims |= dict.fromkeys([*map(str, sums), *(n for d in sums for n in terms(d))], Dim.AUTO)
    each = tuple({i: dims[d] for i, d in enumerate(s.shape) if isinstance(d, str)} for s in signature.inputs)
    parameters = list(inspect.signature(module.forward).parameters.values())
    if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return each
    named = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    return (*each[:named], each[named:])


def _name_dimensions(model: Any, signature: Signature, *, static: bool) -> None:
    """Give the graph's inputs and outputs the signature's dimension names, whatever torch called them."""
    import onnx_ir as ir

    for values, specs in ((model.graph.inputs, signature.inputs), (model.graph.outputs, signature.outputs)):
        for value, spec in zip(values, specs, strict=True):
            if not static and value.shape is not None and len(value.shape) == len(spec.shape):
                value.shape = ir.Shape(spec.shape)


def _pinned(signature: Signature, part: TorchPart) -> Signature:
    import torch

    arrays = part.example(part.sizes, 0)
    with torch.no_grad():
        result = part.module(*(torch.from_numpy(v.copy()) for v in arrays.values()))
    from edgepack.exporters.record import flatten_outputs

    outputs = flatten_outputs(result, part.where).values()
    return Signature(
        tuple(TensorSpec(s.name, s.dtype, s.resolve(part.sizes)) for s in signature.inputs),
        tuple(
            TensorSpec(s.name, s.dtype, tuple(value.shape))
            for s, value in zip(signature.outputs, outputs, strict=True)
        ),
    )
