r"""What a scenario's samples come to: MLPerf's figures, with its margin for having seen only so many queries.

Single stream is judged by the 90th percentile q of latency. Of n queries let k be the most for which

    P(Bin(n, 1 - 0.9) <= k) <= 1 - 0.99

holds: if q were above the k-th slowest latency, fewer than k queries would be slower than q, which happens in fewer
than one of a hundred runs. So that latency is an upper bound of q at 99 % confidence. It is LoadGen's early-stopping
estimate, which leaves out the k - 1 slowest and is none for k < 1, that is below 64 queries (MLCommons,
inference_policies, inference_rules.adoc, "Early Stopping").

Offline is judged by throughput: samples through the time from the query to the last answer (LoadGen), or through that
of the calls (ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgepack.runtime.devices.runner.loadgen import PERCENTILE
from edgepack.runtime.statistics import quantile
from edgepack.toolchain.devices.results import Scenario
from edgepack.toolchain.devices.settings import SCENARIOS, Settings
from edgepack.toolchain.errors import DeviceError
from edgepack.toolchain.results import Tool

_CONFIDENCE = 0.99
OURS = "edgepack"


def discarded(n: int, share: float = PERCENTILE) -> int | None:
    """How many of the slowest queries the bound of the percentile leaves out; None where they are too few for one.

    Args:
        n: Queries.
        share: The percentile, 0 to 1.
    """
    log_p, log_q = math.log1p(-share), math.log(share)
    below = 0.0
    for k in range(n + 1):
        below += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q
        )
        if below > 1 - _CONFIDENCE:
            # k - 1 is the most that holds.
            return k - 2 if k > 1 else None
    return None


def judged(
    settings: Settings,
    totals: Sequence[float],
    seconds: float,
    by_loadgen: Mapping[str, Any] | None,
    version: str,
) -> Scenario | None:
    """A scenario's figures; None where none was asked for.

    Args:
        settings: With the scenario's name and what it asks for.
        totals: Milliseconds of every query.
        seconds: From the first query to the last answer.
        by_loadgen: What LoadGen says, where it ran.
        version: edgepack's, which else stands for LoadGen.

    Raises:
        DeviceError: LoadGen's figures are none.
    """
    if not settings.scenario:
        return None
    rules = SCENARIOS[settings.scenario]
    why = []
    if len(totals) < rules.min_samples:
        why.append(f"{len(totals)} of at least {rules.min_samples} samples")
    if seconds < rules.min_seconds:
        why.append(f"{seconds:.1f} of at least {rules.min_seconds:g} s")
    if by_loadgen is None:
        figures = _ours(settings.scenario, totals)
        tool = Tool(name=OURS, version=version)
    else:
        figures = _loadgens(settings.scenario, by_loadgen["result"])
        tool = Tool(name=str(by_loadgen["tool"]["name"]), version=str(by_loadgen["tool"]["version"]))
        if by_loadgen["result"]["result_validity"] != "VALID" and not why:
            why.append("LoadGen calls the run invalid")
    if settings.scenario == "single-stream" and figures["p90_bound_ms"] is None:
        why.append("too few queries for a bound of the percentile")
    facts = {"name": settings.scenario, "tool": tool, "queries": len(totals), "valid": not why, "why": why}
    return Scenario.model_validate({**facts, **figures})


def _ours(scenario: str, totals: Sequence[float]) -> dict[str, float | None]:
    if scenario == "offline":
        return {"samples_per_s": 1e3 * len(totals) / sum(totals)}
    t = discarded(len(totals))
    bound = None if t is None else sorted(totals)[-1 - t]
    return {"p90_ms": quantile(totals, PERCENTILE), "p90_bound_ms": bound}


def _loadgens(scenario: str, result: Mapping[str, Any]) -> dict[str, float | None]:
    try:
        if scenario == "offline":
            return {"samples_per_s": _positive(result["result_samples_per_second"])}
        bound = float(result["early_stopping_latency_ss"]) / 1e6
        return {
            "p90_ms": _positive(result["result_90.00_percentile_latency_ns"]) / 1e6,
            "p90_bound_ms": bound or None,  # 0 where there were too few
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DeviceError(f"LoadGen's figures cannot be read: {error}") from error


def _positive(value: Any) -> float:
    found = float(value)
    if not 0 < found < math.inf:
        raise ValueError(value)
    return found
