"""Workers of edgepack's own that answer within the test's process: importing torch once, and not once a call.

The process boundary itself is tested elsewhere (tests/exporters/test_bad_models.py, tests/exporters/test_ladder.py,
tests/quantize/test_litert.py); what a worker computes is the same here.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgepack.toolchain.subprocesses import ToolRun

EXPORT = "edgepack.exporters.ladder"
CALLERS = (EXPORT, "edgepack.quantize.litert")
_PREFIX = "edgepack."


def answered_here(patch: pytest.MonkeyPatch, callers: Sequence[str] = CALLERS) -> None:
    """Have the export's and LiteRT's workers, or those of other callers, run as calls until `patch` is undone."""
    for name in callers:
        module = importlib.import_module(name)
        patch.setattr(module, "run_tool", _called(module.run_tool))


def _called(run_tool: Callable[..., ToolRun]) -> Callable[..., ToolRun]:
    def run(name: str, command: list[Any], **more: Any) -> ToolRun:
        words = [os.fspath(word) for word in command]
        if words[:2] != [sys.executable, "-m"] or not words[2].startswith(_PREFIX):
            return run_tool(name, command, **more)
        request = Path(words[3])
        data = json.loads(request.read_text())
        if "lean" in data:  # which would hide packages from the tests that follow
            request.write_text(json.dumps({**data, "lean": False}))
        # Warnings of what a worker imports are nobody's in a process of its own, nor is where it imports from.
        path = sys.path[:]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(words[2]).main(words[3])
        finally:
            sys.path[:] = path
        return ToolRun("", "")

    return run
