"""Inputs of a part with states, from playing the program: what calibrates and judges a decoding step.

Nobody can hand in a key-value cache as calibration data. A language model reads text: its prompt, then token
after token, and every step gives a sample, its own inputs and the states that came to it. Other programs play
what was recorded of them (`rolled`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.data import MAX_HELD_OUT
from edgepack.quantize.samples import SampleFile, Samples, fingerprint
from edgepack.toolchain.language import Language
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.rolled import rolled
from edgepack.toolchain.program import Part, Program
from edgepack.toolchain.results import Calibration

if TYPE_CHECKING:
    import numpy as np

_STEPS = 4
"""Samples that one text gives: neighbouring steps are much alike."""


def played(
    program: Program, part: Part, samples: int, text: CalibrationData | None = None, longest: int = 128
) -> CalibrationData:
    """Samples of `part` with the states that come to it.

    Args:
        program: In floating point.
        part: A part that state links feed.
        samples: How many calibrate, at most; as many again judge.
        text: Data of the part that takes the prompt, when `part` is a language model's step; the halves of the
            text that calibrate and judge stay apart.
        longest: Most tokens of a text that are read.
    """
    language = Language.of(program) if text else None
    judges = min(samples, MAX_HELD_OUT)
    with _player(program) as player:
        if text is None or language is None:
            file, description = rolled(program, part, player, samples + judges)
            everything = range(len(file))
            # Every other one: early and late steps are in both halves.
            calibrate, held_out = Samples(file, everything[::2]), Samples(file, everything[1::2])
            kind = "synthetic"
        else:
            file = SampleFile(islice(_read(language, part, player, text.samples, longest), samples))
            count = len(file)
            for feed in islice(_read(language, part, player, text.held_out, longest), judges):
                file.append(feed)
            calibrate, held_out = Samples(file, range(count)), Samples(file, range(count, len(file)))
            kind, description = text.facts.kind, f"steps after a prompt, of: {text.facts.description}"
    facts = Calibration.model_validate(
        {
            "kind": kind,
            "description": description,
            "samples": len(calibrate),
            "held_out": len(held_out),
        }
    )
    return CalibrationData(facts, calibrate, held_out, fingerprint(Samples(file, range(len(file)))))


@contextlib.contextmanager
def _player(program: Program) -> Iterator[StatefulProgram]:
    """The fp32 program, opened."""
    with contextlib.ExitStack() as stack:
        opened = {
            part.name: stack.enter_context(
                judging.open_session(judging.REFERENCE_SESSION, part.path, part.signature, 1)
            )
            for part in program
        }
        yield StatefulProgram(
            {part.name: part.signature for part in program},
            program.links,
            lambda name, feed: opened[name].run(feed),
            {part.name: part.initial for part in program},
        )


def _read(
    language: Language, part: Part, player: StatefulProgram, texts: Sequence[Feeds], longest: int
) -> Iterator[Feeds]:
    """A few single-token steps of every text, spread over its length."""
    for feed in texts:
        ids = language.sequence(feed)[:longest]
        steps: list[tuple[str, dict[str, np.ndarray]]] = list(language.calls(ids, 1))
        player.reset()
        wanted = {1 + (len(steps) - 1) * step // _STEPS for step in range(_STEPS)}
        for index, (name, inputs) in enumerate(steps):
            if index in wanted and name == part.name:
                yield player.feed(name, inputs)
            player.call(name, inputs)
