"""EcoFormer: queries and keys as short binary codes, whose agreement weighs the values at linear cost.

    h(x) = sign(A (k(x) - mean k)),    k_j(x) = exp(-|x - c_j|^2 / (2 s^2)),  anchors c_j: b bits a head
    w_ij = h(q_i)' h(k_j) + b                        twice the number of equal bits, never negative
    context_i = sum_j w_ij v_j / sum_j w_ij = (h(q_i)' M + b m) / (h(q_i)' z + b n)
    M = sum_j h(k_j) v_j',  m = sum_j v_j,  z = sum_j h(k_j):  signed sums, once for all queries
    backward   d sign(v)/dv = 1 where |v| <= 1, else 0

After Liu, Pan, He, Cai and Zhuang, "EcoFormer: Energy-Saving Attention with Linear Complexity", NeurIPS 2022
(arXiv:2209.09004). The hash functions are learned from real queries and keys, whose attention says which pairs are
alike (`_hashing`); 16 bits. 25 anchors are chosen at random. That b is added to each product, which keeps weights from
being negative, is our form of it. Where all keys' codes are opposite to the query's, the context is 0.

Export: exponentials and products in floating point; a code's bit near its threshold may round to the other side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepack.quantize.binary._attention import Attention, attentions
from edgepack.quantize.binary._hashing import alike, kernel, learn_hash
from edgepack.quantize.binary._sign import inside, sign, sign_with


@attentions.register("ecoformer")
class EcoFormer(Attention):
    """Liu et al. 2022.

    Args:
        heads: How many.
        width: Of one head.
        bits: b, of a code.
        anchors: How many rows of real queries and keys the kernel compares with.
    """

    name = "ecoformer"
    paper = "arXiv:2209.09004"
    anchors: Tensor
    means: Tensor
    directions: Tensor
    spread: Tensor

    def __init__(self, heads: int, width: int, *, bits: int = 16, anchors: int = 25) -> None:
        super().__init__(heads, width)
        self.bits = bits
        # Until `learn` has seen real ones, random directions: locality-sensitive hashing.
        self.register_buffer("anchors", torch.randn(heads, anchors, width))
        self.register_buffer("means", torch.zeros(heads, 1, anchors))
        self.register_buffer("directions", torch.randn(heads, bits, anchors))
        self.register_buffer("spread", torch.full((heads, 1, 1), float(width) ** 0.5))

    def learn(self, query: Tensor, key: Tensor) -> None:
        """Anchors, means and directions of each head, from its queries, keys and their softmax attention."""
        scores = torch.softmax(query @ key.transpose(-1, -2) / self.width**0.5, -1)
        for head in range(self.heads):
            rows = torch.cat([query[:, head].flatten(0, 1), key[:, head].flatten(0, 1)]).float()
            count = min(len(rows), self.anchors.shape[1])
            chosen = rows[torch.randperm(len(rows))[:count]].repeat(-(-self.anchors.shape[1] // count), 1)
            self.anchors[head] = chosen[: self.anchors.shape[1]]
            self.spread[head] = torch.cdist(rows, self.anchors[head]).mean().clamp(min=1e-6)
            # Pairs of one sample, whose attention is known
            pairs = alike(scores[0, head])
            first, second = (
                kernel(x[0, head].float(), self.anchors[head], self.spread[head]) for x in (query, key)
            )
            mean = torch.cat([first, second]).mean(0, keepdim=True)
            self.means[head] = mean
            self.directions[head] = learn_hash(first - mean, second - mean, pairs, self.bits)

    def codes(self, values: Tensor) -> Tensor:
        """[batch, heads, n, d] to signs [batch, heads, n, bits]."""
        features = kernel(values, self.anchors, self.spread) - self.means
        projected = features @ self.directions.transpose(-1, -2)
        return sign_with(projected, inside(projected.detach())) if self.training else sign(projected)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None) -> Tensor:
        q, k = self.codes(query), self.codes(key)
        seen = value.new_ones(1) if keep is None else keep[..., :1, :].transpose(-1, -2).to(value.dtype)
        k, value = k * seen, value * seen
        count = (seen * torch.ones_like(k[..., :1])).sum(-2, keepdim=True)
        top = q @ (k.transpose(-1, -2) @ value) + self.bits * value.sum(-2, keepdim=True)
        bottom = q @ k.sum(-2, keepdim=True).transpose(-1, -2) + self.bits * count
        # Whole even numbers: below 2 there is only 0, where the top is 0 too.
        return top / bottom.clamp(min=1)
