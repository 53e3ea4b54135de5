"""MLPerf's own load generator, where the device's Python has it: it decides when the next query comes and when to stop.

single-stream   a query of one sample, the next when it was answered; at least so many queries and seconds
offline         one query with all samples at once, as many as take so many seconds, and at least so many

(MLCommons, inference_policies, inference_rules.adoc, "Scenarios"; its Python binding is the distribution
mlcommons-loadgen.) Its clock runs around each query, Python's own beside it for the plot over time. The device is
read when a query has been answered, which LoadGen's clock for the next does not see.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepack.runtime.devices.runner.samples import Samples, told
from edgepack.toolchain.errors import DeviceError

DISTRIBUTION = "mlcommons-loadgen"
PERCENTILE = 0.9
_DETAIL = "mlperf_log_detail.txt"
_MARK = ":::MLLOG "
KEYS = {
    "single-stream": (
        "result_90.00_percentile_latency_ns",
        "early_stopping_latency_ss",
        "result_query_count",
    ),
    "offline": ("result_samples_per_second",),
}
_VALIDITY = ("result_validity", "result_min_duration_met", "result_min_queries_met")


def load() -> Any:
    """The binding, None where this Python has none."""
    try:
        import mlperf_loadgen
    except ImportError:
        return None
    return mlperf_loadgen


def generate(lg: Any, request: Mapping[str, Any], samples: Samples, typical_ms: float) -> dict[str, Any]:
    """Let LoadGen ask for repetitions until its scenario is fulfilled.

    Args:
        lg: From `load`.
        request: With scenario, min_samples, min_seconds, max_seconds and samples (a name that no other run has).
        samples: What takes them.
        typical_ms: A repetition's time, which LoadGen plans with.

    Returns:
        {"tool": {"name", "version"}, "result": what its log says of the scenario}.

    Raises:
        DeviceError: Its log is not what this module knows, or a repetition failed.
    """
    failed: list[Exception] = []

    def answer(queries: Any) -> None:
        for query in queries:
            # An exception would not come through LoadGen's own frames: what is left is answered and not done.
            if not failed:
                try:
                    samples.take()
                except Exception as error:  # noqa: BLE001 - raised again below
                    failed.append(error)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(query.id, 0, 0)])
            if samples.due and not failed:
                samples.write()
                told(samples.done, request["min_samples"], samples.seconds, request["min_seconds"])
                samples.resume()

    folder = Path(f"loadgen-{request['samples']}")
    folder.mkdir()
    sut, library = (
        lg.ConstructSUT(answer, lambda: None),
        lg.ConstructQSL(1, 1, lambda _: None, lambda _: None),
    )
    try:
        lg.StartTestWithLogSettings(sut, library, _settings(lg, request, typical_ms), _logging(lg, folder))
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(sut)
    if failed:
        raise failed[0]
    samples.write()
    return {
        "tool": {"name": DISTRIBUTION, "version": metadata.version(DISTRIBUTION)},
        "result": read(folder / _DETAIL, request["scenario"]),
    }


def _settings(lg: Any, request: Mapping[str, Any], typical_ms: float) -> Any:
    settings = lg.TestSettings()
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = round(request["min_seconds"] * 1e3)
    settings.max_duration_ms = round(request["max_seconds"] * 1e3)
    typical_ms = max(typical_ms, 1e-3)
    if request["scenario"] == "single-stream":
        settings.scenario = lg.TestScenario.SingleStream
        settings.min_query_count = max(1, request["min_samples"])
        settings.single_stream_expected_latency_ns = round(typical_ms * 1e6)
        settings.single_stream_target_latency_percentile = PERCENTILE
    else:
        settings.scenario = lg.TestScenario.Offline
        # A query cannot be broken off: no more than fits into the longest time, which the verdict then says.
        most = math.floor(request["max_seconds"] * 1e3 / typical_ms)
        settings.min_query_count = max(1, min(request["min_samples"], most))
        settings.offline_expected_qps = 1e3 / typical_ms
    return settings


def _logging(lg: Any, folder: Path) -> Any:
    logging = lg.LogSettings()
    logging.enable_trace = False
    logging.log_output.outdir = str(folder)
    logging.log_output.copy_summary_to_stdout = False
    return logging


def read(log: Path, scenario: str) -> dict[str, Any]:
    """The figures of a run in LoadGen's detailed log: a JSON object a line, behind its mark.

    Raises:
        DeviceError: It is not such a log, tells of errors, or lacks a figure.
    """
    found: dict[str, Any] = {}
    try:
        for line in log.read_text().splitlines():
            if not line.startswith(_MARK):
                raise ValueError(line[:80])
            entry = json.loads(line.removeprefix(_MARK))
            found[entry["key"]] = entry["value"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"LoadGen's log cannot be read: {error}") from error
    wanted = (*_VALIDITY, *KEYS[scenario])
    missing = [name for name in wanted if name not in found]
    if missing or found.get("num_errors") != 0:
        raise DeviceError(
            f"LoadGen's log lacks {', '.join(missing)}" if missing else "LoadGen tells of errors"
        )
    return {name: found[name] for name in wanted}
