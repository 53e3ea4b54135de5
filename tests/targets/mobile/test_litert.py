"""mobile:litert and the lowering it shares with Ethos-U: offers, refusals, and a real conversion."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.base import Context, Requirement, targets
from edgepack.targets.mobile import _litert_lowering as lowering
from edgepack.targets.mobile import _torch_lowering
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import EdgepackError, TargetError, ToolchainFailedError, UsageError
from edgepack.toolchain.program import Lowered, Part, Program, Signature, StateLink, TensorSpec
from tests.exported import exported
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
    assert [p for p, offer in transformer.items() if offer.not_built] == ["int4-weights", "int16x8-static"]
    assert "an unknown number of here" in str(transformer["int4-weights"].not_built)
    step = {offer.precision: offer for offer in target.offers(models["block"], rows=1)}
    assert step["int4-weights"].not_built is None


def test_compile_ships_the_file(models: dict[str, Lowered], tmp_path: Path) -> None:
    target = targets.get("mobile:litert")()
    compiled = target.compile(models["cnn"], Context(source={}, sizes={}), tmp_path / "out")
    assert compiled.files == ("main.tflite",) == (compiled.run_file,)
    assert (tmp_path / "out" / "main.tflite").read_bytes() == models["cnn"].path.read_bytes()
    assert (compiled.placement.accelerator, compiled.placement.cpu) == (0, 4)
    assert compiled.estimate is None
    assert compiled.tool.name == "litert-torch"


def test_an_onnx_source_goes_through_the_own_converter(tmp_path: Path) -> None:
    import onnx

    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 21]>
        net (float[batch, 3, 8, 8] image) => (float[rows, 2, 8, 8] y)
        <float[2, 3, 1, 1] w = {1, 2, 3, 4, 5, 6}> { y = Conv(image, w) }
    """)
    onnx.save(model, tmp_path / "main.onnx")
    signature = Signature(
        (TensorSpec("image", "float32", ("batch", 3, 8, 8)),),
        (TensorSpec("y", "float32", ("rows", 2, 8, 8)),),
    )
    part = Part("main", tmp_path / "main.onnx", signature)
    whole = Program({"main": part}, source={"kind": "onnx", "location": "main.onnx"})
    lowered = lowering.lower(
        "mobile:litert", whole, part, Context(source={}, sizes={"batch": 2}), tmp_path / "out"
    )
    assert tflite.read_note(lowered.path) == {tflite.CHANNELS_LAST: ["image"]}
    assert lowered.signature.outputs[0].shape == (2, 2, 8, 8)
    assert "channels-last in the file: [2,8,8,3]" in lowered.notes[0]
    compiled = targets.get("mobile:litert")().compile(lowered, Context({}, {}), tmp_path / "compiled")
    assert compiled.tool.name == "edgepack"
    image = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    with LitertSession(lowered.path, lowered.signature) as session:
        got = session.run({"image": image})["y"]
    weights = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(got, np.einsum("oc,nchw->nohw", weights, image), rtol=1e-5, atol=1e-5)


def unserved(folder: Path) -> Part:
    """A part with an operator that edgepack's own converter does not have."""
    import onnx

    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 21]>
        net (float[batch, 3] x) => (float[batch, 3] y) { y = Acos(x) }
    """)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "main.onnx")
    specs = (TensorSpec("x", "float32", ("batch", 3)),), (TensorSpec("y", "float32", ("batch", 3)),)
    return Part("main", folder / "main.onnx", Signature(*specs))


def worker(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program in the place of the one that runs litert-torch, which need not be installed then."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fake_litert_worker.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(_torch_lowering, "WORKER", "fake_litert_worker")
    monkeypatch.setattr(lowering, "SECOND", Requirement("numpy", "pip install"))


def test_what_the_own_converter_lacks_goes_to_litert_torch(
    models: dict[str, Lowered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(
        tmp_path / "fake",
        "import json, pathlib, shutil, sys\n"
        "request = json.loads(pathlib.Path(sys.argv[1]).read_text())\n"
        "assert request['sizes'] == {'batch': 2} and request['part'] == 'main', request\n"
        "assert request['signature']['inputs'][0]['shape'] == [2, 3]\n"
        f"shutil.copy({str(models['cnn'].path)!r}, 'model.tflite')\n"
        "pathlib.Path('answer.json').write_text(json.dumps({'ok': True, 'notes': ['so it said']}))\n",
        monkeypatch,
    )
    part = unserved(tmp_path)
    whole = Program({"main": part}, source={"kind": "factory", "location": "x.py"})
    made = lowering.lower("mobile:litert", whole, part, context("x.py", ()), tmp_path / "out")
    assert made.signature.inputs[0].shape == (2, 3)
    assert "Converted by litert-torch" in made.notes[0]
    assert "Acos" in made.notes[0]
    assert made.notes[1] == "so it said"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.tflite"]


@pytest.mark.parametrize("kind", ["factory", "onnx"])
def test_without_litert_torch_the_operator_is_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lowering, "SECOND", Requirement("not-installed-anywhere", lowering.SECOND.command))
    part = unserved(tmp_path)
    whole = Program({"main": part}, source={"kind": kind, "location": "x"})
    with pytest.raises(TargetError, match="The ONNX operator Acos has no translation") as caught:
        lowering.lower("mobile:litert", whole, part, context("x.py", ()), tmp_path / "out")
    # The other converter starts from torch: it is no cure for a file.
    assert ("edgepack[litert-torch]" in str(caught.value)) == (kind == "factory")


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
    ("code", "limit", "message"),
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
    code: str, limit: float, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(tmp_path / "fake", code, monkeypatch)
    part = unserved(tmp_path)
    whole = Program({"main": part}, source={"kind": "factory", "location": "x.py"})
    with pytest.raises(ToolchainFailedError, match=message):
        lowering.lower(
            "mobile:litert", whole, part, context("x.py", (), time_limit_s=limit), tmp_path / "out"
        )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("route", ["own", "litert-torch"])
def test_lowers_a_network_with_an_image(route: str, tmp_path: Path) -> None:
    import torch

    from edgepack.exporters import SourceRequest

    network = tmp_path / "network.py"
    network.write_text(NETWORK)
    asked, out = context(network), tmp_path / "out"
    if route == "own":
        whole = exported(SourceRequest(f"{network}:make", inputs=INPUTS), tmp_path / "program")
        lowered = lowering.lower("mobile:litert", whole, whole.parts["main"], asked, out)
        assert tflite.read(lowered.path).description == b"edgepack"
    else:
        pytest.importorskip("litert_torch", reason="the extra litert-torch is not installed")
        part = program(tmp_path)[1]
        lowered = _torch_lowering.lower(
            part, lowering.pin(SIGNATURE, asked.sizes, "mobile:litert"), asked, out, "it was asked for"
        )
    assert sorted(p.name for p in out.iterdir()) == ["model.tflite"]
    assert lowered.signature.inputs[0].shape == (2, 3, 16, 16)
    assert tflite.read_note(lowered.path) == {tflite.CHANNELS_LAST: ["image"]}
    assert any("channels-last in the file: [2,16,16,3]" in note for note in lowered.notes)
    random = np.random.default_rng(6)
    feeds: dict[str, np.ndarray] = {
        "image": random.standard_normal((2, 3, 16, 16)).astype(np.float32),
        "unused": np.arange(2),
        "scale": random.standard_normal((2, 4)).astype(np.float32),
    }
    module = runpy.run_path(str(network))["make"]()
    with torch.no_grad():
        expected = module(*map(torch.from_numpy, feeds.values()))
    with LitertSession(lowered.path, lowered.signature) as session:
        outputs = session.run(feeds)
    for spec, value in zip(lowered.signature.outputs, expected, strict=True):
        np.testing.assert_allclose(outputs[spec.name], value.numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_model_that_cannot_be_converted(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="the extra litert-torch is not installed")
    network = tmp_path / "network.py"
    network.write_text(
        "import torch\nclass Bad(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x[: int(x.sum())] if x.sum() > 0 else x\n"
        "def make():\n    return Bad().eval()\n"
    )
    signature = Signature((TensorSpec("x", "float32", (4,)),), (TensorSpec("y", "float32", (4,)),))
    part = program(tmp_path, signature=signature)[1]
    with pytest.raises(EdgepackError, match=r"litert-torch cannot convert") as caught:
        _torch_lowering.lower(
            part, signature, context(network, ("x:float32[4]",)), tmp_path / "out", "it was asked for"
        )
    assert caught.value.exit_code == 4
    assert sys.executable not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "output", "into", "refused"),
    [
        ("decoder", (1, "past+step", 8), (1, "past", 8), True),
        ("decoder", (1, "past", 8), (1, "past", 8), False),
        ("encoder", (1, "frames_8", 8), (1, "encoded", 8), False),
        ("encoder", (1, "frames_8", 4), (1, "encoded", 8), True),
        ("encoder", (1, 8), (1, "encoded", 8), True),
    ],
)
def test_what_an_encoder_makes_once_is_no_state_that_grows(
    source: str,
    output: tuple[int | str, ...],
    into: tuple[int | str, ...],
    refused: bool,
    tmp_path: Path,
) -> None:
    made, taken = TensorSpec("made", "float32", output), TensorSpec("taken", "float32", into)
    parts = {
        name: Part(name, tmp_path, Signature((taken,), (made,) if name == source else ()))
        for name in ("encoder", "decoder")
    }
    program = Program(parts, (StateLink(source, "made", "decoder", "taken"),))
    if not refused:
        lowering.refuse_growing("mobile:any", program, parts["decoder"])
        return
    with pytest.raises(TargetError, match="the state 'taken' grows"):
        lowering.refuse_growing("mobile:any", program, parts["decoder"])
