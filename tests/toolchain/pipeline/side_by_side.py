"""Targets that any process of an installation finds, and that behave as their names say."""

from __future__ import annotations

from pathlib import Path

MODULE = """
import os, shutil, signal, sys, time
from pathlib import Path

from edgepack.targets.base import Compiled, Offer, Requirement, Target, targets
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.results import Placement, Tool
from edgepack.toolchain.subprocesses import run_tool

NOTES = Path(os.environ["ACME_NOTES"])


def wait_for(name, seconds=20):
    end = time.monotonic() + seconds
    while not list(NOTES.glob(name)) and time.monotonic() < end:
        time.sleep(0.05)


class Copy(Target):
    session = "onnxruntime"

    def requirements(self):
        return [Requirement("onnxruntime", "pip install edgepack")]

    def lower_key(self):
        return self.name

    def lower(self, program, part, context, folder):
        from edgepack.toolchain.program import Lowered

        for file in part.path.parent.glob(part.path.name + "*"):
            shutil.copy(file, folder)
        return Lowered(part.name, "onnx", folder / part.path.name, part.signature)

    def offers(self, lowered, rows=None):
        return [Offer("fp32")]

    def compile(self, lowered, context, folder):
        (NOTES / f"{self.name[4:]}.{os.getpid()}").touch()
        ACTS[self.name[4:]](folder)
        for file in lowered.path.parent.glob(lowered.path.name + "*"):
            shutil.copy(file, folder)
        return Compiled((lowered.path.name,), lowered.path.name, Placement(accelerator=0, cpu=1),
                        Tool(name="copy", version="1"))


def refuses(folder):
    raise ToolchainFailedError("the vendor said no")


def odd(folder):
    raise ValueError("odd")


def dies_once(folder):
    wait_for("waits.*")
    if not (NOTES / "died").exists():
        (NOTES / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def waits(folder):
    wait_for("died")
    time.sleep(1)


def slow(folder):
    wait_for("slow-*", 2)
    time.sleep(2)


def hangs(folder):
    code = f"import os, time; open({str(NOTES)!r} + f'/tool.{{os.getpid()}}', 'w').close(); time.sleep(600)"
    run_tool("sleeper", [sys.executable, "-S", "-c", code], time_limit_s=600, cwd=folder)


ACTS = {"good": lambda folder: None, "better": lambda folder: None, "crashes": lambda folder: os.abort(),
        "refuses": refuses, "odd": odd, "dies-once": dies_once, "waits": waits, "slow-a": slow, "slow-b": slow,
        "hangs-a": hangs, "hangs-b": hangs}
for act in ACTS:
    kind = type(act, (Copy,), {"name": f"cpu:{act}", "title": act, "__module__": __name__})
    targets.register(kind.name)(kind)
"""


def pids(notes: Path, prefix: str = "") -> set[int]:
    """Processes that left a note."""
    return {int(path.suffix[1:]) for path in notes.glob(f"{prefix}*.*")}


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not asked about does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
