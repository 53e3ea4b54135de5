"""An isolated environment that only looks ready: its interpreter is this one, its worker a few lines of a test's."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from edgepack.toolchain.environments import ROOT_VARIABLE, STAMP_FILE, IsolatedEnvironment

REQUEST = (
    "import json, os, pathlib, sys, time\n"
    "what, request = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())\n"
    "log = pathlib.Path(request['log'])\n"
)
"""What a worker's code begins with: `what` ("compile" or "run"), `request` and `log`."""


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    environment: IsolatedEnvironment,
    versions: dict[str, str],
    code: str,
) -> Path:
    """Make it below `folder`, holding `versions` by distribution; the script with `code` behind `REQUEST`."""
    monkeypatch.setenv(ROOT_VARIABLE, str(folder / "environments"))
    (environment.folder / "bin").mkdir(parents=True, exist_ok=True)
    if not environment.interpreter.exists():
        environment.interpreter.symlink_to(sys.executable)
    stamp = {"lock": hashlib.sha256(environment.lock.read_bytes()).hexdigest(), "versions": versions}
    (environment.folder / STAMP_FILE).write_text(json.dumps(stamp))
    script = folder / "worker.py"
    script.write_text(REQUEST + code)
    return script
