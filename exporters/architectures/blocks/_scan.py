r"""Linear recurrence of single elements, h_t = a_t h_{t-1} + u_t, for decays that no product of matrices computes.

A sequence is cut into runs of `RUN` steps that are all walked at the same time, from nothing; a run's answer to the
state that comes into it is the product of its decays. The states that come in are the same recurrence over the runs,
which is cut again, until one run is left:

    h_t = local_t + (a_1 ... a_t) h_in,   h_in of the next run = local_end + (a_1 ... a_end) h_in

Three multiplications an element and a seventh more for all further levels, linear in length; nothing but products,
sums, slices and joins, and nothing is divided, so that decays may be as small as they like.
"""

from __future__ import annotations

import itertools

import torch

RUN = 8  # fewer than what is told from a loop that was written out


def scan(
    decay: torch.Tensor,
    update: torch.Tensor,
    limit: int,
    *,
    initial: torch.Tensor | None = None,
    backward: bool = False,
) -> torch.Tensor:
    """All states.

    Args:
        decay: a, [batch, length, channels].
        update: u, as `decay`.
        limit: The longest sequence, by which the number of levels is known.
        initial: The state before the first (backward: after the last) step, [batch, channels]; zeros when None.
        backward: From the last step to the first.

    Returns:
        h, as `decay`.
    """
    batch, length, channels = update.shape
    count = 1 if limit <= RUN else (length + RUN - 1) // RUN
    padding = count * RUN - length
    if not isinstance(padding, int) or padding:
        decay = torch.nn.functional.pad(decay, (0, 0, 0, padding), value=1.0)
        update = torch.nn.functional.pad(update, (0, 0, 0, padding))
    decays = decay.reshape(batch, count, RUN, channels).split(1, 2)  # type: ignore[no-untyped-call]
    updates = update.reshape(batch, count, RUN, channels).split(1, 2)  # type: ignore[no-untyped-call]
    order = list(range(RUN))[:: -1 if backward else 1]
    local, product = {order[0]: updates[order[0]]}, {order[0]: decays[order[0]]}
    for before, here in itertools.pairwise(order):
        local[here] = decays[here] * local[before] + updates[here]
        product[here] = decays[here] * product[before]
    first = torch.zeros_like(update[:, :1]) if initial is None else initial.unsqueeze(1)
    if limit > RUN:
        ends, passed = local[order[-1]].squeeze(2), product[order[-1]].squeeze(2)
        reached = scan(passed, ends, -(-limit // RUN), initial=initial, backward=backward)
        first = torch.cat([reached[:, 1:], first] if backward else [first, reached[:, :-1]], 1)
    states = torch.cat([local[i] for i in range(RUN)], 2)
    states = states + torch.cat([product[i] for i in range(RUN)], 2) * first.unsqueeze(2)
    return states.reshape(batch, count * RUN, channels)[:, :length]
