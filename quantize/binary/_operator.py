"""The operators of packed layers in torch: what they compute, so that a frozen model runs anywhere and can be traced.

    bin_linear    y_n = alpha_n * sum_k s_k * b_nk + bias_n,    s_k = -1 where x_k < -shift_k, else +1
    bin_conv      the same over a window; padded positions add nothing

x is float32, the packed bits are uint8 [N, ceil(K / 8)] or [N, kh, kw, ceil(C / groups / 8)] (see `_bits`), alpha and
bias are float32 [N], shift is float32 of one value a feature or input channel, or a single one for all. An exported
program keeps them as they are, and `operators` writes each as one node.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear, pad

from edgepack.quantize.binary._bits import unpack


def conv_sizes(
    size: Sequence[int | torch.SymInt], extent: Sequence[int], strides: Sequence[int], pads: Sequence[int]
) -> list[int | torch.SymInt]:
    """Height and width that a convolution gives.

    Args:
        size: Height and width of its input.
        extent: Height and width of what one output sees.
        strides: Vertical, horizontal.
        pads: Top, left, bottom, right.
    """
    return [(size[i] + pads[i] + pads[i + 2] - extent[i]) // strides[i] + 1 for i in range(2)]


def signs_of(x: Tensor, shift: Tensor) -> Tensor:
    """The bits that the operators see, +1 and -1: a comparison, as on the device, and not the sign of a sum."""
    return torch.where(x < -shift, -1.0, 1.0).to(x.dtype)


@torch.library.custom_op(
    "edgepack::bin_linear",
    mutates_args=(),
    schema="(Tensor x, Tensor packed, Tensor alpha, Tensor bias, Tensor shift, int k) -> Tensor",
)
def bin_linear(x: Tensor, packed: Tensor, alpha: Tensor, bias: Tensor, shift: Tensor, k: int) -> Tensor:
    """[..., K] to [..., N]."""
    signs = signs_of(x, shift)
    return linear(signs, unpack(packed, k)) * alpha + bias


@bin_linear.register_fake
def _(x: Tensor, packed: Tensor, alpha: Tensor, bias: Tensor, shift: Tensor, k: int) -> Tensor:
    del alpha, bias, shift, k
    return x.new_empty(*x.shape[:-1], packed.shape[0])


@torch.library.custom_op(
    "edgepack::bin_conv",
    mutates_args=(),
    schema="(Tensor x, Tensor packed, Tensor alpha, Tensor bias, Tensor shift, int k, int[] strides,"
    " int[] pads, int[] dilations, int groups) -> Tensor",
)
def bin_conv(  # noqa: PLR0913 - the operator's inputs and attributes
    x: Tensor,
    packed: Tensor,
    alpha: Tensor,
    bias: Tensor,
    shift: Tensor,
    k: int,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Tensor:
    """[batch, channels, height, width] to [batch, N, ...]; `k` counts the channels of a group."""
    signs = signs_of(x, shift[:, None, None])
    top, left, bottom, right = pads
    weight = unpack(packed, k).permute(0, 3, 1, 2)
    padded = pad(signs, (left, right, top, bottom))
    sums = conv2d(padded, weight, None, list(strides), 0, list(dilations), groups)
    return sums * alpha[:, None, None] + bias[:, None, None]


@bin_conv.register_fake
def _(  # noqa: PLR0913 - as above
    x: Tensor,
    packed: Tensor,
    alpha: Tensor,
    bias: Tensor,
    shift: Tensor,
    k: int,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Tensor:
    del alpha, bias, shift, k, groups
    extent = [d * (size - 1) + 1 for d, size in zip(dilations, packed.shape[1:3], strict=True)]
    return x.new_empty(x.shape[0], packed.shape[0], *conv_sizes(x.shape[2:], extent, strides, pads))
