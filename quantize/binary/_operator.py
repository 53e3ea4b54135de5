"""The operators of packed layers in torch: what they compute, so that a frozen model runs anywhere and can be traced.

    bin_linear    y_n = alpha_n * sum_k sign(x_k + shift_k) * b_nk + bias_n
    bin_conv      the same over a window; padded positions add nothing

x is float32, the packed bits are uint8 [N, ceil(K / 8)] or [N, kh, kw, ceil(C / groups / 8)] (see `_bits`), alpha and
bias are float32 [N], shift is float32 of one value a feature or input channel, or None. An exported program keeps them
as they are, and `_translation` writes each as one node.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear, pad

from edgepack.quantize.binary._bits import unpack
from edgepack.quantize.binary._sign import sign


def conv_sizes(
    size: Sequence[int | torch.SymInt], kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]
) -> list[int | torch.SymInt]:
    """Height and width that a convolution gives.

    Args:
        size: Height and width of its input.
        kernel: Height and width.
        strides: Vertical, horizontal.
        pads: Top, left, bottom, right.
    """
    return [(size[i] + pads[i] + pads[i + 2] - kernel[i]) // strides[i] + 1 for i in range(2)]


@torch.library.custom_op(
    "edgepack::bin_linear",
    mutates_args=(),
    schema="(Tensor x, Tensor packed, Tensor alpha, Tensor bias, Tensor? shift, int k) -> Tensor",
)
def bin_linear(
    x: Tensor, packed: Tensor, alpha: Tensor, bias: Tensor, shift: Tensor | None, k: int
) -> Tensor:
    """[..., K] to [..., N]."""
    signs = sign(x if shift is None else x + shift)
    return linear(signs, unpack(packed, k)) * alpha + bias


@bin_linear.register_fake
def _(x: Tensor, packed: Tensor, alpha: Tensor, bias: Tensor, shift: Tensor | None, k: int) -> Tensor:
    del alpha, bias, shift, k
    return x.new_empty(*x.shape[:-1], packed.shape[0])


@torch.library.custom_op(
    "edgepack::bin_conv",
    mutates_args=(),
    schema="(Tensor x, Tensor packed, Tensor alpha, Tensor bias, Tensor? shift, int channels, int[] kernel,"
    " int[] strides, int[] pads, int groups) -> Tensor",
)
def bin_conv(  # noqa: PLR0913 - the operator's inputs and attributes
    x: Tensor,
    packed: Tensor,
    alpha: Tensor,
    bias: Tensor,
    shift: Tensor | None,
    channels: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    groups: int,
) -> Tensor:
    """[batch, channels, height, width] to [batch, N, ...]; `channels` are those of all groups."""
    del kernel
    signs = sign(x if shift is None else x + shift[:, None, None])
    top, left, bottom, right = pads
    weight = unpack(packed, channels // groups).permute(0, 3, 1, 2)
    sums = conv2d(pad(signs, (left, right, top, bottom)), weight, None, list(strides), 0, 1, groups)
    return sums * alpha[:, None, None] + bias[:, None, None]


@bin_conv.register_fake
def _(  # noqa: PLR0913 - as above
    x: Tensor,
    packed: Tensor,
    alpha: Tensor,
    bias: Tensor,
    shift: Tensor | None,
    channels: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    groups: int,
) -> Tensor:
    del alpha, bias, shift, channels, groups
    return x.new_empty(x.shape[0], packed.shape[0], *conv_sizes(x.shape[2:], kernel, strides, pads))
