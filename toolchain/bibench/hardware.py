"""Inference here: all files of a task and architecture in one process, in turn, one input a call.

edgepack's own session of ONNX Runtime runs them, fp32 as well, with the same settings; where the native kernels are
built it registers them for the binary files. Ratios are of rounds in which all took part (`runtime/timing.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgepack.runtime import timing
from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain.bibench.cells import artifact, tasks
from edgepack.toolchain.bibench.results import BASELINE, Timing
from edgepack.toolchain.bibench.settings import Budget


def measure(task: str, architecture: str, files: Mapping[str, Path], budget: Budget) -> list[Timing]:
    """Time the files, fp32 among them.

    Args:
        task: Whose first test input is fed.
        architecture: For the record.
        files: By method.
        budget: Its data and seconds.

    Raises:
        SourceError: ONNX Runtime does not load or run one of them.
        UnknownNameError: There is no fp32 among them.
    """
    import torch

    from edgepack.runtime._timing_steps import Run

    one = np.ascontiguousarray(tasks.load(task, budget.samples, budget.test_samples)[2][:1])
    of = artifact.signature(torch.from_numpy(one), tasks.TASKS[task].classes)
    feed = {of.inputs[0].name: one}
    kind = sessions.get("onnxruntime")
    opened = {name: kind(path, of, threads=1) for name, path in files.items()}
    try:
        runs: dict[str, Run] = {
            name: (lambda session=session: session.run(feed))  # type: ignore[misc]
            for name, session in opened.items()
        }
        found = timing.measure_together(
            runs, BASELINE, threads=1, shapes={of.inputs[0].name: one.shape},
            min_seconds=0.0, max_seconds=budget.timing_s, give_up_ratio=None,
        )  # fmt: skip
    finally:
        for session in opened.values():
            session.close()
    return [
        Timing(
            task=task,
            architecture=architecture,
            method=name,
            latency=latency,
            against_fp32=found.comparisons.get(name),
        )
        for name, latency in found.latencies.items()
    ]
