"""The data that calibrates and judges a part, and what is said when it is not the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgepack.quantize.data import load
from edgepack.toolchain.pipeline.played import played

if TYPE_CHECKING:
    from edgepack.quantize.base import CalibrationData
    from edgepack.toolchain.pipeline.workbench import Workbench
    from edgepack.toolchain.program import Part, Program

_WARNINGS = {
    "synthetic": "No calibration data was given: static quantization saw random values only, and the gate was "
    "judged on them. The numbers do not speak for real inputs; give --calibration.",
    "generic": "No calibration data was given: static quantization and the gate used generic English sentences "
    "(Python's documentation), not your data; give --calibration.",
}


def calibration(
    bench: Workbench,
    program: Program,
    part: Part,
    sizes: Mapping[str, int],
    text: Callable[[], CalibrationData | None],
) -> CalibrationData:
    """Data for a part: loaded, or played through the program where the part has states.

    Args:
        bench: The run's tools.
        program: The verified program.
        part: Its part.
        sizes: Size of every named dimension.
        text: Data of the part that takes text, if there is one; asked only of a part with states.
    """
    recipe = bench.recipe
    with bench.log.stage("calibration data") as record:
        if program.states(part.name):
            longest = recipe.size_of("sequence")
            data = played(program, part, recipe.calibration_samples, text(), longest)
        else:
            data = load(recipe.calibration, part, sizes, recipe.model, recipe.calibration_samples)
        record.detail = (
            f"{data.facts.samples} calibrate, {data.facts.held_out} judge: {data.facts.description}"
        )
    if data.facts.kind in _WARNINGS:
        bench.log.add_warning(_WARNINGS[data.facts.kind])
    return data
