"""Bi-Attention: each query sees the keys whose score is at least the mean of its scores, all of them alike.

    S = sign(Q) sign(K)'                       whole numbers from -d to d
    B_ij = [S_ij >= mean_j S_ij],  j over the keys that i may see; 0 for the others
    context = B sign(V)                        whole numbers: no softmax anywhere
    backward   d sign(v)/dv = 1 where |v| <= 1, else 0;    dB/dS = 1/sqrt d where |S - mean S| <= sqrt d, else 0

After Qin et al., "BiBERT: Accurate Fully Binarized BERT", ICLR 2022 (arXiv:2203.06390). The threshold at the mean
keeps about half of the keys, where bits hold most information. Both sides of the comparison are multiplied by the
number of keys and are whole numbers then, so that torch and any runtime decide alike.

Export: products of +1, -1 and 0 in floating point; both factors change with the input, so that no operator with
packed weights fits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edgepack.quantize.binary._attention import Attention, attentions
from edgepack.quantize.binary._sign import inside, sign, sign_with


class _Above(torch.autograd.Function):
    """1 where `margin` >= 0, else 0; differentiated as if its derivative was `slope`."""

    @staticmethod
    def forward(ctx: Any, margin: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return (margin >= 0).to(margin.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None


@attentions.register("bi")
class BiAttention(Attention):
    """Qin et al. 2022."""

    name = "bi"
    paper = "arXiv:2203.06390"
    comes_with = ("bibert",)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None) -> Tensor:
        if not self.training:
            return self.weights(sign(query), sign(key), keep) @ sign(value)
        q, k, v = (sign_with(values, inside(values.detach())) for values in (query, key, value))
        return self.weights(q, k, keep) @ v

    def weights(self, query: Tensor, key: Tensor, keep: Tensor | None) -> Tensor:
        """B, of 0 and 1, from signs of queries and keys; a query that sees nothing gets zeros."""
        scores = query @ key.transpose(-1, -2)
        if keep is None:
            count: Tensor | int = scores.shape[-1]
            total = scores.sum(-1, keepdim=True)
        else:
            kept = keep.to(scores.dtype)
            count = kept.sum(-1, keepdim=True)
            total = (scores * kept).sum(-1, keepdim=True)
        margin = scores * count - total
        if self.training:
            # The margin is `count` times S - mean.
            root = math.sqrt(self.width)
            near = (margin.detach().abs() <= root * count).to(scores.dtype)
            least = count.clamp(min=1) if isinstance(count, Tensor) else count
            chosen: Tensor = _Above.apply(margin, near / (root * least))  # type: ignore[no-untyped-call]
        else:
            chosen = (margin >= 0).to(scores.dtype)
        return chosen if keep is None else chosen * kept
