"""Seeded training on one thread: AdamW, one cycle of the learning rate (Smith and Topin 2018)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

WEIGHT_DECAY = 0.02


def train(
    network: torch.nn.Module, loss: Callable[[torch.Generator], torch.Tensor], steps: int, rate: float
) -> torch.nn.Module:
    """Lower a loss.

    Args:
        network: Its weights are changed.
        loss: Loss of the next batch; the generator is the only source of chance.
        steps: How many batches.
        rate: The largest learning rate.

    Returns:
        The network, in eval mode.
    """
    chance = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, steps, pct_start=0.2, cycle_momentum=False
    )
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(chance).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """One thread and a fixed seed inside, whatever was there before outside."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
