"""Training of one network: seeded, one thread, the same for every method.

AdamW with one cycle of the learning rate (Smith and Topin 2018). Its cost is the process's CPU time over all steps, and
the bytes that a step holds:

    saved for the backward pass + parameters + gradients (as many) + AdamW's two moments (twice as many)

Bytes are counted, from the tensors that autograd saves in the first step, each storage once; a storage that a parameter
has is not counted again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepack.quantize.binary import after_step, progress
from edgepack.toolchain.errors import EdgepackError

WEIGHT_DECAY = 0.02
_WARM_UP = 0.2
_LEAST = 6  # batches of the schedule: torch divides by zero where its warm-up is one batch long, as of five
_COPIES = 4  # of a parameter: itself, its gradient, two moments


class DivergedError(EdgepackError):
    """The loss of a training became NaN or infinite."""


@dataclass(frozen=True)
class Trained:
    """What a training took.

    Attributes:
        cpu_seconds: Of all steps.
        bytes: Held by a step.
        loss: Mean over the last tenth of the steps.
    """

    cpu_seconds: float
    bytes: int
    loss: float


def train(
    network: nn.Module, inputs: Tensor, labels: Tensor, *, steps: int, batch: int, rate: float, seed: int
) -> Trained:
    """Lower the cross-entropy; the network is in eval mode afterwards.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    chance = torch.Generator().manual_seed(seed)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, max(steps, _LEAST), pct_start=_WARM_UP, cycle_momentum=False
    )
    network.train()
    losses: list[float] = []
    saved: dict[int, int] = {}
    begin = time.process_time()
    for step in range(steps):
        rows = torch.randint(len(labels), (batch,), generator=chance)
        progress(network, step / max(steps - 1, 1))
        with _noting(saved) if step == 0 else _nothing():
            loss = nn.functional.cross_entropy(network(inputs[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        after_step(network)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise DivergedError(f"The training diverged: the loss of step {step + 1} is {losses[-1]}")
    seconds = time.process_time() - begin
    network.eval()
    own = {value.untyped_storage().data_ptr() for value in parameters}
    held = sum(size for place, size in saved.items() if place not in own)
    held += _COPIES * sum(value.numel() * value.element_size() for value in parameters)
    last = losses[-max(steps // 10, 1) :]
    return Trained(seconds, held, sum(last) / len(last))


def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of right answers, 0 to 1."""
    return float((logits(network, inputs).argmax(1) == labels).double().mean())


def logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """Of all inputs, without gradients."""
    with torch.no_grad():
        return torch.cat([network(part) for part in inputs.split(256)])  # type: ignore[no-untyped-call]


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """One thread and a fixed seed inside, whatever was there before outside."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _noting(saved: dict[int, int]) -> Iterator[None]:
    """Note every storage that autograd keeps inside, and its bytes; they live until the backward pass."""

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        yield
