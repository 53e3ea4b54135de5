"""Parts of language models whose states keep their size: a prompt at once, then a token a call.

A network gives `whole` (all positions, no states), `prefill` (a prompt to the last logits and the states) and `step`.
Keys and values lie in caches of fixed capacity that begin as zeros, so that a new row is added where it belongs:
no scatter, which mobile runtimes and accelerators lack, and no cache that grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

PROMPT, STEPS = 9, 33  # of the rollout


class Decoder(Protocol):
    """What the parts are made of."""

    def whole(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [batch, sequence, vocabulary] of ids [batch, sequence]."""

    def prefill(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits [batch, vocabulary] of the token after a prompt, and the states."""

    def step(
        self, ids: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The same after one more token [batch]; a network that knows positions takes int64 [1] as the third."""


class Prefill(torch.nn.Module):
    """ids [batch, prompt] to logits [batch, vocabulary] and all states."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See `Decoder.prefill`."""
        logits, states = self.net.prefill(ids)  # type: ignore[operator]
        return logits, *states


class Step(torch.nn.Module):
    """ids [batch], position [1] where the network knows positions, and all states to logits and all states."""

    def __init__(self, net: torch.nn.Module, *, placed: bool) -> None:
        super().__init__()
        self.net = net
        self.placed = placed

    def forward(self, ids: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See `Decoder.step`."""
        given = (rest[1:], rest[0]) if self.placed else (rest,)
        logits, after = self.net.step(ids, *given)  # type: ignore[operator]
        return logits, *after


def written(cache: torch.Tensor, new: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """A cache [batch, heads, capacity, width] with one row [batch, heads, 1, width] at `position`, zeros before."""
    here = torch.arange(cache.shape[2]) == position
    return cache + here.to(cache.dtype)[:, None] * new


def filled(rows: torch.Tensor, capacity: int) -> torch.Tensor:
    """The first rows of a cache [batch, heads, capacity, width], from [batch, heads, prompt, width]."""
    return torch.nn.functional.pad(rows, (0, 0, 0, capacity - rows.shape[2]))


def build(
    net: torch.nn.Module,
    name: str,
    shapes: Mapping[str, str],
    *,
    vocabulary: int,
    capacity: int,
    placed: bool = True,
) -> TorchModel:
    """Both parts, links and rollout.

    Args:
        net: A `Decoder`, in eval mode.
        name: For messages and facts.
        shapes: Sizes of every state without the batch ("4,16"), by name and in order.
        vocabulary: Tokens.
        capacity: Most positions that its caches hold, or the longest prompt.
        placed: Whether a step has to know its position.
    """
    upper = {"ids": vocabulary, "position": capacity}
    after = [f"next_{state}" for state in shapes]
    prefill = torch_part(
        Prefill(net), f"ids:int64[batch=2,prompt={PROMPT}]", outputs=["logits", *after], where=name,
        upper=upper, limits={"prompt": capacity},
    )  # fmt: skip
    step = torch_part(
        Step(net, placed=placed), "ids:int64[batch=2]", *(["position:int64[1]"] if placed else []),
        *(f"{state}:float32[batch,{shape}]" for state, shape in shapes.items()),
        outputs=["logits", *after], where=name, upper=upper,
    )  # fmt: skip
    links = [StateLink(part, f"next_{s}", "decode", s) for s in shapes for part in ("prefill", "decode")]
    return TorchModel(
        {"prefill": prefill, "decode": step}, facts(name, net, "text-generation"), links=tuple(links),
        rollout=lambda: rollout(net, vocabulary, placed=placed),
    )  # fmt: skip


def rollout(net: torch.nn.Module, vocabulary: int, *, placed: bool) -> list[Call]:
    """A prompt and single steps, with the logits of the whole sequence at once."""
    import numpy as np

    ids = np.random.default_rng(7).integers(0, vocabulary, (1, PROMPT + STEPS))
    with torch.no_grad():
        whole = net.whole(torch.from_numpy(ids)).numpy()  # type: ignore[operator]
    first = Call("prefill", {"ids": ids[:, :PROMPT]}, {"logits": whole[:, PROMPT - 1]})
    places = range(PROMPT, PROMPT + STEPS)
    return [first, *(Call("decode", _token(ids, t, placed=placed), {"logits": whole[:, t]}) for t in places)]


def _token(ids: np.ndarray, place: int, *, placed: bool) -> dict[str, np.ndarray]:
    import numpy as np

    return {"ids": ids[:, place]} | ({"position": np.array([place])} if placed else {})
