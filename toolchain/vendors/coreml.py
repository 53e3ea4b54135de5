"""coremltools in its isolated environment: asked through files by a worker process, with a time limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.environments import IsolatedEnvironment
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.vendors.isolated_worker import Worker

ENVIRONMENT = IsolatedEnvironment("coreml", Path(__file__).with_name("coreml_requirements.txt"), (11, 13))
DISTRIBUTION = "coremltools"
SETUP = "edgepack setup npu:coreml"
WORKER = Worker(DISTRIBUTION, ENVIRONMENT, SETUP, Path(__file__).with_name("_coreml_worker.py"))


def ask(request: Mapping[str, Any], scratch: Path, time_limit_s: float) -> dict[str, Any]:
    """One request to the worker.

    Args:
        request: "graph", "constants", and "package" or "fold" (`_coreml_worker`).
        scratch: Folder for request, answer and log.
        time_limit_s: Limit, in seconds.

    Returns:
        The worker's answer: "operations" and more, "unsupported" (operators without a translation), or "refused" (a
        node whose translation does not hold, with "why").

    Raises:
        ToolchainFailedError: The worker crashed, hung, failed, answered with what is no answer, or is of another
            version than the environment was made with.
    """
    answer = WORKER.once(request, scratch, time_limit_s)
    if not answer["ok"]:
        raise ToolchainFailedError(f"{DISTRIBUTION} does not convert this model: {answer['error']}")
    WORKER.check_version(answer)
    return answer
