"""Recipe: everything a run was asked for, typed, from options or from a YAML or JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgepack.toolchain.assignment import read_assignment
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.metrics import FUNCTION, PERPLEXITY, Metric, read_metric
from edgepack.toolchain.parity import check_gate
from edgepack.toolchain.rewrites.base import rewrites

PRECISIONS = (
    "auto", "fp32", "int8", "int8-dynamic", "int8-static", "int16x8-static", "int16-static",
    "int4-weights", "int8-weights", "fp16-weights", "bf16-weights", "fp16", "as-given",
    "bf16", "int8-bf16", "mixed",
)  # fmt: skip
SEVERAL_FORMS = ("auto", "fp32", "int8", "as-given", "mixed")
"""Precisions that stand for several quantizers, or for none."""
MOST_BUCKETS = 16
"""Combinations of sizes that one run builds."""
DEFAULT_SIZES = {"batch": 1, "sequence": 128, "past": 128, "step": 1}


class Recipe(BaseModel):
    """What to export, for which targets, how, and by which bounds to judge it.

    Attributes:
        model: Folder, file, module:factory or file.py:factory.
        out: The bundle's folder.
        targets: Target names or families ("cpu", "npu", "mobile").
        precision: One of PRECISIONS; "int8" means every int8 form, "auto" the fastest that passes.
        task: A task's name; None: from the model's configuration.
        inputs: Input specifications ("ids:int64[1,seq=128]").
        sizes: Sizes of named dimensions, for static targets and for timing.
        buckets: Sizes of open dimensions that targets with static shapes are each built in.
        pad: What inputs are padded with up to a bucket, by name, where 0 is not what their masks expect.
        host: What accelerators leave to the processor beside them as a part of its own: "lookups".
        static: Fix every dimension at its size on all targets; models of one part only.
        calibration: File, folder or "python:factory" with real inputs; None: see the report.
        calibration_samples: Samples that static quantizers see; as many others judge.
        gate: Bounds that replace the default ones, by name (`parity.MEASURES`; "perplexity" and "metric" are
            the metric's own).
        quantize: Options of the quantizer that makes `precision`, by name (docs/quantization.md).
        target_options: Options of the targets that have them, by name (docs/targets.md).
        keep: Nodes of the lowered float graph that quantizers leave float; "part:node" in a program of several
            parts, or a bare name that all of them have.
        rewrite: Rewrites for accelerators that are applied in any case, by name (docs/npu-lowering.md).
        without: Rewrites for accelerators that are left out, by name (docs/npu-lowering.md).
        assign: File with the form of every layer, which "mixed" is made from (docs/search.md).
        metric: What judges quantized artifacts instead of the default gate (`metrics`); None: the default.
        time_budget_s: Seconds after which the planner begins no further candidate; None: no bound.
        threads: Threads within one operator, at measuring as on the device.
        measure: Whether artifacts are timed here.
        time_limit_s: Limit of one vendor tool or worker process, in seconds.
        trust_pickle: Allow unpickling weights.
        trust_remote_code: Allow running code that lies in the model's folder.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    model: str
    out: str = "build"
    targets: list[str] = Field(default_factory=lambda: ["cpu", "npu", "mobile"], min_length=1)
    precision: str = "auto"
    task: str | None = None
    inputs: list[str] = Field(default_factory=list)
    sizes: dict[str, int] = Field(default_factory=dict)
    buckets: dict[str, list[int]] = Field(default_factory=dict)
    pad: dict[str, float] = Field(default_factory=dict)
    host: list[Literal["lookups"]] = Field(default_factory=list)
    static: bool = False
    calibration: str | None = None
    calibration_samples: int = Field(96, ge=2, le=100_000)
    gate: dict[str, float] = Field(default_factory=dict)
    quantize: dict[str, str | int | float | bool] = Field(default_factory=dict)
    target_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    keep: list[str] = Field(default_factory=list)
    rewrite: list[str] = Field(default_factory=list)
    without: list[str] = Field(default_factory=list)
    assign: str | None = None
    metric: str | None = None
    time_budget_s: float | None = Field(None, gt=0)
    threads: int = Field(1, ge=1, le=1024)
    measure: bool = True
    time_limit_s: float = Field(1800.0, gt=0)
    trust_pickle: bool = False
    trust_remote_code: bool = False

    def size_of(self, name: str, example: int | None = None) -> int:
        """Size of a named dimension for static targets and timing: asked for, usual, or the example's."""
        return self.sizes.get(name) or DEFAULT_SIZES.get(name) or example or 1


def make(**values: Any) -> Recipe:
    """A checked recipe from keyword values.

    Raises:
        UnknownNameError: An unknown key, precision or gate; the nearest name is offered.
        UsageError: A value of a wrong type or out of range.
    """
    known = Recipe.model_fields
    for key in values:
        if key not in known:
            raise UnknownNameError("recipe key", key, known)
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"The recipe's {'.'.join(map(str, first['loc']))} is not valid: {first['msg']}",
            where=f"given: {first['input']!r}"[:200],
        ) from error
    if recipe.precision not in PRECISIONS:
        raise UnknownNameError("precision", recipe.precision, PRECISIONS)
    if recipe.quantize and recipe.precision in SEVERAL_FORMS:
        raise UsageError(
            f"Options of a quantizer ({', '.join(recipe.quantize)}) need one quantized precision, and it is "
            f"{recipe.precision}",
            where="--quantize",
            todo="Name it, for example --precision int8-static",
        )
    _check_keep(recipe)
    metric = read_metric(recipe.metric) if recipe.metric else None
    own = {FUNCTION, PERPLEXITY} & recipe.gate.keys()
    if own and (metric is None or {metric.key} != own):
        raise UsageError(
            f"The gate bounds {', '.join(sorted(own))}, and the metric is {recipe.metric or 'not given'}",
            where="--gate",
            todo="Give --metric perplexity or --metric python:file.py:function with it",
        )
    check_gate({name: bound for name, bound in recipe.gate.items() if name not in own})
    _check_numbers(recipe)
    _check_buckets(recipe, metric)
    return recipe


def _check_numbers(recipe: Recipe) -> None:
    for name, bound in recipe.gate.items():
        if not math.isfinite(bound):
            raise UsageError(f"The bound on {name} is {bound}", where="--gate", todo="Give a number")
    for key, size in recipe.sizes.items():
        if size < 1:
            raise UsageError(f"The size of '{key}' is {size}", todo="Give a positive number")


def _check_buckets(recipe: Recipe, metric: Metric | None) -> None:
    where = "--buckets"
    for dim, sizes in recipe.buckets.items():
        if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
            given = ",".join(map(str, sizes)) or "nothing"
            raise UsageError(
                f"The buckets of '{dim}' are {given}",
                where=where,
                todo="Give positive numbers, each once: --buckets tokens=32,64,128",
            )
        if dim in recipe.sizes:
            raise UsageError(
                f"The dimension '{dim}' has one size and several buckets",
                where=where,
                todo="Leave out its --size",
            )
    count = math.prod(len(sizes) for sizes in recipe.buckets.values())
    if count > MOST_BUCKETS:
        raise UsageError(
            f"These are {count} combinations of sizes, and every one is built, at most {MOST_BUCKETS}",
            where=where,
            todo="Give fewer",
        )
    if recipe.pad and not recipe.buckets:
        raise UsageError(
            f"What {', '.join(recipe.pad)} is padded with was given, and nothing is padded",
            where="--pad",
            todo="Give --buckets with it",
        )
    if (recipe.buckets or recipe.host) and metric is not None and not metric.agreement:
        raise UsageError(
            f"The metric {recipe.metric} judges a model that takes every length, and what is built are parts of it",
            where=where if recipe.buckets else "--host",
            todo="Leave --metric out; the agreement with fp32 judges then",
        )


def _check_keep(recipe: Recipe) -> None:
    for name in (*recipe.rewrite, *recipe.without):
        if name not in rewrites:
            raise UnknownNameError("rewrite", name, rewrites.names(), where="--rewrite and --without")
    both = set(recipe.rewrite) & set(recipe.without)
    if both:
        raise UsageError(
            f"The rewrite '{min(both)}' is asked for and left out",
            where="--rewrite and --without",
            todo="Choose one",
        )
    if recipe.keep and recipe.precision in {"fp32", "as-given"}:
        raise UsageError(
            f"Nodes are to be kept float ({', '.join(recipe.keep[:3])}), and {recipe.precision} rounds none",
            where="--keep",
            todo="Name the precision they are to be kept out of, for example --precision int8-static",
        )
    if (recipe.assign is None) != (recipe.precision != "mixed") and recipe.precision != "auto":
        given = "is not given" if recipe.assign is None else f"is given with --precision {recipe.precision}"
        raise UsageError(
            f"The precision mixed and a file that assigns forms to layers belong together, and the file {given}",
            where="--assign",
            todo="Write --precision mixed --assign FILE; edgepack search makes such a file",
        )
    if recipe.assign is not None:
        read_assignment(Path(recipe.assign))


def read(path: Path) -> dict[str, Any]:
    """The keys of a recipe file (.json, .yaml, .yml), not yet checked.

    Raises:
        UsageError: It cannot be read or is no mapping.
    """
    try:
        text = path.read_text()
        if path.suffix == ".json":
            data = json.loads(text)
        else:
            import yaml

            try:
                data = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ValueError(str(error)) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"The recipe cannot be read: {error}", where=str(path)) from error
    if not isinstance(data, Mapping):
        raise UsageError("The recipe is not a mapping of keys to values", where=str(path))
    odd = next((key for key in data if not isinstance(key, str)), None)
    if odd is not None:
        raise UnknownNameError("recipe key", str(odd), Recipe.model_fields, where=str(path))
    return dict(data)
