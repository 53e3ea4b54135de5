"""Outputs of the recorded calls, computed by the device; the host compares them with the references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepack.runtime import environment
from edgepack.runtime.devices.runner import parts, readings
from edgepack.toolchain import files

OUTPUTS = "outputs-{}.npz"
CALLS = "calls in a row"


def check(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run every part's recorded calls, then the program's calls in a row from a fresh state.

    Returns:
        facts, clusters: Of the device.
        outputs: By part, and for the calls in a row: the file with "<call>/<output>", and its SHA-256.
    """
    parts.check_hashes(request)
    names = [part["name"] for part in request["parts"]]
    parts.prepare(request, names)
    outputs = {}
    with parts.opened(request, names, request["threads"]) as opened:
        for index, part in enumerate(request["parts"]):
            got = [opened[part["name"]].run(feed) for feed in parts.feeds(part["cases"])]
            outputs[part["name"]] = _write(OUTPUTS.format(index), got)
        if request["calls"] is not None:
            program = parts.program(request, opened)
            calls = zip(request["calls"]["parts"], parts.feeds(request["calls"]["file"]), strict=True)
            outputs[CALLS] = _write(
                OUTPUTS.format("calls"), [program.call(part, feed) for part, feed in calls]
            )
    root = Path(request["root"])
    return {
        "facts": environment.facts(request["threads"], spinning=False, root=root),
        "clusters": readings.clusters(root),
        "outputs": outputs,
    }


def _write(name: str, calls: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    import numpy as np

    arrays = {f"{index}/{key}": value for index, call in enumerate(calls) for key, value in call.items()}
    np.savez(name, **arrays)
    return {"file": name, "sha256": files.hash_file(Path(name)).sha256}
