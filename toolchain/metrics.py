"""The measure by which a user judges a quantized model: `--metric`.

    cosine, min_cosine,        agreement with the fp32 program on held-out data (`parity`); naming one
    top1, neighbours           makes it the gate in the place of the default one
    perplexity                 exp of the mean negative log-likelihood of the next token, of language models
    python:file.py:function    a function of the user's, called with the model

A function gets a `StatefulProgram`: `model(inputs)` for a model of one part, `model.call(part, inputs)` and
`model.reset()` for one of several; it returns a number, higher is better unless the function has an attribute
`lower_is_better` that is true. The candidate's number v is held against fp32's r, with the limit l:

    higher is better:  v >= r - (1 - l) |r|        python: l = 0.99
    lower is better:   v <= r + (1 - l) |r|
    perplexity:        v <= l r                    l = 1.02
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgepack.toolchain.errors import EdgepackError, UsageError
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.parity import AGREEMENT
from edgepack.toolchain.python_reference import load_object
from edgepack.toolchain.results import MetricResult, Parity

PERPLEXITY = "perplexity"
FUNCTION = "metric"
"""Names in a gate of the limits of perplexity and of a function."""

DEFAULT_LIMITS: Mapping[str, float] = {
    "cosine": 0.99, "min_cosine": 0.98, "top1": 0.95, "neighbours": 0.95, PERPLEXITY: 1.02, FUNCTION: 0.99,
}  # fmt: skip
_HOW = (
    f"Give {', '.join(AGREEMENT)}, {PERPLEXITY}, or python:file.py:function, a function that takes the model "
    "and returns a number (see docs/calibration.md)"
)


@dataclass(frozen=True)
class Metric:
    """What `--metric` named.

    Attributes:
        name: As it was given.
        key: Name of its limit in a gate.
        function: The user's function; None for the others.
        lower_is_better: Whether a smaller number is the better one.
    """

    name: str
    key: str
    function: Callable[[StatefulProgram], float] | None = None
    lower_is_better: bool = False

    @property
    def agreement(self) -> bool:
        """Whether it is one of `parity`'s measures, which need no call of their own."""
        return self.key in AGREEMENT


def read_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: No metric is called so, or the function cannot be loaded.
    """
    if name in AGREEMENT:
        return Metric(name, name)
    if name == PERPLEXITY:
        return Metric(name, name, lower_is_better=True)
    if ":" not in name:
        raise UsageError(f"There is no metric '{name}'", where="--metric", todo=_HOW)
    function = load_object(name, what="metric", todo=_HOW)
    if not callable(function):
        raise UsageError(f"The metric is {type(function).__name__}, not a function", where=name, todo=_HOW)
    return Metric(name, FUNCTION, function, bool(getattr(function, "lower_is_better", False)))


def evaluate(metric: Metric, model: StatefulProgram) -> float:
    """The number that a user's function gives for a model.

    Raises:
        UsageError: It raised, or returned something that is no finite number.
    """
    assert metric.function is not None  # noqa: S101 - the caller has no other
    try:
        value = float(metric.function(model))
    except EdgepackError:
        raise
    except Exception as error:
        raise UsageError(
            f"The metric raised {type(error).__name__}: {error}",
            where=metric.name,
            todo="Try it on the fp32 model: edgepack.open_program opens a bundle's artifact as the metric gets it",
        ) from error
    if not math.isfinite(value):
        raise UsageError(
            f"The metric returned {value}, which can be compared with nothing",
            where=metric.name,
            todo="Return a finite number",
        )
    return value


def judge(parity: Parity, metric: Metric, value: float | str, reference: float, limit: float) -> None:
    """Write a candidate's metric into its parity, and fail it where it is beyond the limit.

    Args:
        parity: Changed in place.
        metric: The metric.
        value: The candidate's number, or in words why there is none.
        reference: The fp32 program's.
        limit: See the module.
    """
    if isinstance(value, str):
        parity.failed.append(value)
    else:
        better = "lower" if metric.lower_is_better else "higher"
        parity.metric = MetricResult(
            name=metric.name, value=value, reference=reference, better=better, limit=limit
        )
        bound = _bound(metric, reference, limit)
        if value > bound if metric.lower_is_better else value < bound:
            side = "above" if metric.lower_is_better else "below"
            parity.failed.append(
                f"{metric.name}: {value:.6g} is {side} {bound:.6g}, the limit for fp32's {reference:.6g}"
            )
    parity.passed = not parity.failed


def _bound(metric: Metric, reference: float, limit: float) -> float:
    if metric.key == PERPLEXITY:
        return limit * reference
    allowed = (1 - limit) * abs(reference)
    return reference + allowed if metric.lower_is_better else reference - allowed
