"""Hash functions with kernels, learned from pairs that are said to be alike or not.

    S_ij = 1 (alike), -1 (not), 0 (unknown);    bits h_t(x) = sign(a_t' f(x)),  f centred kernel features
    a_t  = argmax a' F_q' R_t F_k a   subject to  a' (F_q' F_q + F_k' F_k) a = const
    R_1  = b S,    R_t = R_(t-1) - h_t(q) h_t(k)'

After Liu, Wang, Ji, Jiang and Chang, "Supervised hashing with kernels", CVPR 2012: bits one after the other, each
fitted to what those before it leave, by the largest eigenvector of the relaxed problem; their refinement by gradient
steps behind it is left out, since training goes on afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SHARE = 0.25  # of a query's keys that count as alike, and as many that do not
_RIDGE = 1e-4


def kernel(values: Tensor, anchors: Tensor, spread: Tensor) -> Tensor:
    """exp(-|x - c|^2 / (2 s^2)) of [..., n, d] with anchors [..., m, d]: [..., n, m]."""
    squares = values.square().sum(-1, keepdim=True) + anchors.square().sum(-1).unsqueeze(-2)
    distances = squares - 2 * values @ anchors.transpose(-1, -2)
    return torch.exp(-distances.clamp(min=0) / (2 * spread.square()))


def alike(attention: Tensor) -> Tensor:
    """S from one head's attention [queries, keys]: the largest quarter of each row alike, the smallest not."""
    count = max(int(attention.shape[-1] * _SHARE), 1)
    order = attention.argsort(-1)
    labels = torch.zeros_like(attention)
    labels.scatter_(-1, order[:, :count], -1.0)
    return labels.scatter_(-1, order[:, -count:], 1.0)


def learn_hash(queries: Tensor, keys: Tensor, pairs: Tensor, bits: int) -> Tensor:
    """Directions a, [bits, m], of length 1 in feature space.

    Args:
        queries: Centred features [n, m].
        keys: The same [l, m].
        pairs: S, [n, l].
        bits: How many.
    """
    q, k, left = queries.double(), keys.double(), bits * pairs.double()
    width = q.shape[1]
    gram = q.T @ q + k.T @ k
    ridge = _RIDGE * gram.diagonal().mean().clamp(min=1e-12)
    root = torch.linalg.cholesky(gram + ridge * torch.eye(width, dtype=gram.dtype))
    found = []
    for _ in range(bits):
        wanted = q.T @ left @ k
        inner = torch.linalg.solve_triangular(root, wanted + wanted.T, upper=False)
        inner = torch.linalg.solve_triangular(root, inner.T, upper=False)
        direction = torch.linalg.solve_triangular(root.T, torch.linalg.eigh(inner)[1][:, -1:], upper=True)[
            :, 0
        ]
        found.append(direction)
        first, second = (torch.where(x @ direction < 0, -1.0, 1.0).double() for x in (q, k))
        left = left - first[:, None] * second
    directions = torch.stack(found)
    # Scaled so that projections are of the size that the straight-through estimator lets through.
    size = torch.cat([q, k]).matmul(directions.T).square().mean(0).sqrt().clamp(min=1e-12)
    return (directions / size[:, None]).float()
