"""mobile:litert and the lowering it shares with Ethos-U: offers, refusals, and a real conversion."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.base import Context, targets
from edgepack.targets.mobile import _litert_lowering as lowering
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import EdgepackError, TargetError, ToolchainFailedError, UsageError
from edgepack.toolchain.program import Lowered, Part, Program, Signature, TensorSpec
from tests.onnx_files import empty_model

SIGNATURE = Signature(
    (
        TensorSpec("image", "float32", ("batch", 3, 16, 16)),
        TensorSpec("unused", "int64", ("batch",)),
        TensorSpec("scale", "float32", ("batch", 4)),
    ),
    (TensorSpec("scores", "float32", ("batch", 4)), TensorSpec("features", "float32", ("batch", 4, 16, 16))),
)
NETWORK = """
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image, unused, scale):
        y = self.conv(torch.nn.functional.pad((image - 0.5) / 0.25, (1, 1, 1, 1))[..., 1:-1, 1:-1]).relu()
        return y.mean((2, 3)) * scale, y

def make():
    return Network().eval()
"""
INPUTS = ("image:float32[batch=2,3,16,16]", "unused:int64[batch=2]", "scale:float32[batch=2,4]")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lowered]:
    script = Path(__file__).parents[2] / "tflite_models.py"
    made: dict[str, Lowered] = runpy.run_path(str(script))["write"](tmp_path_factory.mktemp("models"))
    return made


def context(network: Path | str, inputs: tuple[str, ...] = INPUTS, time_limit_s: float = 300) -> Context:
    from edgepack.exporters import SourceRequest

    source = SourceRequest(f"{network}:make", inputs=inputs).to_json()
    return Context(source=source, sizes={"batch": 2}, time_limit_s=time_limit_s)


def program(folder: Path, kind: str = "factory", signature: Signature = SIGNATURE) -> tuple[Program, Part]:
    part = Part("main", empty_model(folder / "main.onnx"), signature)
    return Program({"main": part}, source={"kind": kind, "location": "model.onnx"}), part


def test_offers_suit_the_model(models: dict[str, Lowered]) -> None:
    target = targets.get("mobile:litert")()
    network = {offer.precision: offer for offer in target.offers(models["cnn"])}
    assert next(iter(network)) == "int8-static"
    assert "convolutions" in str(network["int8-dynamic"].not_built)
    assert "reference kernels" in str(network["int16x8-static"].not_built)
    assert network["fp32"].not_built is None
    transformer = {offer.precision: offer for offer in target.offers(models["block"])}
    assert next(iter(transformer)) == "int8-dynamic"
    assert [p for p, offer in transformer.items() if offer.not_built] == ["int16x8-static"]


def test_compile_ships_the_file(models: dict[str, Lowered], tmp_path: Path) -> None:
    target = targets.get("mobile:litert")()
    compiled = target.compile(models["cnn"], Context(source={}, sizes={}), tmp_path / "out")
    assert compiled.files == ("main.tflite",) == (compiled.run_file,)
    assert (tmp_path / "out" / "main.tflite").read_bytes() == models["cnn"].path.read_bytes()
    assert (compiled.placement.accelerator, compiled.placement.cpu) == (0, 4)
    assert compiled.estimate is None
    assert compiled.tool.name == "litert-torch"


@pytest.mark.parametrize("target", ["mobile:litert", "npu:ethos-u55-128"])
def test_an_onnx_source_is_told_what_to_do(target: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="ONNX file was given") as caught:
        targets.get(target)().lower(*program(tmp_path, "onnx"), Context(source={}, sizes={}), tmp_path)
    assert "cpu:onnxruntime" in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_dimension_without_a_size(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'batch'"):
        lowering.lower("mobile:litert", *program(tmp_path), Context(source={}, sizes={}), tmp_path)


def test_macs_and_shares(models: dict[str, Lowered]) -> None:
    macs = {op.name: op.macs for op in tflite.operators(tflite.read(models["cnn"].path))}
    assert macs == {"conv": 8 * 8 * 16 * 27, "depthwise": 8 * 8 * 16 * 9, "pooled": 0, "logits_tensor": 80}
    block = {op.name: op.macs for op in tflite.operators(tflite.read(models["block"].path)) if op.macs}
    assert block == {"dense": 16 * 8 * 8, "scores": 16 * 16 * 8, "mixed": 16 * 8 * 16}
    assert tflite.convolution_share(tflite.read(models["block"].path)) == 0


@pytest.mark.parametrize(
    ("worker", "limit", "message"),
    [
        ("import sys; sys.exit('no')", 60, "litert-torch failed with exit code 1.*no"),
        ("import os; os.abort()", 60, "failed with signal 6"),
        ("pass", 60, "did not write answer.json"),
        ("import time; time.sleep(600)", 0.5, r"did not finish within 0\.5 s"),
        (
            "import pathlib; pathlib.Path('answer.json').write_text('{\"ok\": true, \"notes\": []}')",
            60,
            "wrote no model",
        ),
    ],
)
def test_a_converter_that_fails(
    worker: str, limit: float, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fake_litert_worker.py").write_text(worker)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(lowering, "WORKER", "fake_litert_worker")
    with pytest.raises(ToolchainFailedError, match=message):
        lowering.lower(
            "mobile:litert", *program(tmp_path), context("x.py", time_limit_s=limit), tmp_path / "out"
        )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_lowers_a_network_with_an_image(tmp_path: Path) -> None:
    import torch

    network = tmp_path / "network.py"
    network.write_text(NETWORK)
    lowered = lowering.lower("mobile:litert", *program(tmp_path), context(network), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model.tflite"]
    assert lowered.signature.inputs[0].shape == (2, 3, 16, 16)
    assert tflite.read_note(lowered.path) == {tflite.CHANNELS_LAST: ["image"]}
    assert "channels-last in the file: [2,16,16,3]" in lowered.notes[0]
    random = np.random.default_rng(6)
    feeds: dict[str, np.ndarray] = {
        "image": random.standard_normal((2, 3, 16, 16)).astype(np.float32),
        "unused": np.arange(2),
        "scale": random.standard_normal((2, 4)).astype(np.float32),
    }
    module = runpy.run_path(str(network))["make"]()
    with torch.no_grad():
        scores, features = module(*map(torch.from_numpy, feeds.values()))
    with LitertSession(lowered.path, lowered.signature) as session:
        outputs = session.run(feeds)
    np.testing.assert_allclose(outputs["scores"], scores.numpy(), atol=1e-4)
    np.testing.assert_allclose(outputs["features"], features.numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_model_that_cannot_be_converted(tmp_path: Path) -> None:
    network = tmp_path / "network.py"
    network.write_text(
        "import torch\nclass Bad(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x[: int(x.sum())] if x.sum() > 0 else x\n"
        "def make():\n    return Bad().eval()\n"
    )
    signature = Signature((TensorSpec("x", "float32", (4,)),), (TensorSpec("y", "float32", (4,)),))
    with pytest.raises(EdgepackError, match=r"litert-torch cannot convert") as caught:
        lowering.lower(
            "mobile:litert",
            *program(tmp_path, signature=signature),
            context(network, ("x:float32[4]",)),
            tmp_path / "out",
        )
    assert caught.value.exit_code == 4
    assert sys.executable not in str(caught.value)
