"""The process that makes cells: one architecture's tiny configuration, one target each, through the whole pipeline.

    python -m edgepack.toolchain.zoo._cell_worker < names of request files, one a line

Answers each with the cell as JSON in the request's "answer". Whatever a run finds is a cell; only what cannot be
answered (a crash, a kill) leaves none, and ends the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.exporters.architectures.base import architectures
from edgepack.toolchain import pipeline
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.recipe import make
from edgepack.toolchain.zoo.cell import of_error, of_manifest
from edgepack.toolchain.zoo.results import Cell


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    answer = Path(request["answer"])
    temporary = answer.with_suffix(".tmp")
    temporary.write_text(work(request).model_dump_json())
    temporary.replace(answer)


def work(request: Mapping[str, Any]) -> Cell:
    """Run one cell.

    Args:
        request: "name", "config", "target", "out" (the bundle's folder), "samples" (that calibrate) and
            "time_limit_s" of one vendor's tool.
    """
    name, config, target = str(request["name"]), str(request["config"]), str(request["target"])
    system = architectures.get(name).card.system
    try:
        recipe = make(
            model=f"zoo:{name}/{config}", targets=[target], out=request["out"], measure=False,
            calibration_samples=request["samples"], time_limit_s=request["time_limit_s"],
        )  # fmt: skip
        bundle = pipeline.run(recipe, jobs=1)
    except EdgepackError as error:
        return of_error(name, system, config, target, error)
    return of_manifest(name, system, config, target, bundle.manifest)


if __name__ == "__main__":
    for line in sys.stdin:
        main(line.rstrip("\n"))
