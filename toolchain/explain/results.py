"""What `edgepack explain` finds, typed: the object that `--json` prints."""

from __future__ import annotations

from pydantic import Field

from edgepack.toolchain.results import Result, Tool


class LeftNode(Result):
    """One operator that stays off the accelerator."""

    node: str
    op: str
    reason: str = Field(description="the vendor's own words, where it has some")
    cure: str
    macs: int | None = Field(None, description="multiplications with accumulation of one call")
    bytes: int | None = Field(None, description="of its inputs, weights and results, which cross the CPU")
    macs_share: float | None = None
    bytes_share: float | None = None


class Problem(Result):
    """Operators that stay off for the same reason."""

    op: str
    reason: str = Field(description="without the names of tensors")
    cure: str
    nodes: list[str]
    operators_share: float
    macs_share: float | None = None
    bytes_share: float | None = None
    smallest: str | None = Field(None, description="file of the smallest model that was found to show it")
    smallest_nodes: int | None = Field(None, description="how many ONNX operators that model has")
    not_cut: str | None = Field(None, description="why there is no such file, where one was asked for")


class Explained(Result):
    """One precision of one part for a target."""

    part: str
    precision: str
    accelerator: int
    cpu: int
    device: str | None = None
    tool: Tool | None = None
    macs: int | None = None
    bytes: int | None = None
    estimate_ms: float | None = Field(
        None, description="the vendor's estimate, of what runs on the accelerator alone"
    )
    rewrites: list[str] = Field(default_factory=list, description="what was rewritten, how often, and why")
    left: list[LeftNode] = Field(default_factory=list)
    problems: list[Problem] = Field(default_factory=list)
    splits: bool = Field(
        default=False, description="whether --host lookups would take lookups away that stay off"
    )
    error: str | None = Field(None, description="why it could not be built")


class Explanation(Result):
    """Everything about one target."""

    model: str
    target: str
    forms: list[Explained]
    hosted: list[Explained] = Field(
        default_factory=list,
        description="where lookups stay off: what is left of the rest with --host lookups, which was tried",
    )
