"""The rungs of the ladder that trace a torch module: torch.export, then torch.onnx.

    dynamo         torch.export with the named dimensions varying
    dynamo-strict  the same through TorchDynamo's bytecode analysis
    static         all sizes as in the example
    torchscript    torch.jit.trace and the older exporter (`rungs.torchscript`)

Each either writes a graph or raises; whether the graph is right is for verification to say.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources.base import TorchPart
from edgepack.toolchain.errors import ExportError
from edgepack.toolchain.native_operators import add_functions, translations_for
from edgepack.toolchain.program import Signature, TensorSpec, is_sum, terms

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from edgepack.exporters.weight_file import WeightFile

# Operator domains of ONNX and of ONNX Runtime's CPU build.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"}
RUNGS = ("dynamo", "dynamo-strict", "static", "torchscript")


@dataclass(frozen=True)
class Written:
    """What a rung wrote.

    Attributes:
        signature: Of the graph.
        notes: What was rewritten or is doubtful in it.
    """

    signature: Signature
    notes: tuple[str, ...] = ()


def export(part: TorchPart, signature: Signature, rung: str, path: Path, weights: WeightFile) -> Written:
    """Write `path` by one rung.

    Args:
        part: The opened part.
        signature: With outputs filled in.
        rung: One of RUNGS.
        path: The ONNX file.
        weights: Receives its weights, shared with the other parts.

    Returns:
        The graph's signature, as given or with numbers only after the static rung, and notes.

    Raises:
        Exception: Whatever torch raises; the caller records it as the reason the rung was left.
        ExportError: The graph holds operators that no runtime knows.
    """
    import torch

    from edgepack.exporters.decompositions.apply import decompose, revealed
    from edgepack.exporters.pairs import is_complex, without_complex

    if rung == "torchscript":
        from edgepack.exporters.rungs.torchscript import export as export_torchscript

        return Written(signature, export_torchscript(part, signature, path, weights))

    arrays = part.example(part.sizes, 0)
    args = tuple(torch.from_numpy(value.copy()) for value in arrays.values())
    static = rung == "static"
    strict = rung == "dynamo-strict"
    notes: list[str] = []

    def trace(module: torch.nn.Module, *, strict: bool = False) -> torch.export.ExportedProgram:
        shapes = None if static else _dynamic_shapes(module, signature, part.limits)
        return _torch_export(module, args, shapes, strict=strict)

    # The exporter reports its progress and its worries on standard output; the reason a rung is
    # left goes into the ladder's record instead.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        exported = trace(part.module, strict=strict)
        if is_complex(exported):
            exported, counts = without_complex(exported, trace)
            notes.append(f"complex numbers written as pairs of real ones: {_counted(counts)}")
        exported, counts = decompose(exported)
        try:
            program = _translated(exported, signature)
        except ExportError:
            exported, found = revealed(exported)
            if not found:
                raise
            notes.append(f"opened by torch's decompositions, and decomposed: {', '.join(found)}")
            program = _translated(exported, signature)
        if counts:
            notes.append(f"decomposed: {_counted(counts)}")
        add_functions(program)
        _separate(program, signature)
        check_operators(program)
        if not static:
            name_dimensions(program, signature)
        weights.save(program, path)
    return Written(_pinned(signature, part) if static else signature, tuple(notes))


def at_sizes(part: TorchPart, sizes: Mapping[str, int]) -> torch.export.ExportedProgram:
    """The part as torch.export writes it down with every dimension a number: for compilers that begin there.

    Complex numbers are pairs of real ones, as in an ONNX graph; nothing else is decomposed.

    Args:
        part: The opened part.
        sizes: Of its named dimensions.

    Raises:
        ExportError: The source gives no example for an input.
        Exception: Whatever torch raises.
    """
    import numpy as np
    import torch

    from edgepack.exporters.pairs import is_complex, without_complex

    arrays = part.example(sizes, 0)
    missing = next((spec for spec in part.signature.inputs if spec.name not in arrays), None)
    if missing is not None:
        raise ExportError(f"The source gives no example for its input {missing}", where=part.where)
    given = [arrays[spec.name] for spec in part.signature.inputs]
    args = tuple(torch.from_numpy(np.require(value, requirements=("C", "W"))) for value in given)

    def trace(module: torch.nn.Module, *, strict: bool = False) -> torch.export.ExportedProgram:
        return _torch_export(module, args, None, strict=strict)

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = trace(part.module)
        return without_complex(exported, trace)[0] if is_complex(exported) else exported


def _translated(exported: torch.export.ExportedProgram, signature: Signature) -> ir.Model:
    """The program in ONNX.

    Raises:
        ExportError: An operator has no translation.
        Exception: Whatever else torch raises.
    """
    import torch

    from edgepack.exporters.refusals import untranslated
    from edgepack.exporters.translations import remembered

    try:
        with remembered():
            program = torch.onnx.export(
                exported,
                dynamo=True,
                verbose=False,
                optimize=False,
                input_names=[spec.name for spec in signature.inputs],
                output_names=[spec.name for spec in signature.outputs],
                custom_translation_table=translations_for(exported),
            )
    except Exception as error:
        refusal = untranslated(exported, error)
        if refusal is None:
            raise
        raise refusal from error
    assert program is not None  # noqa: S101 - dynamo=True returns a program
    return program.model


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items())


def check_operators(model: ir.Model) -> None:
    """Raise unless every operator is ONNX's, of a domain that ONNX Runtime has, or a function of the model.

    Raises:
        ExportError: The first that is not, with its domain.
    """
    functions = {(function.domain, function.name) for function in model.functions.values()}
    nodes = [*model.graph.all_nodes(), *(node for f in model.functions.values() for node in f.all_nodes())]
    for node in nodes:
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in functions:
            raise ExportError(
                f"The graph holds the operator {node.domain}::{node.op_type}, which ONNX Runtime does not know",
                where=node.name,
            )


def _torch_export(
    module: torch.nn.Module, args: tuple[torch.Tensor, ...], shapes: Any, *, strict: bool
) -> torch.export.ExportedProgram:
    import torch

    from edgepack.exporters.substitutes import substituted

    with substituted():
        return torch.export.export(module, args, dynamic_shapes=shapes, strict=strict)


def _dynamic_shapes(module: torch.nn.Module, signature: Signature, limits: dict[str, int]) -> tuple[Any, ...]:
    """Per input {axis: Dim}; those of a forward's *inputs are wrapped once more.

    A dimension that becomes a constant is refused; one that torch bounds (a convolution needs as many
    frames as it is wide) is not, as it would be if it bore a name. That it holds elsewhere than in the
    example is for the cases of other sizes to show.

    A sum of names is left to torch to find: it has no way of saying one. If it takes it for a
    constant instead, the cases of other sizes show it.
    """
    from torch.export import Dim

    dims: dict[str, Any] = {
        name: Dim.DYNAMIC(max=limits[name]) if name in limits else Dim.DYNAMIC for name in signature.symbols
    }
    sums = {d for s in signature.inputs for d in s.shape if is_sum(d)}
    if sums:
        # Names that enter a sum must be free to be related to it.
        dims |= dict.fromkeys([*map(str, sums), *(n for d in sums for n in terms(d))], Dim.AUTO)
    each = tuple({i: dims[d] for i, d in enumerate(s.shape) if isinstance(d, str)} for s in signature.inputs)
    parameters = list(inspect.signature(module.forward).parameters.values())
    if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return each
    named = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    return (*each[:named], each[named:])


def name_dimensions(model: ir.Model, signature: Signature) -> None:
    """Give the graph's inputs and outputs the signature's dimension names, whatever torch called them."""
    import onnx_ir as ir

    for values, specs in ((model.graph.inputs, signature.inputs), (model.graph.outputs, signature.outputs)):
        for value, spec in zip(values, specs, strict=True):
            if value.shape is not None and len(value.shape) == len(spec.shape):
                value.shape = ir.Shape(spec.shape)


def _separate(model: ir.Model, signature: Signature) -> None:
    """Give every output a value of its own: one that is an input, or another output too, bears only one name."""
    import onnx_ir as ir

    taken = {id(value) for value in model.graph.inputs}
    for index, spec in enumerate(signature.outputs):
        value = model.graph.outputs[index]
        if id(value) in taken:
            copied = ir.node("Identity", [value])
            copied.outputs[0].name = spec.name
            copied.outputs[0].type, copied.outputs[0].shape = value.type, value.shape
            model.graph.append(copied)
            model.graph.outputs[index] = copied.outputs[0]
        taken.add(id(model.graph.outputs[index]))
    for value, spec in zip(model.graph.inputs, signature.inputs, strict=True):
        value.name = spec.name
    for value, spec in zip(model.graph.outputs, signature.outputs, strict=True):
        value.name = spec.name
    _yield_names(model)


def _yield_names(model: ir.Model) -> None:
    """Rename inner values that are called like an input or an output: torch names values after its operators."""
    ends = {value.name: value for value in (*model.graph.inputs, *model.graph.outputs)}
    values = [value for node in model.graph.all_nodes() for value in node.outputs]
    taken = {value.name for value in values} | set(model.graph.initializers) | ends.keys()
    for value in values:
        if value.name in ends and value is not ends[value.name]:
            inner = next(name for i in itertools.count() if (name := f"{value.name}_inner_{i}") not in taken)
            taken.add(inner)
            value.name = inner


def _pinned(signature: Signature, part: TorchPart) -> Signature:
    import torch

    arrays = part.example(part.sizes, 0)
    with torch.no_grad():
        result = part.module(*(torch.from_numpy(v.copy()) for v in arrays.values()))
    from edgepack.exporters.outputs import flatten_outputs

    outputs = flatten_outputs(result, part.where, part.output_names).values()
    return Signature(
        tuple(TensorSpec(s.name, s.dtype, s.resolve(part.sizes)) for s in signature.inputs),
        tuple(
            TensorSpec(s.name, s.dtype, tuple(value.shape))
            for s, value in zip(signature.outputs, outputs, strict=True)
        ),
    )
