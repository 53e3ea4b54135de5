"""An isolated environment that only looks ready: its interpreter is this one, its worker a few lines of a test's."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgepack.toolchain.environments import ROOT_VARIABLE, STAMP_FILE, IsolatedEnvironment

REQUEST = (
    "import json, os, pathlib, sys, time\n"
    "what, request = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())\n"
    "log = pathlib.Path(request['log'])\n"
)
"""What a worker's code begins with: `what` ("compile" or "run"), `request` and `log`."""
LOOP = (
    "import numpy as np\n"
    "print(json.dumps({'ok': True}), flush=True)\n"
    "for line in sys.stdin:\n"
    "    call = json.loads(line)\n"
)
"""How a worker that runs a model begins: it is open, and a call has come."""
FAILURES = [
    ("log.write_text('out of memory'); os.abort()", "signal 6.*Its log ends with: out of memory"),
    ("sys.exit(1)", "exit code 1"),
    ("time.sleep(60)", "did not finish within 2 s"),
    ("pass", "did not write answer.json"),
    ("open(request['answer'], 'w').write('<html>')", "no answer: '<html>'"),
    ("answer([1, 2])", "no answer"),
    ("answer({'ok': False})", "no answer"),
]
"""Ways of compiling in which any worker can let us down, and what is said of them."""


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


def registered_and_light(names: Sequence[str]) -> None:
    """Raise AssertionError unless the targets are registered without importing anything heavy."""
    heavy = ("torch", "numpy", "onnx", "onnxruntime", "onnx_ir", "filelock", "platformdirs")
    code = (
        "import sys; from edgepack.targets.base import targets; names = targets.names();"
        f"assert set({list(names)!r}) <= set(names), names;"
        f"sys.exit(', '.join(n for n in {heavy!r} if n in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
