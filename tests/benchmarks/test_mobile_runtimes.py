"""MNN and ncnn on real networks: agreement with ONNX Runtime, and speed beside it in one process."""

import time
from importlib.util import find_spec

import numpy as np
import pytest

from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.base import sessions
from edgepack.targets.base import Context, targets
from edgepack.toolchain.pipeline import judging
from tests.benchmarks.test_tflite_routes import sources
from tests.exported import exported

pytestmark = pytest.mark.benchmark
ROUNDS = 30
MODULES = {"mobile:mnn": "_mnncengine", "mobile:ncnn": "ncnn"}
LEAST = {
    "fp32": 0.99999,
    "fp16-weights": 0.9999,
    "int8-weights": 0.99,
    "int8-dynamic": 0.99,
    "int4-weights": 0.9,
}
"""Least cosine of the outputs with those of ONNX Runtime."""
MNN = ("fp32", "fp16-weights", "int8-weights", "int4-weights")
CASES = [
    *(("mobile:mnn", "minilm", precision) for precision in MNN),
    *(("mobile:mnn", "efficientnet", precision) for precision in MNN if precision != "int4-weights"),
    *(("mobile:ncnn", "efficientnet", precision) for precision in ("fp32", "fp16-weights")),
    *(("mobile:ncnn", "minilm", precision) for precision in ("fp32", "fp16-weights", "int8-dynamic")),
]
"""What is worth building: 4 bits are too few for convolutions, and static int8 wants real pictures."""


@pytest.fixture(scope="module")
def programs(minilm, tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            source, sizes = sources(minilm)[name]
            made[name] = exported(source, tmp_path_factory.mktemp(name) / "program"), sizes
        return made[name]

    return get


def seconds(session, feed):
    start = time.process_time()
    session.run(feed)
    return time.process_time() - start


@pytest.mark.parametrize(("target", "name", "precision"), CASES)
def test_real_networks(target, name, precision, programs, tmp_path, capsys):
    if find_spec(MODULES[target]) is None:
        pytest.skip(f"the extra {target.partition(':')[2]} is not installed")
    program, sizes = programs(name)
    part = program.parts["main"]
    context = Context(source={}, sizes={key: sizes[key] for key in part.signature.symbols}, threads=1)
    made = targets.get(target)()
    lowered = made.lower(program, part, context, tmp_path / "lowered")
    offers = {offer.precision: offer for offer in made.offers(lowered)}
    if offers[precision].quantizer is not None:
        lowered = quantizers.get(offers[precision].quantizer)().quantize(
            lowered, precision, None, tmp_path / "quantized"
        )
    compiled = made.compile(lowered, context, tmp_path / "out")
    (feed, *_) = judging.case_feeds(part, part.signature.pinned(context.sizes))
    (want,) = judging.reference_outputs(part, [feed])
    path = tmp_path / "out" / compiled.run_file
    spent: list[float] = []
    plain: list[float] = []
    with (
        sessions.get(made.session)(path, lowered.signature, threads=1) as session,
        sessions.get("onnxruntime")(part.path, part.signature, threads=1) as reference,
    ):
        got = session.run(feed)
        for _ in range(ROUNDS):
            spent.append(seconds(session, feed))
            plain.append(seconds(reference, feed))
    pairs = [(got[key].ravel().astype(float), value.ravel().astype(float)) for key, value in want.items()]
    cosine = min(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs)
    size = sum((tmp_path / "out" / file).stat().st_size for file in compiled.files) / 2**20
    ratio = float(np.median(np.array(plain) / np.array(spent)))
    with capsys.disabled():
        print(
            f"\n{target} {name} {precision}: {ratio:.2f} times ONNX Runtime fp32's speed, "
            f"{np.median(spent) * 1e3:.2f} ms, {size:.1f} MiB, cosine {cosine:.6f}"
        )
    assert cosine > LEAST[precision]
