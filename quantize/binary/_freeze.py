"""Trained layers to packed ones, with the BatchNorm behind folded in where that changes nothing.

    norm(alpha s + bias) = g (alpha s + bias - m) / sqrt(v + eps) + h = alpha' s + bias'
    alpha' = alpha r,  bias' = (bias - m) r + h,  r = g / sqrt(v + eps)

r may be negative or zero: alpha' then is, and the bits stay as they are. The same holds with scales u of the input or
of positions in between, alpha u s + bias, since bias is added after them.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from edgepack.quantize.binary._attention import BinaryAttention
from edgepack.quantize.binary._graph import Neighbours
from edgepack.quantize.binary._layer import BinaryLayer
from edgepack.quantize.binary._methods.reactnet import RPReLU
from edgepack.quantize.binary._packed import PackedLayer
from edgepack.toolchain.errors import UsageError, not_finite

ModuleT = TypeVar("ModuleT", bound=nn.Module)
_Norm = nn.BatchNorm1d | nn.BatchNorm2d


def freeze(model: ModuleT, *, fold_norms: bool = True) -> ModuleT:
    """A copy in eval mode whose binary layers hold packed bits; it computes what the model computes in eval mode.

    The bits of the weights are equal. Outputs differ by float32 rounding where a norm was folded, and not at all
    elsewhere; behind a fold the sign of a value within that rounding of its threshold may differ.

    Args:
        model: From `convert`, trained; it is not changed.
        fold_norms: Whether a BatchNorm that alone reads a layer is folded into its alpha and bias, and the origin of an
            RPReLU into its bias.

    Raises:
        UsageError: The model has no binary layer.
        SourceError: Weights, scales or statistics hold NaN or infinity.
    """
    model = copy.deepcopy(model).eval()
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, BinaryLayer)}
    if not layers and not any(isinstance(module, BinaryAttention) for module in model.modules()):
        raise UsageError("The model has no binary layer to freeze", todo="Call convert and train it first")
    bad = [name for name, layer in layers.items() if not _finite(layer)]
    if bad:
        raise not_finite(bad, "the model to freeze")
    neighbours = Neighbours(model) if fold_norms else None
    with torch.no_grad():
        for name, layer in layers.items():
            packed = _packed(layer)
            if layer.norm is not None:
                _inner_norm(layer, packed, fold=fold_norms)
            if fold_norms and isinstance(packed.after, RPReLU):
                origin = packed.after.origin.double()
                packed.fold(torch.ones_like(origin), origin, torch.zeros_like(origin))
                packed.after = packed.after.frozen()
            behind = neighbours.norm_behind(name) if neighbours is not None else None
            if behind is not None and packed.after is None:
                norm = model.get_submodule(behind)
                assert isinstance(norm, _Norm)  # noqa: S101 - that is what norm_behind looks for
                if _foldable(layer, norm):
                    _fold(packed, norm)
                    packed.folded = (behind,)
                    model.set_submodule(behind, nn.Identity())
            _replace(model, layer, packed)
    bad = [
        name
        for name, packed in model.named_modules()
        if isinstance(packed, PackedLayer) and not _sound(packed)
    ]
    if bad:
        raise not_finite(bad, "alpha or bias after the norms were folded in")
    return model


def _finite(layer: BinaryLayer) -> bool:
    return all(
        bool(v.isfinite().all()) for v in [*layer.parameters(), *layer.buffers()] if v.is_floating_point()
    )


def _sound(packed: PackedLayer) -> bool:
    return all(bool(values.isfinite().all()) for values in packed.buffers() if values.is_floating_point())


def _packed(layer: BinaryLayer) -> PackedLayer:
    method = layer.method
    signs, alpha = layer.bits()
    bias = layer.full_bias(signs, alpha)
    shift = method.shift()
    made = PackedLayer(
        layer.geometry,
        signs.float(),
        alpha.detach().float().clone(),
        alpha.new_zeros(alpha.shape).float() if bias is None else bias.detach().float().clone(),
        None if shift is None else shift.detach().float().clone(),
    )
    made.pads_with = method.pads_with
    made.after = method.after
    scale = method.output_scale()
    made.scale(method.input_scale, None if scale is None else scale.detach().float().clone())
    return made.eval()


class NormBefore(nn.Module):
    """A norm that could not be folded, in front of what a method does behind it."""

    def __init__(self, norm: nn.Module, after: nn.Module | None) -> None:
        super().__init__()
        self.norm = norm
        self.after = after

    def forward(self, y: Tensor, values: Tensor) -> Tensor:
        """Output of the operator and input of the layer to the layer's output."""
        normed: Tensor = self.norm(y)
        if self.after is not None:
            normed = self.after(normed, values)
        return normed


def _inner_norm(layer: BinaryLayer, packed: PackedLayer, *, fold: bool) -> None:
    norm = layer.norm
    assert isinstance(norm, _Norm)  # noqa: S101 - convert moves nothing else into a layer
    if fold and _foldable(layer, norm):
        _fold(packed, norm)
        packed.folded = ("norm",)
    else:
        packed.after = NormBefore(norm, packed.after)


def _foldable(layer: BinaryLayer, norm: _Norm) -> bool:
    """Whether the norm uses fixed statistics, one for each output of the layer."""
    if norm.running_mean is None or norm.num_features != layer.geometry.outputs:
        return False
    # Behind a linear layer BatchNorm1d is per feature for rows, and per step for sequences.
    return layer.geometry.kernel is not None or layer.rank == 2  # noqa: PLR2004


def _fold(packed: PackedLayer, norm: _Norm) -> None:
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018 - see _foldable
    ratio = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        ratio = ratio * norm.weight.double()
    target = norm.bias.double() if norm.affine else torch.zeros_like(ratio)
    packed.fold(ratio, norm.running_mean.double(), target)


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for key, child in list(parent.named_children()):
            if child is old:
                setattr(parent, key, new)
