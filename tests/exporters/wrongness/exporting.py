"""Exporting a module in this process, every rung judged as the ladder judges it."""

from edgepack.exporters._worker import export_model
from edgepack.exporters.sources import SourceFacts, TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.pipeline.judging import GraphJudge
from edgepack.toolchain.program import Program


def model(module, *inputs, outputs=(), **more):
    facts = SourceFacts(kind="factory", location="fool", fingerprint="")
    return TorchModel({"main": torch_part(module, *inputs, outputs=outputs, **more)}, facts)


def exported(opened, folder, *rungs):
    """The program and the answer, by the given rungs only or by all."""
    answer = export_model(opened, folder, {name: list(rungs) for name in opened.parts} if rungs else None)
    return Program.load(folder), answer


def agrees(program):
    """Whether every part agrees on every case, and the calls in a row where there are any."""
    judge = GraphJudge()
    try:
        together = judge.rollout(program)
        return all(judge.part(part).passed for part in program) and (together is None or together.passed)
    except EdgepackError:
        # It does not even run on a size that it says it takes.
        return False
