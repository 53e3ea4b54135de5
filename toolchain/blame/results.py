"""What `edgepack bisect` finds, typed: the content of blame.json. Ratios are dB, None where there is no noise."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgepack.toolchain.results import ArtifactResult, Parity, Result


class LayerNoise(Result):
    """How noisy one layer of a quantized file is, over all inputs that were run."""

    node: str = Field(description="as `--keep` takes it")
    op: str
    tensors: list[str] = Field(description="what it computes, of what both files have")
    index: int = Field(description="place in graph order, from 0")
    added_db: float | None = Field(None, description="signal to the noise that this layer adds by itself")
    accumulated_db: float | None = Field(
        None, description="signal to the noise at its result, all before it included"
    )
    cosine_alone: float | None = Field(
        None,
        description="mean cosine of the outputs when this layer alone is kept float; tried for the worst only",
    )


class KeepStep(Result):
    """The outputs when the first `kept` layers of the order stay float."""

    kept: int
    parity: Parity


class Applied(Result):
    """The artifact before and after layers were kept, from their bundles."""

    bundle: str
    kept: int
    before: ArtifactResult | None = Field(None, description="None when the old bundle holds no such artifact")
    after: ArtifactResult
    passed: bool


class Blame(Result):
    """Who is to blame for the error of one quantized artifact, and what would cure it."""

    bundle: str
    target: str
    part: str
    precision: str
    parity: Parity = Field(description="of the artifact as it is, on all held-out inputs")
    inputs: int = Field(description="held-out inputs that the ratios below are over")
    data: str
    added_by: Literal["running it on float inputs", "difference to its noisiest input"]
    layers: list[LayerNoise] = Field(description="in graph order")
    order: list[str] = Field(description="layers that add noise, most first: what is kept first")
    start: Parity = Field(description="nothing kept, of the file that layers are kept out of")
    steps: list[KeepStep] = Field(default_factory=list, description="by the number of layers kept")
    offered: int | None = Field(
        None, description="fewest layers with which the artifact passes; None: not found"
    )
    confirmed: Parity | None = Field(None, description="the offer as the quantizer builds it, on all inputs")
    command: str | None = Field(None, description="what makes the offer")
    notes: list[str] = Field(default_factory=list)
    applied: Applied | None = None

    def worst(self, count: int) -> list[LayerNoise]:
        """The first layers of the order."""
        by_name = {layer.node: layer for layer in self.layers}
        return [by_name[name] for name in self.order[:count]]
