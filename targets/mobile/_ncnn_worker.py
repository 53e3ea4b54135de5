"""The process that runs a network of ncnn once: where it crashes, this process does.

    python -m edgepack.targets.mobile._ncnn_worker request.json

Answers (`toolchain.answers`) with {"shapes": of the outputs, by name}; the outputs themselves are written where the
request says ("made"), for the inputs that are there ("given").
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.answers import write_answer
from edgepack.toolchain.vendors import ncnn
from edgepack.toolchain.vendors.no_sockets import forbid_sockets


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    forbid_sockets()
    write_answer(Path(request["answer"]), lambda: work(request))


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Load a network, and call it with what is given, or with zeros.

    Raises:
        SourceError: ncnn does not load it, or fails.
    """
    import numpy as np

    path = Path(request["param"])
    net = ncnn.open_net(path, request["threads"])
    inputs: dict[str, np.ndarray] = {
        name: np.zeros(shape, np.int8) for name, shape in request["inputs"].items()
    }
    if "given" in request:
        with np.load(request["given"], allow_pickle=False) as given:
            inputs = {name: given[str(index)] for index, name in enumerate(inputs)}
    made = ncnn.call(net, ncnn.Blobs.of(path), inputs)
    if "given" in request:
        np.savez(request["made"], **{str(index): value for index, value in enumerate(made.values())})  # type: ignore[arg-type]
    return {"shapes": {name: list(value.shape) for name, value in made.items()}}


if __name__ == "__main__":
    main(sys.argv[1])
