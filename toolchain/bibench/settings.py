"""What a table is made of: how large the networks are, how long they train, on how much they are judged."""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.toolchain.bibench.cells.tasks import TASKS

Cells = tuple[tuple[str, str], ...]
"""(task, architecture)."""


@dataclass(frozen=True)
class Budget:
    """Everything about a cell but its task, architecture and method.

    Attributes:
        cells: Which pairs of task and architecture.
        width: Channels of the convolutional bodies' first half; a transformer has twice as many.
        layers: Blocks of a body.
        samples: Training examples.
        test_samples: Examples that the accuracy is of.
        steps: Batches.
        batch: Examples a batch.
        rate: Largest learning rate.
        severities: Of corruptions, 1 to 5.
        corrupted: Images that each corruption is tried on.
        rate_factors: Multiples of the learning rate with which the first cell is trained again, to see how much
            depends on it; none for none.
        timing_s: Seconds of one interleaved timing, warm-up aside.
        seed: Of weights and batches.
    """

    cells: Cells
    width: int
    layers: int
    samples: int
    test_samples: int
    steps: int
    batch: int
    rate: float = 3e-3
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    corrupted: int = 1000
    rate_factors: tuple[float, ...] = ()
    timing_s: float = 10.0
    seed: int = 0


REDUCED = Budget(
    cells=(
        ("image", "cnn"),
        ("image", "resnet"),
        ("image", "transformer"),
        ("text", "transformer"),
        ("bytes", "cnn"),
    ),
    width=32,
    layers=2,
    samples=4800,
    test_samples=900,
    steps=100,
    batch=32,
    severities=(1, 3, 5),
    corrupted=150,
    timing_s=8.0,
)
"""Under ten minutes for ten methods on one core: everything runs, and little is learned."""

FULL = Budget(
    cells=tuple((name, architecture) for name, task in TASKS.items() for architecture in task.architectures),
    width=64,
    layers=4,
    samples=60_000,
    test_samples=10_000,
    steps=2000,
    batch=64,
    corrupted=2000,
    rate_factors=(1 / 3, 3.0),
    timing_s=30.0,
)
"""A night's work of two cores: 110 networks, of which the transformers on bytes take a third of the time."""
