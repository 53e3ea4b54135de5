"""The two ways from torch to TFLite, side by side: edgepack's converter, and litert-torch in its extra."""

import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgepack.exporters import SourceRequest
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.base import Context
from edgepack.targets.mobile import _litert_lowering as lowering
from edgepack.targets.mobile import _torch_lowering
from edgepack.toolchain import tflite
from edgepack.toolchain.pipeline import judging
from tests.exported import exported

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra litert-torch is not installed"),
]
EXAMPLES = Path(__file__).parents[2] / "examples"
ROUNDS = 40
SLOWEST = 0.95
"""Least speed of our file, as a share of the other's: measurements of one file against itself differ by 3 %."""


def sources(minilm):
    return {
        "minilm": (SourceRequest(str(minilm)), {"batch": 1, "sequence": 128}),
        "efficientnet": (SourceRequest(f"{EXAMPLES / 'efficientnet_lite0.py'}:model"), {"batch": 1}),
    }


def seconds(session, feed):
    start = time.process_time()
    session.run(feed)
    return time.process_time() - start


@pytest.mark.parametrize("name", ["minilm", "efficientnet"])
def test_the_own_route_is_as_good(name, minilm, tmp_path, capsys):
    source, sizes = sources(minilm)[name]
    program = exported(source, tmp_path / "program")
    part = program.parts["main"]
    sizes = {symbol: sizes[symbol] for symbol in part.signature.symbols}
    context = Context(source=source.to_json(), sizes=sizes, threads=1)
    signature = lowering.pin(part.signature, sizes, "mobile:litert")
    files = {
        "own": lowering.lower("mobile:litert", program, part, context, tmp_path / "own"),
        "litert-torch": _torch_lowering.lower(
            part, signature, context, tmp_path / "other", "it was asked for"
        ),
    }
    assert lowering.converter(tflite.read(files["own"].path)).name == "edgepack"
    (feed, *_) = judging.case_feeds(part, signature)
    (want,) = judging.reference_outputs(part, [feed])
    errors: dict[str, float] = {}
    operators: dict[str, int] = {}
    spent: dict[str, list[float]] = {key: [] for key in files}
    opened = {key: LitertSession(made.path, made.signature, threads=1) for key, made in files.items()}
    for key, session in opened.items():
        got = session.run(feed)
        errors[key] = max(float(np.abs(got[output] - value).max()) for output, value in want.items())
        operators[key] = len(list(tflite.operators(tflite.read(files[key].path))))
    for _ in range(ROUNDS):
        for key, session in opened.items():
            spent[key].append(seconds(session, feed))
    ratio = float(np.median(np.array(spent["litert-torch"]) / np.array(spent["own"])))
    with capsys.disabled():
        times = {key: f"{np.median(value) * 1e3:.2f} ms" for key, value in spent.items()}
        print(
            f"\n{name}: {ratio:.2f} times litert-torch's speed; {times}, operators {operators}, errors {errors}"
        )
    assert errors["own"] <= max(2 * errors["litert-torch"], 1e-5)
    assert ratio >= SLOWEST
