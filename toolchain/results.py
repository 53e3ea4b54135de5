"""The typed results of a run: what the manifest, the reports and the Python API are made of.

A number that was not obtained is None, never zero: edgepack prints no number that it did not get.
Times are milliseconds, sizes and memory bytes, unless a field's name says otherwise.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["measured", "vendor-estimate", "simulated", "counted"]
Verdict = Literal["faster", "slower", "can't tell"]


class Result(BaseModel):
    """Base of all results: unknown keys are errors, instances compare by value."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Tool(Result):
    """The program that produced a number or an artifact."""

    name: str
    version: str


class Measurement(Result):
    """One named figure, such as cycles, SRAM or flash, with where it comes from."""

    name: str
    value: float
    unit: str
    kind: Kind
    tool: Tool


class Latency(Result):
    """Time of one call. A vendor's estimate has a p50 only; the fields it does not give stay None."""

    kind: Kind
    p50_ms: float
    p90_ms: float | None = None
    p99_ms: float | None = None
    ci_low_ms: float | None = Field(None, description="95 % confidence interval of the median, lower end")
    ci_high_ms: float | None = None
    samples: int = 0
    first_run_ms: float | None = None
    load_ms: float | None = None
    warmup_runs: int | None = None
    steady: bool | None = Field(None, description="whether warm-up ended because times had settled")
    threads: int | None = None
    shapes: dict[str, list[int]] = Field(default_factory=dict, description="input shapes that were timed")
    note: str | None = Field(None, description="what the figure leaves out")


class Memory(Result):
    """Peak memory of a process that loads the artifact and runs it once (bytes, VmHWM)."""

    kind: Kind
    peak_bytes: int
    load_bytes: int | None = Field(None, description="peak after loading, before the first run")
    baseline_bytes: int | None = Field(
        None, description="peak of the same process before loading the artifact"
    )


class OperatorTime(Result):
    """Time of one operator (all nodes of one type) within one call."""

    op: str
    calls: int
    time_ms: float
    share: float = Field(description="of the profiled total, 0 to 1")


class Profile(Result):
    """Per-operator times from the runtime's own profiler, or why there are none."""

    operators: list[OperatorTime] = Field(default_factory=list)
    tool: Tool | None = None
    missing: str | None = Field(None, description="why the runtime gives no per-operator times")


class TensorError(Result):
    """How far one tensor is from its reference."""

    tensor: str
    op: str | None = None
    cosine: float | None = None
    max_abs_error: float | None = None
    sqnr_db: float | None = Field(None, description="10 log10(|ref|^2 / |ref - got|^2); None when equal")


class MetricResult(Result):
    """The user's metric for an artifact, and for the fp32 program on the same data."""

    name: str
    value: float
    reference: float = Field(description="the fp32 program's")
    better: Literal["higher", "lower"]
    limit: float = Field(
        description="how much of the reference must be kept; of perplexity, the largest ratio"
    )


class Parity(Result):
    """Agreement of outputs with the source framework's (or the fp32 program's) on given inputs."""

    passed: bool
    cosine: float | None = Field(None, description="mean over inputs of the cosine between flattened outputs")
    min_cosine: float | None = None
    max_abs_error: float | None = None
    top1_agreement: float | None = Field(None, description="share of rows with the same largest class")
    neighbour_agreement: float | None = Field(
        None, description="share of rows with the same nearest other row"
    )
    choices: dict[str, float] = Field(
        default_factory=dict,
        description="outputs of indices that the model decides: topk:NAME, argmax:NAME -> share",
    )
    inputs_tried: int = 0
    gate: dict[str, float] = Field(default_factory=dict)
    failed: list[str] = Field(default_factory=list, description="the gate's lines that failed, in words")
    reference: str = "source framework"
    data: str = Field("reference cases", description="which inputs these were")
    metric: MetricResult | None = None
    first_wrong: str | None = Field(None, description="first tensor, in graph order, beyond the tolerance")
    worst: list[TensorError] = Field(default_factory=list)
    unverified: str | None = Field(
        None, description="why the file that ships was not run: the figures are of what it was made from"
    )


class NodeReason(Result):
    """One node that stays off the accelerator, why, and what would cure it."""

    node: str
    op: str
    reason: str
    cure: str


class Placement(Result):
    """How many operators run where."""

    accelerator: int
    cpu: int
    reasons: list[NodeReason] = Field(default_factory=list)
    device: str | None = Field(None, description="name of the accelerator, None for a CPU target")
    tool: Tool | None = None


class Comparison(Result):
    """Two artifacts timed in turn in one process: ratio = baseline time / candidate time."""

    baseline: str
    ratio: float = Field(description="above 1: the candidate is faster")
    ci_low: float
    ci_high: float
    rounds: int
    verdict: Verdict


class Calibration(Result):
    """The data that a static quantizer saw, and the held-out data that judged it."""

    kind: Literal["user", "generic", "synthetic"]
    description: str
    samples: int
    held_out: int


class RunFacts(Result):
    """How to run an artifact's numerics again: what `edgepack verify` needs."""

    session: str = Field(description="name in the session registry")
    file: str = Field(description="file of the bundle that the host runs")
    signature: dict[str, Any] = Field(description="`program.Signature` as JSON")
    cases: str = Field(description="file of the bundle with inputs and reference outputs")
    gate: dict[str, float] = Field(description="bounds that hold on those cases")


class ArtifactResult(Result):
    """One artifact of the bundle with everything that is known about it."""

    target: str
    part: str
    precision: str
    files: list[str]
    size_bytes: int
    parity: Parity
    placement: Placement
    latency: Latency | None = None
    memory: Memory | None = None
    tool: Tool
    profile: Profile | None = None
    metrics: list[Measurement] = Field(default_factory=list)
    comparison: Comparison | None = None
    calibration: Calibration | None = None
    notes: list[str] = Field(default_factory=list)
    changed_nodes: int | None = Field(None, description="nodes that the quantizer changed")
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="what the target was told by --target-option"
    )
    run: RunFacts | None = None


class ProgramResult(Result):
    """A target's parts as one program: what links their calls, and whether they agree in a row."""

    target: str
    parts: list[str]
    links: list[dict[str, str]] = Field(description="`program.StateLink` as JSON")
    initial: str | None = Field(None, description="file with states that do not start at zero, part/input")
    rollout: Parity | None = Field(None, description="calls in a row against the full sequence")
    cases: str | None = Field(None, description="file of the bundle with those calls")
    calls: list[str] = Field(default_factory=list, description="part of every recorded call, in order")
    shared_bytes: int | None = Field(None, description="size of the weight file that all parts read")
    whole: dict[str, Any] | None = Field(
        None,
        description="`whole.Whole` as JSON: what a caller sees of the parts, such as one of several sizes",
    )


class RuntimeEntry(Result):
    """One runtime's artifact among those timed side by side."""

    target: str
    precision: str
    latency: Latency
    comparison: Comparison | None = Field(None, description="None for the baseline itself")


class RuntimesResult(Result):
    """What the targets that run on this machine ship for a part, timed in turn in one process."""

    part: str
    baseline: str = Field(description="what the ratios are against")
    entries: list[RuntimeEntry] = Field(description="fastest first")


class CandidateResult(Result):
    """One line of the planner's table: what was considered for a target, and what became of it."""

    target: str
    part: str
    precision: str
    outcome: Literal["chosen", "slower", "failed-gate", "failed", "not-built"]
    why: str
    size_bytes: int | None = None
    parity: Parity | None = None
    latency: Latency | None = None
    comparison: Comparison | None = None
    placement: Placement | None = None


class StageRecord(Result):
    """One arrow of the pipeline: how long, whether from the cache, what it changed, how it was verified."""

    name: str
    target: str | None = None
    part: str | None = None
    precision: str | None = None
    seconds: float
    cached: bool = False
    detail: str | None = None
    changes: dict[str, int] = Field(default_factory=dict, description="pass name -> number of things changed")
    parity: Parity | None = None


class Failure(Result):
    """A target that gave no artifact, with the error's paragraph."""

    target: str
    error: str
    exit_code: int


class Environment(Result):
    """The machine and the settings that the measurements belong to."""

    cpu_model: str
    cpu_features: list[str]
    cores: int
    threads: int
    spinning: bool = Field(description="whether idle threads of ONNX Runtime spin (allow_spinning)")
    governor: str | None = None
    load_average: float | None = None
    temperature_c: float | None = None
    memory_bytes: int
    os: str
    python: str
    packages: dict[str, str]


class SourceFacts(Result):
    """Which model went in."""

    kind: str
    location: str
    fingerprint: str = Field(description="SHA-256 over everything that defines the model")
    task: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    weight_bytes: int | None = None


class FileEntry(Result):
    """Hash and size of one file of the bundle."""

    sha256: str
    size_bytes: int


class Manifest(Result):
    """The whole of `manifest.json`; `report.json` is the same object without the file hashes."""

    format: Literal[1] = 1
    edgepack: str
    bundle: str
    created: str = Field(description="UTC, ISO 8601")
    command: str = Field(description="what to type to get this bundle again")
    source: SourceFacts
    recipe: dict[str, Any]
    exported: list[str] = Field(
        default_factory=list,
        description="how the source became graphs: rewrites, the way that held, why others were left",
    )
    artifacts: list[ArtifactResult] = Field(default_factory=list)
    programs: list[ProgramResult] = Field(default_factory=list, description="of models of several parts")
    runtimes: list[RuntimesResult] = Field(
        default_factory=list, description="the targets that run here side by side, where there are several"
    )
    rejected: list[ArtifactResult] = Field(default_factory=list)
    candidates: list[CandidateResult] = Field(default_factory=list)
    failures: list[Failure] = Field(default_factory=list)
    stages: list[StageRecord] = Field(default_factory=list)
    environment: Environment
    warnings: list[str] = Field(default_factory=list)
    files: dict[str, FileEntry] = Field(default_factory=dict)
