"""Running one family from its folder to verified graphs, and what was found on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edgepack.exporters._worker import export_model
from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.links import check_links
from edgepack.toolchain.pipeline.judging import GraphJudge
from edgepack.toolchain.program import Program
from edgepack.toolchain.results import Parity
from tests.exporters.families.family import Family


@dataclass(frozen=True)
class Run:
    """One family's export.

    Attributes:
        program: Its parts.
        task: What it was exported for.
        model: Name of the source's class.
        rungs: The rung of every part.
        parity: Of every part with the source.
        rollout: Of the parts called step by step with the source's whole sequence.
        operators: How often each operator stands in a part.
        opsets: Version of the standard operators that each part's file states.
    """

    program: Program
    task: str
    model: str
    rungs: dict[str, str]
    parity: dict[str, Parity]
    rollout: Parity | None
    operators: dict[str, Counter[str]]
    opsets: dict[str, int]

    @property
    def largest_difference(self) -> float:
        """The largest difference of any output of any call."""
        judged = [*self.parity.values(), *([self.rollout] if self.rollout else [])]
        return max(parity.max_abs_error or 0.0 for parity in judged)

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return all(p.passed for p in self.parity.values()) and (self.rollout is None or self.rollout.passed)


def run(family: Family, folder: Path) -> Run:
    """Save the family's model into `folder`, check it, open it, export it and compare everything."""
    saved = family.save(folder / "model")
    source = open_source(SourceRequest(str(saved), task=family.task or None))
    source.check()
    model = source.open_torch()
    out = folder / "out"
    out.mkdir()
    answer = export_model(model, out)
    program = Program.load(out)
    check_links(program)
    judge = GraphJudge()
    graphs = {part.name: part.model() for part in program}
    return Run(
        program=program,
        task=model.facts.task or "",
        model=model.facts.architecture or "",
        rungs={name: told["rung"] for name, told in answer.items()},
        parity={part.name: judge.part(part) for part in program},
        rollout=judge.rollout(program),
        operators={name: Counter(n.op_type for n in g.graph.all_nodes()) for name, g in graphs.items()},
        opsets={name: graph.opset_imports[""] for name, graph in graphs.items()},
    )
