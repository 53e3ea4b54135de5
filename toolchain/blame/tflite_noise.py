"""How noisy every operator of a quantized TFLite file is, over many inputs.

LiteRT runs whole files only, so what an operator adds is the difference of what is measured around it: with n the
ratio of noise to signal, sum |t' - t|^2 / sum |t|^2, of an operator's result and of its computed inputs,

    added SQNR = -10 log10(n_out - max n_in)

where that is positive. It is exact for an operator that passes its inputs' ratio on, as products and sums roughly do,
and says nothing where noise cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain import tflite
from edgepack.toolchain.blame.noise import sqnr_db, squares
from edgepack.toolchain.blame.results import LayerNoise
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Lowered

if TYPE_CHECKING:
    import numpy as np

    Feed = Mapping[str, np.ndarray]


def measure(float_file: Lowered, quantized: Path, feeds: Iterable[Feed], session: str) -> list[LayerNoise]:
    """Noise of every operator, in order of execution.

    Args:
        float_file: The float file.
        quantized: What a quantizer made of it; tensors have kept their names.
        feeds: Inputs, one call after the other.
        session: The runtime that shows tensors.

    Raises:
        TargetError: The runtime shows no tensor that both files have.
    """
    from edgepack.runtime.sessions.base import sessions

    show = sessions.get(session).tensors
    sums: dict[str, list[float]] = {}
    for feed in feeds:
        reference, got = show(float_file.path, feed), show(quantized, feed)
        for name, value in reference.items():
            if name in got and value.dtype.kind == "f" and got[name].shape == value.shape:
                total = sums.setdefault(name, [0.0, 0.0])
                for index, square in enumerate(squares(value, got[name])):
                    total[index] += square
    if not sums:
        raise TargetError(
            f"The runtime {session} shows no tensor that both files have", where=f"part {float_file.part}"
        )
    ratios = {name: noise / signal for name, (signal, noise) in sums.items() if signal > 0}
    found: list[LayerNoise] = []
    for operator in tflite.operators(tflite.read(float_file.path)):
        name = operator.name
        if name not in sums:
            continue
        before = max((ratios.get(one.name, 0.0) for one in operator.inputs if one is not None), default=0.0)
        own = ratios.get(name, 0.0) - before
        found.append(
            LayerNoise(
                node=name,
                op=operator.op,
                tensors=[name],
                index=len(found),
                added_db=-10.0 * math.log10(own) if own > 0 else None,
                accumulated_db=sqnr_db(*sums[name]),
            )
        )
    return found
