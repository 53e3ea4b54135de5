"""The typed results of the table; what is written as JSON.

A figure that was not obtained is None, and beside it stands why; a cell has an accuracy or a reason, never both.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from edgepack.toolchain.results import Comparison, Environment, Latency, Result

BASELINE = "fp32"
"""The name under which the float network stands among the methods."""


class Training(Result):
    """What a training took; the CPU time is measured, the bytes are counted."""

    cpu_seconds: float
    bytes: int = Field(description="saved for a backward pass, parameters, gradients and optimizer")
    loss: float = Field(description="mean over the last tenth of the steps")
    steps: int
    batch: int


class Corrupted(Result):
    """Accuracy under one corruption; severity 0 is none."""

    name: str
    severity: int
    accuracy: float


class Complexity(Result):
    """Counts for one input, and of parameters."""

    binary_macs: int = Field(description="multiply-adds on bits")
    float_macs: int
    binary_weights: int
    float_parameters: int
    operation_ratio: float = Field(description="float network's operations over this one's, 64 bits in one")
    storage_ratio: float = Field(description="float network's bits over this one's")


class Artifact(Result):
    """The exported file."""

    size_bytes: int
    sha256: str
    native_nodes: int = Field(description="nodes of the domain edgepack")
    agreement: float = Field(description="share of test inputs with the class of the frozen network")


class Cell(Result):
    """One method on one task with one architecture."""

    task: str
    architecture: str
    method: str
    rate_factor: float = 1.0
    accuracy: float | None = Field(None, description="on the test data, 0 to 1")
    missing: str | None = Field(None, description="why there is no accuracy")
    binary_layers: int = 0
    kept: dict[str, str] = Field(default_factory=dict, description="float layers and why")
    training: Training | None = None
    complexity: Complexity | None = None
    corrupted: list[Corrupted] = Field(default_factory=list)
    not_corrupted: str | None = None
    artifact: Artifact | None = None
    not_exported: str | None = None

    @property
    def at(self) -> tuple[str, str]:
        """Task and architecture."""
        return self.task, self.architecture

    @model_validator(mode="after")
    def _strict(self) -> Cell:
        if (self.accuracy is None) == (self.missing is None):
            msg = "a cell has an accuracy or the reason why not"
            raise ValueError(msg)
        if self.missing is not None and (self.training or self.complexity or self.corrupted or self.artifact):
            msg = "a cell without an accuracy has no other figure"
            raise ValueError(msg)
        return self


class Timing(Result):
    """One file's latency, timed in turn with all others of its task and architecture."""

    task: str
    architecture: str
    method: str
    latency: Latency
    against_fp32: Comparison | None = Field(None, description="ratio above 1 is faster; None for fp32 itself")


class NotTimed(Result):
    """A method, or all of a task and architecture, without a latency, and why."""

    task: str
    architecture: str
    method: str | None = None
    reason: str


class Overall(Result):
    """A method's overall metrics, as `overall` computes them; 1 is fp32. What is None has a reason in `missing`."""

    method: str
    tracks: dict[str, float | None]
    missing: dict[str, str] = Field(default_factory=dict)
    corruption_error: float | None = Field(None, description="mCE of Hendrycks and Dietterich, fp32 is 1")
    relative_corruption_error: float | None = None
    notes: list[str] = Field(default_factory=list)


class Method(Result):
    """A method of binarization."""

    name: str
    paper: str


class BibenchResults(Result):
    """The whole table."""

    command: str
    full: bool
    methods: list[Method]
    tasks: dict[str, str] = Field(description="what each task is")
    samples: dict[str, tuple[int, int]] = Field(description="training and test examples of each task")
    chance: dict[str, float] = Field(description="share of the most frequent class among the test examples")
    cells: list[Cell]
    timings: list[Timing]
    not_timed: list[NotTimed]
    overall: list[Overall]
    kernels: list[str] = Field(description="native kernels that this processor runs, best first")
    no_kernels: str | None = None
    environment: Environment
    load_average: tuple[float, float] | None = Field(None, description="at the beginning and at the end")
