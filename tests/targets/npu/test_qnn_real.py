"""npu:qnn-htp-*: the real compiler and the HTP simulator, where the isolated environment has been made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import edgepack
from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.qnn import QnnSession
from edgepack.targets.base import Compiled, Context, targets
from edgepack.targets.npu.qnn import CHIPS, Chip, QnnHtp
from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.vendors import qnn
from tests.qnn_models import SIGNATURE, network, samples

READY = qnn.ENVIRONMENT.state() == "ready"
pytestmark = pytest.mark.skipif(not READY, reason=f"no isolated environment 'qnn': {qnn.SETUP} makes it")
CONTEXT = Context(source={}, sizes={}, time_limit_s=120)
FEEDS = samples(4).samples


def quantized(folder: Path, precision: str, *, foreign: bool = False, **options: bool) -> Lowered:
    return quantizers.get("qnn-qdq")().quantize(
        network(folder, foreign=foreign), precision, samples(), folder / "q", **options
    )


def on_the_cpu(path: Path) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    session = onnx_sessions.opened(path, options)
    return np.concatenate([session.run(None, dict(feed))[0] for feed in FEEDS])


def simulated(folder: Path, compiled: Compiled) -> np.ndarray:
    with QnnSession(folder / compiled.run_file, SIGNATURE) as session:
        return np.concatenate([session.run(feed)["y"] for feed in FEEDS])


def worst(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference in units of the largest value."""
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.arch)
def test_a_network_wholly_on_every_generation(chip: Chip, tmp_path: Path) -> None:
    model = quantized(tmp_path, "int16x8-static", headroom=chip.wide_weights)  # as it is offered
    out = tmp_path / "out"
    compiled = targets.get(f"npu:qnn-htp-v{chip.arch}")().compile(model, CONTEXT, out)
    assert compiled.placement.cpu == 0
    assert compiled.placement.accelerator >= 5  # layout changes are counted too
    assert compiled.files[-1].endswith(".dlc")
    assert qnn.chips_in(out / compiled.files[1]) == {(chip.soc, chip.arch)}
    result = simulated(out, compiled)
    # Another rounding than the CPU's: of 16 bits on newer chips; v68 computes with fewer, and gave 2.9e-3 here.
    assert worst(result, on_the_cpu(model.path)) < (5e-3 if chip.arch == "68" else 1e-3)
    assert worst(result, on_the_cpu(tmp_path / "main.onnx")) < 2e-2


def test_eight_bits(tmp_path: Path) -> None:
    model = quantized(tmp_path, "int8-static")
    compiled = targets.get("npu:qnn-htp-v75")().compile(model, CONTEXT, tmp_path / "out")
    assert worst(simulated(tmp_path / "out", compiled), on_the_cpu(model.path)) < 2e-2


def test_what_the_htp_lacks_stays_on_the_cpu_with_the_providers_reason(tmp_path: Path) -> None:
    model = quantized(tmp_path, "int16x8-static", foreign=True)
    out = tmp_path / "out"
    compiled = targets.get("npu:qnn-htp-v75")().compile(model, CONTEXT, out)
    reasons = {reason.op: reason for reason in compiled.placement.reasons}
    assert "Operators of type `Sinh` are not supported" in reasons["Sinh"].reason
    assert reasons.keys() == {"Sinh", "QuantizeLinear", "DequantizeLinear"}
    assert "consume a graph input" in reasons["QuantizeLinear"].reason
    assert compiled.placement.cpu == len(compiled.placement.reasons)
    assert "fallback to CPU EP has been explicitly disabled" in compiled.notes[0]
    assert worst(simulated(out, compiled), on_the_cpu(model.path)) < 1e-2


PRODUCTS = """<ir_version: 9, opset_import: ["": 20]>
g (float[1,16,32] x) => (float[1,16,32] y) {
  h = MatMul(x, w)
  n = LayerNormalization(h, gain, bias)
  r = Relu(n)
  z = MatMul(r, v)
  y = Add(z, bias)
}"""


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.arch)
def test_weights_of_16_bits(chip: Chip, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    proto = onnx.parser.parse_model(PRODUCTS)
    for name, shape in (("w", (32, 32)), ("v", (32, 32)), ("gain", (32,)), ("bias", (32,))):
        values = random.standard_normal(shape).astype(np.float32) / 6
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for index, node in enumerate(proto.graph.node):
        node.name = f"node{index}"
    onnx.save(proto, tmp_path / "main.onnx")
    specs = tuple((TensorSpec(name, "float32", (1, 16, 32)),) for name in "xy")
    lowered = Lowered("main", "onnx", tmp_path / "main.onnx", Signature(*specs))
    target = targets.get(f"npu:qnn-htp-v{chip.arch}")()
    offers = {offer.precision: offer for offer in target.offers(lowered)}
    assert ("int16-static" in offers) is chip.wide_weights
    feeds = [{"x": random.standard_normal((1, 16, 32)).astype(np.float32)} for _ in range(4)]
    data = replace(samples(4), samples=feeds)
    model = quantizers.get("qnn-qdq")().quantize(
        lowered, "int16-static", data, tmp_path / "q", weights="int16"
    )
    compiled = target.compile(model, CONTEXT, tmp_path / "out")
    assert (compiled.placement.cpu == 0) is chip.wide_weights
    if chip.wide_weights:
        with QnnSession(tmp_path / "out" / compiled.run_file, lowered.signature) as session:
            result = np.concatenate([session.run(feed)["y"] for feed in feeds])
        options = onnxruntime.SessionOptions()
        right = onnx_sessions.opened(tmp_path / "main.onnx", options)
        assert worst(result, np.concatenate([right.run(None, feed)[0] for feed in feeds])) < 5e-3


@pytest.mark.slow
def test_an_export_from_model_to_bundle(tmp_path: Path) -> None:
    bundle = edgepack.export(
        network(tmp_path / "model").path,
        targets="npu:qnn-htp-v75",
        out=tmp_path / "bundle",
        precision="int16x8-static",
        calibration_samples=8,
    )
    (artifact,) = bundle.artifacts
    assert artifact.parity.passed
    assert artifact.latency is None
    assert any(note.startswith("no latency: there is no HTP here") for note in artifact.notes)
    assert [Path(name).suffix for name in artifact.files] == [".onnx", ".bin", ".dlc"]
    assert artifact.run is not None
    assert artifact.run.file == artifact.files[0]  # what ships is what was judged
    assert edgepack.verify(bundle.path).ok


class Wrong(QnnHtp):
    """A chip that there is not; not registered."""

    name = "npu:qnn-htp-wrong"
    title = "wrong"


@pytest.mark.parametrize(
    ("chip", "said"),
    [
        # ONNX Runtime logs an error and computes all on the CPU, with an exit code of 0
        (replace(CHIPS[2], soc_model="99999"), "put none of .* on the HTP.*Failed to create device"),
        # a warning, and the architecture of the chip
        (replace(CHIPS[2], arch="85"), "names SM8650 v75 instead of SM8650 v85"),
    ],
    ids=["chip", "architecture"],
)
def test_a_chip_that_there_is_not(chip: Chip, said: str, tmp_path: Path) -> None:
    target = Wrong()
    target.chip = chip  # type: ignore[misc]
    with pytest.raises(ToolchainFailedError, match=said):
        target.compile(quantized(tmp_path, "int8-static"), CONTEXT, tmp_path / "out")
