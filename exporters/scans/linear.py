"""h_t = a_t * h_{t-1} + b_t, element by element, with a decay that varies in time.

In torch a plain loop; in an exported graph one Scan, whose nodes do not depend on the length. Its steps run
one after the other: where the decay is one number a head, `chunked` is several times faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def linear_scan(
    decay: torch.Tensor, update: torch.Tensor, initial: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """All states of h_t = a_t * h_{t-1} + b_t.

    Args:
        decay: a, [batch, length, ...], of the update's shape or one that broadcasts to it.
        update: b, [batch, length, ...], length at least 1.
        initial: h_0, [batch, ...]; zeros when None.

    Returns:
        The states [batch, length, ...] and the last one [batch, ...], in the update's dtype.
    """
    import torch

    decay = decay.expand_as(update)
    state = torch.zeros_like(update[:, 0]) if initial is None else initial
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan

        def body(h: torch.Tensor, ab: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            h = ab[0] * h + ab[1]
            return h, h.clone()

        last, states = scan(body, state, (decay.movedim(1, 0), update.movedim(1, 0)))
        return states.movedim(0, 1), last
    states = torch.empty_like(update)
    for t in range(update.shape[1]):
        state = linear_step(decay[:, t], update[:, t], state)
        states[:, t] = state
    return states, state


def linear_step(decay: torch.Tensor, update: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The next state of one step, all of them [batch, ...]; for streaming, with the state as input and output."""
    return decay * state + update
