"""npu:rk*, npu:rv*: the real compiler and its simulator, where the isolated environment has been made."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.runtime.sessions.rknn import RknnSession
from edgepack.targets.base import Compiled, Context, targets
from edgepack.targets.npu.rknn import CHIPS, Rockchip
from edgepack.toolchain import onnx_sessions
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.vendors import rknn
from tests.rknn_models import SIGNATURE, network, quantized, samples

READY = rknn.ENVIRONMENT.state() == "ready"
pytestmark = [
    pytest.mark.skipif(not READY, reason=f"no isolated environment 'rknn': {rknn.SETUP} makes it"),
    pytest.mark.slow,
]
CONTEXT = Context(source={}, sizes={}, time_limit_s=120)
FEEDS = samples(4).samples


def old(lowered: Lowered) -> Lowered:
    """The network in an operator set that the toolkit loads; none of its operators changed after it."""
    import onnx

    model = onnx.load(lowered.path)
    model.opset_import[0].version = rknn.NEWEST_OPSET
    onnx.save(model, lowered.path)
    return lowered


def on_the_cpu(path: Path) -> np.ndarray:
    import onnxruntime

    session = onnx_sessions.opened(path, onnxruntime.SessionOptions())
    return np.concatenate([session.run(None, dict(feed))[0] for feed in FEEDS])


def simulated(folder: Path, compiled: Compiled) -> np.ndarray:
    with RknnSession(folder / compiled.run_file, SIGNATURE) as session:
        return np.concatenate([session.run(feed)["y"] for feed in FEEDS])


def worst(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference in units of the largest value."""
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize(
    ("chip", "precision", "error"),
    [
        ("rk3588", "int8-static", 5e-2),
        ("rk3576", "int16-static", 2e-3),
        ("rk3566", "fp16", 5e-3),
        ("rv1106", "int8-static", 5e-2),
    ],
)
def test_a_network_compiled_and_simulated(
    chip: str, precision: str, error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The toolkit ends files' names at a space.
    tmp_path /= "in a folder"
    tmp_path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = network(tmp_path) if precision == "fp16" else quantized(tmp_path, precision)
    out = tmp_path / "out"
    compiled = targets.get(f"npu:{chip}")().compile(old(model), CONTEXT, out)
    assert compiled.placement.accelerator >= 5
    # the last Reshape, to two dimensions, is the CPU's on two of the chips
    left = ["Reshape"] * (chip in {"rk3588", "rk3566"})
    assert [reason.op for reason in compiled.placement.reasons] == left
    assert worst(simulated(out, compiled), on_the_cpu(model.path)) < error
    analysed = json.loads((out / compiled.files[1]).read_text())["errors"]
    assert bool(analysed) == (precision != "fp16")
    assert all(row["single"] > 0.99 for row in analysed)


class Floating(Rockchip):
    """The chip without floats, asked for them; not registered."""

    name = "npu:rv1106-float"
    title = "wrong"
    chip = replace(CHIPS[-1], precisions=("fp16",))


class Wrong(Rockchip):
    """A chip on which the compiler dies (rk2118: notes of 2.5.0); not registered."""

    name = "npu:rk2118"
    title = "wrong"
    chip = replace(CHIPS[0], platform="rk2118")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Wrong(), "rknn-toolkit2"),
        # An error that is logged, a code that is returned, and an exit code of 0.
        (Floating(), "build returned -1 .*not support do_quantization = False"),
    ],
    ids=["unknown", "float"],
)
def test_a_chip_or_type_that_the_compiler_refuses(target: Rockchip, said: str, tmp_path: Path) -> None:
    model = network(tmp_path) if "float" in target.name else quantized(tmp_path)
    with pytest.raises(ToolchainFailedError, match=said):
        target.compile(old(model), CONTEXT, tmp_path / "out")


def test_an_export_from_model_to_bundle(tmp_path: Path) -> None:
    bundle = edgepack.export(
        network(
            tmp_path / "model"
        ).path,  # operator set 20, which the lowering brings to what the toolkit loads
        targets="npu:rk3588",
        out=tmp_path / "bundle",
        precision="int8-static",
        calibration_samples=8,
    )
    (artifact,) = bundle.artifacts
    assert artifact.parity.passed
    assert artifact.latency is None
    assert [Path(name).suffix for name in artifact.files] == [".rknn", ".json"]
    assert edgepack.verify(bundle.path).ok
