"""One side of a comparison at one length: exported, cleaned, verified against torch, and opened in ONNX Runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import ExportError
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.workbench import versions
from edgepack.toolchain.program import Program, Signature

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.sources.base import TorchModel, TorchPart
    from edgepack.toolchain.claims.base import Settings
    from edgepack.toolchain.claims.comparing import Side

_FORMAT = 1


@dataclass(frozen=True)
class Opened:
    """What a comparison needs of a side.

    Attributes:
        run: The compared work, once.
        macs: Multiply-accumulates of it, as torch counts them.
        facts: What it is, in words.
        first: File, signature and inputs of the first call.
    """

    run: Callable[[], object]
    macs: float
    facts: str
    first: tuple[Path, Signature, dict[str, np.ndarray]]


def code_key() -> dict[str, str]:
    """What a measurement depends on besides its setting: edgepack's code and the versions it stands on."""
    return versions("torch", "onnxruntime")


@contextlib.contextmanager
def opened(claim: str, side: Side, size: str, length: int, settings: Settings) -> Iterator[Opened]:
    """A side at a length.

    Raises:
        ExportError: It could not be exported, or its graph disagrees with torch.
    """
    model = side.build(size, length)
    program = _program(claim, side, size, length, model, settings)
    work = side.work(length)
    feeds = []
    macs = 0.0
    for one in work:
        source = model.parts[one.part]
        feeds.append(source.example({**source.sizes, **one.sizes}, 0))
        macs += one.times * _macs(source, feeds[-1])
    called = " and ".join(f"{one.times} x {one.part}" if one.times > 1 else one.part for one in work)
    facts = f"{model.facts.parameters or 0:,} parameters, {called}"
    with contextlib.ExitStack() as stack:
        sessions = {
            name: stack.enter_context(
                judging.open_session(
                    "onnxruntime", program.parts[name].path, program.parts[name].signature, settings.threads
                )
            )
            for name in dict.fromkeys(one.part for one in work)
        }

        def run() -> None:
            for one, feed in zip(work, feeds, strict=True):
                for _ in range(one.times):
                    sessions[one.part].run(feed)

        run()  # allocates; it is not counted
        part = program.parts[work[0].part]
        yield Opened(run, macs, facts, (part.path, part.signature, feeds[0]))


def _program(
    claim: str, side: Side, size: str, length: int, model: TorchModel, settings: Settings
) -> Program:
    """The exported and verified program, from the cache where it was made before."""
    key = {
        "stage": "claimed side", "format": _FORMAT, "claim": claim, "side": side.name, "size": size,
        "length": None if side.dynamic else length, "versions": code_key(),
    }  # fmt: skip
    folder, _ = settings.cache.stage(key, lambda folder: _export(model, folder))
    return Program.load(folder)


def _export(model: TorchModel, folder: Path) -> None:
    from edgepack.exporters._worker import export_model
    from edgepack.toolchain.links import check_links
    from edgepack.toolchain.passes.clean_up import clean_up
    from edgepack.toolchain.passes.storage import save_all
    from edgepack.toolchain.program import Part

    raw = folder / "raw"
    raw.mkdir()
    export_model(model, raw)
    program = Program.load(raw)
    check_links(program)
    models = {part.name: part.model() for part in program}
    for graph in models.values():
        clean_up(graph)
    paths = save_all(models, folder, "weights")
    parts = {
        part.name: Part(part.name, paths[part.name], part.signature, list(part.cases), initial=part.initial)
        for part in program
    }
    cleaned = Program(parts, program.links, program.source, program.notes, [*program.rollout])
    judge = judging.GraphJudge()
    found = [judge.part(part) for part in cleaned]
    together = judge.rollout(cleaned)
    for parity in (*found, *([together] if together else [])):
        if not parity.passed:
            raise ExportError(
                f"The graph's outputs differ from torch's: {'; '.join(parity.failed)}",
                where=str(model.facts.location),
                todo="Look at it with: edgepack export of the same model",
            )
    cleaned.save(folder)


def _macs(part: TorchPart, feed: dict[str, np.ndarray]) -> float:
    """Multiply-accumulates of one call: half of the operations that torch counts in it."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        part.module(*(torch.from_numpy(value.copy()) for value in feed.values()))
    return float(flops.get_total_flops()) / 2
