r"""Structured pruning adapters: a large network with small learned corrections, cut down, as one small network.

    W' = (W + C R) restricted to kept outputs and kept inputs,   C [out, r], R [r, in]

W stays as it was; what is learned is C and R, of which only kept rows and columns count. A product with W' costs what
a smaller network costs: the adapter is in the weights (L. Hedegaard et al., Structured Pruning Adapters,
arXiv:2211.10155, section 3). Cut are the channels inside of blocks, so that what goes around a block keeps its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from edgepack.exporters.architectures.blocks._each import each
from edgepack.exporters.architectures.sequence._continual_networks import (
    TokenNetwork,
    VideoBlock,
    VideoNetwork,
)


def adapted(weights: Sequence[torch.Tensor], rank: int, seed: int) -> list[torch.Tensor]:
    """Every W + C R, with C and R random: a kernel of one point is a matrix, others stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for weight in weights:
        rows, columns = weight.shape[:2]
        left = torch.randn(rows, rank, generator=generator) / rank
        right = torch.randn(rank, columns, generator=generator) / columns**0.5
        found.append(weight + (left @ right).reshape(weight.shape))
    return found


def strongest(weight: torch.Tensor, keep: int) -> torch.Tensor:
    """Which rows of a matrix are kept: those of the largest norm, in their order."""
    kept: torch.Tensor = weight.flatten(1).norm(dim=1).topk(keep).indices
    return kept.sort().values


def adapt(net: VideoNetwork | TokenNetwork, rank: int, seed: int = 1) -> None:
    """Puts adapters into the products that are cut, in place."""
    if isinstance(net, TokenNetwork):
        pairs = [(net.mlp.up.weight, net.mlp.down.weight)]
    else:
        pairs = [(block.a.conv.weight, block.c.conv.weight) for block in each(net.blocks, VideoBlock)]
    with torch.no_grad():
        for index, pair in enumerate(pairs):
            for weight, new in zip(pair, adapted(pair, rank, seed + index), strict=True):
                weight.copy_(new)


def pruned_video(net: VideoNetwork, share: float) -> VideoNetwork:
    """The network with that share of every block's inner channels."""
    inner = tuple(max(1, round(share * one)) for one in net.config.inner)
    small = VideoNetwork(replace(net.config, inner=inner))
    state = dict(net.state_dict())
    pairs = zip(each(net.blocks, VideoBlock), each(small.blocks, VideoBlock), strict=True)
    for index, (block, less) in enumerate(pairs):
        kept = strongest(block.a.conv.weight, less.a.width)
        _cut(state, f"blocks.{index}.", kept, ("a", "b"), "c.conv.weight", "excite")
    small.load_state_dict(state)
    return small.eval()


def pruned_tokens(net: TokenNetwork, share: float) -> TokenNetwork:
    """The network with that share of the feed-forward network's channels."""
    hidden = round(share * net.config.hidden)
    small = TokenNetwork(replace(net.config, hidden=hidden))
    state = dict(net.state_dict())
    kept = strongest(net.mlp.up.weight, hidden)
    for kind in ("weight", "bias"):
        state[f"mlp.up.{kind}"] = state[f"mlp.up.{kind}"][kept]
    state["mlp.down.weight"] = state["mlp.down.weight"][:, kept]
    small.load_state_dict(state)
    return small.eval()


def _cut(
    state: dict[str, torch.Tensor],
    prefix: str,
    kept: torch.Tensor,
    outs: Sequence[str],
    into: str,
    excite: str,
) -> None:
    """Keeps those channels of the convolutions `outs` and of what reads them."""
    for name, value in state.items():
        if not name.startswith(prefix) or "num_batches" in name:
            continue
        own = name.removeprefix(prefix)
        if own.split(".")[0] in outs or own.startswith(f"{excite}.excite."):
            state[name] = value[kept]
        elif own in (into, f"{excite}.squeeze.weight"):
            state[name] = value[:, kept]
