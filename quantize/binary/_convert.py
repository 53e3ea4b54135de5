"""Float layers to binary ones: which, and why the others stay.

A binary layer pays off where many products share one sum. The first layer sees the input itself and the last one gives
the scores: both stay float, as in all the papers of `_methods`. Where a model begins with an embedding, that is its
first layer.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from edgepack.quantize.binary._attention import (
    BinaryAttention,
    attention_modules,
    attentions,
    convert_attention,
)
from edgepack.quantize.binary._geometry import Geometry
from edgepack.quantize.binary._graph import Neighbours
from edgepack.quantize.binary._layer import BinaryLayer
from edgepack.quantize.binary._method import Method, methods
from edgepack.quantize.binary._packed import PackedLayer
from edgepack.quantize.binary._report import Decision, Report
from edgepack.toolchain.errors import UnknownNameError, UsageError, not_finite

# Below these a sum fills less than a machine word, or a layer is done before its input is packed.
SMALLEST_SUM = 64
SMALLEST_GROUP = 32
SMALLEST_OUTPUTS = 16
# 64 to 64 for one row is 4096 products, and fp32's time; 128 to 128 is half of it, and so is 64 to 64 for 16 rows
# (docs/binary-gain.md).
SMALLEST_PRODUCTS = 8192

ModuleT = TypeVar("ModuleT", bound=nn.Module)
_Found = dict[str, nn.Linear | nn.Conv2d]


def convert(
    model: ModuleT,
    method: str,
    *,
    keep: Collection[str] = (),
    example_inputs: tuple[Any, ...] | None = None,
    **options: Any,
) -> tuple[ModuleT, Report]:
    """A copy of the model whose Linear and Conv2d layers compute on bits, and what became of each.

    A ReLU that only a binary layer reads is taken out: the sign of what is never negative says nothing. A BatchNorm
    behind a layer moves into it where the method has something behind the norm. A method that has an attention of its
    own (BiBERT) puts it in the place of those that are known by their parts.

    Args:
        model: Float, in float32; it is not changed. Trained weights are where training starts.
        method: A name in `methods`.
        keep: Names of layers that stay float.
        example_inputs: Positional inputs, for methods that learn a scale for each output position; with them, layers
            also stay float that have too few products for these inputs.
        options: The method's own, keyword arguments of its class.

    Returns:
        The model, and the report.

    Raises:
        UnknownNameError: No such method, or layer in `keep`.
        UsageError: An option that the method does not have, no layer that can become binary, or not float32.
        SourceError: Weights hold NaN or infinity.
    """
    kind = methods.get(method)
    _check_options(kind, options)
    model = copy.deepcopy(model)
    found = _layers(model)
    for name in keep:
        if name not in found:
            raise UnknownNameError("layer", name, found, where="keep")
    _check_weights(found)
    neighbours = Neighbours(model)
    reasons = {name: next(_reasons(name, layer, model, keep), None) for name, layer in found.items()}
    embedded = any(isinstance(module, nn.Embedding) for module in model.modules())
    for name in _ends(found, neighbours, embedded=embedded):
        if name not in keep:
            reasons[name] = "the first and the last layer stay float"
    shapes = _output_shapes(model, found, example_inputs) if example_inputs is not None else {}
    for name in found:
        reasons[name] = reasons[name] or _too_few_products(found[name], shapes.get(name))
    decisions = []
    for name, layer in found.items():
        reason, notes = reasons[name], []
        if reason is None:
            geometry = _geometry(layer, shapes.get(name))
            notes += _rectifier(model, name, neighbours)
            behind = neighbours.norm_behind(name) if kind.absorbs_norm else None
            norm = None
            if behind is not None:
                norm = model.get_submodule(behind)
                _put(model, behind, nn.Identity())
                notes.append(f"{behind} moved into it")
            made = BinaryLayer(
                geometry, layer.weight, layer.bias, kind(geometry, layer.weight.detach(), **options), norm
            )
            _put(model, name, made.to(layer.weight.device).train(layer.training))
        decisions.append(Decision(name, type(layer).__name__, layer.weight.numel(), reason, tuple(notes)))
    model, attended = _attended(model, method)
    report = Report(method, tuple(decisions), attended)
    if not report.binary:
        raise UsageError(
            "No layer of the model can become binary",
            todo="; ".join(f"{name}: {reason}" for name, reason in report.kept.items())
            or "It has no such layer",
        )
    _leave_fused_paths(model)
    return model, report


def _attended(model: ModuleT, method: str) -> tuple[ModuleT, tuple[str, ...]]:
    """The model with the attention that the method brings along, and where."""
    floats = [m for m in attention_modules(model).values() if not isinstance(m, BinaryAttention)]
    kinds = [name for name, kind in attentions.items() if method in kind.comes_with]
    return convert_attention(model, kinds[0]) if floats and kinds else (model, ())


def _layers(model: nn.Module) -> _Found:
    """Float layers by name, those aside that belong to a binary one."""
    inner = {id(m) for b in model.modules() if isinstance(b, BinaryLayer | PackedLayer) for m in b.modules()}
    modules = model.named_modules()
    return {n: m for n, m in modules if isinstance(m, nn.Linear | nn.Conv2d) and id(m) not in inner}


def _check_options(kind: type[Method], options: dict[str, Any]) -> None:
    known = list(inspect.signature(kind.__init__).parameters)[3:]
    for name in options:
        if name not in known:
            raise UnknownNameError(f"option of {kind.name}", name, known)


def _check_weights(found: _Found) -> None:
    bad = [name for name, layer in found.items() if not _finite(layer)]
    if bad:
        raise not_finite(bad, "the model to convert")
    for name, layer in found.items():
        if layer.weight.dtype != torch.float32:
            raise UsageError(
                f"Binary layers train in float32, and a weight is {str(layer.weight.dtype)[6:]}",
                where=name,
                todo="Convert model.float()",
            )


def _finite(layer: nn.Linear | nn.Conv2d) -> bool:
    return all(bool(values.isfinite().all()) for values in layer.parameters(recurse=False))


def _reasons(
    name: str, layer: nn.Linear | nn.Conv2d, model: nn.Module, keep: Collection[str]
) -> Iterator[str]:
    """Why this layer by itself stays float, most telling first; nothing if it need not."""
    if name in keep:
        yield "asked for"
    if type(layer) not in {nn.Linear, nn.Conv2d}:
        yield f"{type(layer).__name__} is read by its parent in ways of its own"
    sharing = [
        path for path, value in model.named_parameters(remove_duplicate=False) if value is layer.weight
    ]
    if len(sharing) > 1:
        yield f"its weight is shared ({', '.join(sharing)})"
    if isinstance(layer, nn.Conv2d):
        yield from _reasons_of_convolution(layer)
    geometry = Geometry.of(layer)
    if geometry.terms < SMALLEST_SUM:
        yield f"too small to gain: sums of {geometry.terms} (from {SMALLEST_SUM} on)"
    if geometry.outputs < SMALLEST_OUTPUTS:
        yield f"too small to gain: {geometry.outputs} outputs (from {SMALLEST_OUTPUTS} on)"


def _reasons_of_convolution(layer: nn.Conv2d) -> Iterator[str]:
    if layer.padding_mode != "zeros":
        yield f"the operator pads with zeros, not {layer.padding_mode}"
    channels = layer.in_channels // layer.groups
    if channels < SMALLEST_GROUP:
        yield f"too small to gain: {channels} channels a group (from {SMALLEST_GROUP} on)"


def _ends(found: _Found, neighbours: Neighbours, *, embedded: bool) -> set[str]:
    """The first, but for models that begin with an embedding, and the last layer, as called or as declared."""
    order = [name for name in neighbours.order() if name in found] or list(found)
    return set(order[-1:] if embedded else order[:1] + order[-1:])


def _geometry(layer: nn.Linear | nn.Conv2d, shape: torch.Size | None) -> Geometry:
    """Of a layer whose output has this shape, if that is known."""
    geometry = Geometry.of(layer)
    if shape is None or isinstance(layer, nn.Linear):
        return geometry
    return replace(geometry, output_size=(shape[-2], shape[-1]))


def _too_few_products(layer: nn.Linear | nn.Conv2d, shape: torch.Size | None) -> str | None:
    """Why it would not gain for the example, where that is known."""
    if shape is None or (products := shape.numel() * Geometry.of(layer).terms) >= SMALLEST_PRODUCTS:
        return None
    return f"too small to gain: {products} products for the example (from {SMALLEST_PRODUCTS} on)"


def _output_shapes(model: nn.Module, found: _Found, example_inputs: tuple[Any, ...]) -> dict[str, torch.Size]:
    """The shape of what each layer that is called gives for the example."""
    shapes: dict[str, torch.Size] = {}
    hooks = []
    for name, layer in found.items():

        def note(_module: nn.Module, _inputs: Any, output: Tensor, name: str = name) -> None:
            shapes[name] = output.shape

        hooks.append(layer.register_forward_hook(note))
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(*example_inputs)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return shapes


def _rectifier(model: nn.Module, name: str, neighbours: Neighbours) -> list[str]:
    """Take a ReLU in front away, or say why it stays."""
    relu, there = neighbours.rectifier_before(name)
    if relu is not None:
        _put(model, relu, nn.Identity())
        return [f"{relu} taken out: the sign of what is never negative says nothing"]
    if there:
        return ["it reads a ReLU that others use too: without a shift its bits are all +1"]
    return []


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Set a submodule wherever the model holds it."""
    old = model.get_submodule(name)
    for parent in list(model.modules()):
        for key, child in list(parent.named_children()):
            if child is old:
                setattr(parent, key, module)


def _leave_fused_paths(model: nn.Module) -> None:
    """Torch's fused transformer layer reads the weights past the modules that hold them."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and any(
            isinstance(child, BinaryLayer) for child in module.modules()
        ):
            # This flag is what that layer itself looks at before it takes the fused path.
            module.activation_relu_or_gelu = 0
