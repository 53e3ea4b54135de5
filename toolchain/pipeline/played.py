"""Inputs of a part with states, from playing the program: what calibrates and judges a decoding step.

Nobody can hand in a key-value cache as calibration data. The recorded rollout is played on the fp32
program, and every call of the part gives a sample: its own inputs and the states that came to it.
"""

from __future__ import annotations

import contextlib

from edgepack.quantize.base import CalibrationData
from edgepack.quantize.samples import SampleFile, Samples, fingerprint
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.program import Part, Program
from edgepack.toolchain.results import Calibration


def played(program: Program, part: Part, samples: int) -> CalibrationData:
    """Samples of `part` from the rollout and from its reference cases.

    Every other sample calibrates, the rest judge: early and late steps are in both.

    Args:
        program: With a rollout, in floating point.
        part: A part that state links feed.
        samples: How many calibrate, at most; as many again judge.
    """
    file = SampleFile(case.inputs for case in part.cases)
    with contextlib.ExitStack() as stack:
        opened = {
            other.name: stack.enter_context(
                judging.open_session(judging.REFERENCE_SESSION, other.path, other.signature, 1)
            )
            for other in program
            if any(call.part == other.name for call in program.rollout)
        }
        player = StatefulProgram(
            {name: program.parts[name].signature for name in opened},
            program.links,
            lambda name, feed: opened[name].run(feed),
            {name: program.parts[name].initial for name in opened},
        )
        for call in program.rollout:
            if len(file) >= 2 * samples:
                break
            if call.part == part.name:
                file.append(player.feed(call.part, call.inputs))
            player.call(call.part, call.inputs)
    calibrate, held_out = Samples(file, range(0, len(file), 2)), Samples(file, range(1, len(file), 2))
    facts = Calibration(
        kind="synthetic",
        description="the model's own calls in a row on random inputs, with the states that came of them",
        samples=len(calibrate),
        held_out=len(held_out),
    )
    return CalibrationData(facts, calibrate, held_out, fingerprint(Samples(file, range(len(file)))))
