"""mobile:ncnn: a converter that fails or writes nonsense, and, where ncnn and pnnx are installed, the real ones."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.ncnn import NcnnSession
from edgepack.targets.base import Context, targets
from edgepack.targets.mobile import ncnn as module
from edgepack.targets.mobile._ncnn_numbers import example, other_numbers
from edgepack.toolchain.errors import (
    EdgepackError,
    SourceError,
    TargetError,
    ToolchainFailedError,
    UsageError,
)
from edgepack.toolchain.program import Case, Lowered, Part, Program, Signature, StateLink, TensorSpec
from edgepack.toolchain.vendors import ncnn

CONTEXT = Context(source={}, sizes={"n": 1, "s": 4}, time_limit_s=120)
SIGNATURE = Signature(
    (
        TensorSpec("image", "float32", (1, 3, 8, 8)),
        TensorSpec("ids", "int64", (1, 4)),
        TensorSpec("unused", "float32", (2,)),
    ),
    (TensorSpec("y", "float32", (1, 16, 8, 8)), TensorSpec("rows", "float32", (1, 4, 32))),
)
needs_ncnn = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ncnn", "pnnx")),
    reason="the extra ncnn is not installed",
)
SCRIPT = """
            ex.input("in0", ncnn.Mat(in0.numpy(), batch_index=0).clone())
            ex.input("in1", ncnn.Mat(in1.numpy()).clone())
            out.append(torch.from_numpy(out0.numpy(batch_index=1)))
            out.append(torch.from_numpy(out1.numpy()))
"""
PARAM = """7767517
4 4
Input                    in0                      0 1 in0
Convolution              conv_0                   1 1 in0 a 0=2 1=1 6=6
Split                    splitncnn_0              1 2 a b c
Hardmax                  Hardmax_1                1 1 b d
aten::weird              w                        1 1 c e
"""


def model(folder: Path, operator: str = "Relu") -> Part:
    proto = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["" : 17]>
        net (float[1, 3, 8, 8] image, int64[1, 4] ids, float[2] unused)
            => (float[1, 16, 8, 8] y, float[1, 4, 32] rows)
        {{
            c = Conv<pads = [1, 1, 1, 1]>(image, w)
            y = {operator}(c)
            row = Gather(table, ids)
            rows = MatMul(row, m)
        }}
    """)
    random = np.random.default_rng(0)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (16, 3, 3, 3)), ("table", (2, 32)), ("m", (32, 32)))
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, folder / "main.onnx")
    return Part("main", folder / "main.onnx", SIGNATURE)


def lower(target: module.Ncnn, part: Part, context: Context, folder: Path) -> Lowered:
    return target.lower(Program({part.name: part}), part, context, folder)


def faked(code: str, folder: Path) -> module.Ncnn:
    """The target with another program in pnnx's place."""
    folder.mkdir()
    (folder / "pnnx.py").write_text(
        f"import pathlib, sys\nSCRIPT, PARAM = {SCRIPT!r}, {PARAM!r}\n"
        "def write(param=PARAM, script=SCRIPT):\n"
        "    pathlib.Path('model.ncnn.param').write_text(param)\n"
        "    pathlib.Path('model.ncnn.bin').write_bytes(b'weights')\n"
        "    pathlib.Path('model_ncnn.py').write_text(script)\n"
        f"{code}\n"
    )
    target = module.Ncnn()
    target.pnnx = (sys.executable, str(folder / "pnnx.py"))
    return target


def known(*kinds: str) -> SimpleNamespace:
    """A runtime that has those layers."""
    return SimpleNamespace(layer_to_index=lambda kind: kinds.index(kind) if kind in kinds else -1)


def test_is_registered_with_its_extra() -> None:
    assert targets.get("mobile:ncnn") is module.Ncnn
    assert {need.command for need in module.Ncnn().requirements()} == {"pip install 'edgepack[ncnn]'"}


@pytest.mark.parametrize(
    ("layers", "multiplications", "built", "words"),
    [
        (
            "Convolution Gemm",
            (9, 1),
            ["int8-static", "fp32"],
            "90% of the multiplications are convolutions, which",
        ),
        ("Convolution InnerProduct", (1, 9), ["int8-static", "fp32"], "half the size, no speed"),
        (
            "Convolution Gemm",
            (1, 9),
            ["int8-dynamic", "fp32"],
            "10% of the multiplications are convolutions, and",
        ),
        ("ReLU", (0, 0), ["fp32"], "no convolution or matrix product"),
    ],
)
def test_offers(
    layers: str, multiplications: tuple[int, int], built: list[str], words: str, tmp_path: Path
) -> None:
    lines = [f"{kind} l{index} 1 1 {index} {index + 1}" for index, kind in enumerate(layers.split())]
    (tmp_path / "main.param").write_text("\n".join(["7767517", "2 3", *lines]))
    (tmp_path / "main.json").write_text(json.dumps(ncnn.Blobs({}, {}, multiplications).to_json()))
    lowered = Lowered("main", ncnn.FORMAT, tmp_path / "main.param", SIGNATURE)
    offers = {offer.precision: offer.not_built for offer in module.Ncnn().offers(lowered)}
    assert [precision for precision, why in offers.items() if not why] == built
    assert words in " ".join(filter(None, offers.values()))


def test_reads_what_pnnx_wrote(tmp_path: Path) -> None:
    (tmp_path / "x.param").write_text(PARAM)
    assert module.layers_of(tmp_path / "x.param") == {
        "Convolution": 1,
        "Split": 1,
        "Hardmax": 1,
        "aten::weird": 1,
    }
    blobs = module.blobs_of(SCRIPT, {"a": "float32", "b": "int64"}, ["c", "d"], "main")
    assert blobs.inputs == {"a": ncnn.Blob("in0", 0), "b": ncnn.Blob("in1", ncnn.WHOLE, "int32")}
    assert blobs.outputs == {"c": ncnn.Blob("out0", 1), "d": ncnn.Blob("out1", ncnn.WHOLE)}
    (tmp_path / "x.json").write_text(json.dumps(blobs.to_json()))
    assert ncnn.Blobs.of(tmp_path / "x.param") == blobs
    with pytest.raises(TargetError, match="a network with 2 inputs where the model has 1"):
        module.blobs_of(SCRIPT, {"a": "float32"}, ["c", "d"], "main")


@pytest.mark.parametrize(
    ("code", "limit", "message"),
    [
        ("print('todo everything')", 60, "wrote no network. Its last words: todo everything"),
        ("import os; os.abort()", 60, "pnnx failed with signal 6"),
        ("import time; time.sleep(600)", 1, r"pnnx did not finish within 1 s"),
        ("write()", 60, r"ncnn does not have the layers Hardmax, aten::weird \(part main\)"),
        ("write(PARAM.split('Hardmax')[0], '')", 60, "with 0 inputs where the model has 2"),
    ],
)
def test_a_converter_that_fails(
    code: str, limit: float, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ncnn, "import_ncnn", lambda: known("Convolution", "Split"))
    context = Context(source={}, sizes={}, time_limit_s=limit)
    part = model(tmp_path / "model", "Hardmax")
    with pytest.raises(TargetError, match=r"Hardmax \(y\) has no layer in ncnn.*And with pnnx: .*" + message):
        lower(faked(code, tmp_path / "fake"), part, context, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("worker", "error", "message"),
    [
        ("import os; os.abort()", ToolchainFailedError, "ncnn failed with signal 6"),
        (
            "{'ok': True, 'shapes': {'y': [1, 16, 8, 8], 'rows': [4, 32]}}",
            TargetError,
            r"'rows' the shape \[4, 32\]",
        ),
        ("{'ok': True, 'shapes': {'y': [1, 8, 8, 16], 'rows': [1, 4, 32]}}", TargetError, "'y' the shape"),
    ],
)
def test_a_network_that_does_not_run(
    worker: str, error: type, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ncnn, "import_ncnn", lambda: known("Convolution", "Split"))
    if worker.startswith("{"):
        worker = f"import json, pathlib; pathlib.Path('answer.json').write_text(json.dumps({worker}))"
    target = faked("write(PARAM.split('Hardmax')[0])", tmp_path / "fake")
    (tmp_path / "fake" / "fake_ncnn_worker.py").write_text(worker)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setattr(module, "WORKER", "fake_ncnn_worker")
    with pytest.raises(error, match=message):
        lower(target, model(tmp_path / "model"), CONTEXT, tmp_path / "out")


def test_a_state_that_grows_is_refused(tmp_path: Path) -> None:
    signature = Signature(
        (TensorSpec("past", "float32", (1, "past", 8)),), (TensorSpec("now", "float32", (1, "past+step", 8)),)
    )
    part = Part("step", model(tmp_path).path, signature)
    program = Program({"step": part}, (StateLink("step", "now", "step", "past"),))
    with pytest.raises(TargetError, match="the state 'past' grows"):
        module.Ncnn().lower(program, part, CONTEXT, tmp_path / "out")


@pytest.mark.parametrize("text", ["", "{}", '{"inputs": 1, "outputs": 2}'])
def test_names_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    if text:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(SourceError, match="inputs and outputs are called cannot be read"):
        ncnn.Blobs.of(tmp_path / "x.param")


@needs_ncnn
@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-5), ("fp16-weights", 2e-3)])
def test_converts_and_runs(precision: str, error: float, tmp_path: Path) -> None:
    import onnxruntime

    part = model(tmp_path / "model")
    lowered = lower(module.Ncnn(), part, CONTEXT, tmp_path / "lowered")
    if precision != "fp32":
        lowered = quantizers.get("ncnn-float16")().quantize(lowered, precision, None, tmp_path / "quantized")
    compiled = module.Ncnn().compile(lowered, CONTEXT, tmp_path / "out")
    assert sorted(compiled.files) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert compiled.placement.cpu == 3  # the activation is part of the convolution
    random = np.random.default_rng(1)
    inputs: dict[str, np.ndarray] = {
        "image": random.standard_normal((1, 3, 8, 8)).astype(np.float32),
        "ids": random.integers(0, 2, (1, 4)),  # fewer rows than pnnx tries
        "unused": np.zeros(2, np.float32),
    }
    reference = onnxruntime.InferenceSession(part.path, providers=["CPUExecutionProvider"])
    want = dict(zip(("y", "rows"), reference.run(None, inputs), strict=True))
    with NcnnSession(tmp_path / "out" / "main.param", SIGNATURE) as session:
        for _ in range(2):
            got = session.run(inputs)
            for name, value in want.items():
                assert np.abs(got[name] - value).max() < error * np.abs(value).max()
        with pytest.raises(UsageError, match="'ids' holds values beyond int32"):
            session.run({**inputs, "ids": inputs["ids"] + 2**40})
    with pytest.raises(UsageError, match="closed"):
        session.run(inputs)
    other = Signature(SIGNATURE.inputs, SIGNATURE.outputs[:1])
    with pytest.raises(SourceError, match="'rows' is in only one"):
        NcnnSession(tmp_path / "out" / "main.param", other)
    (tmp_path / "out" / "main.bin").write_bytes(b"")
    with pytest.raises(SourceError, match=r"cannot load main\.param"):
        NcnnSession(tmp_path / "out" / "main.param", SIGNATURE)


@needs_ncnn
def test_without_what_pnnx_wrote_the_graph_is_translated(tmp_path: Path) -> None:
    lowered = lower(faked("print('no')", tmp_path / "fake"), model(tmp_path), CONTEXT, tmp_path / "out")
    (note,) = lowered.notes
    assert note.endswith("because with pnnx: pnnx ended with exit code 0 and wrote no network.")
    assert module.layers_of(lowered.path) == {
        "Convolution": 1,
        "Embed": 1,
        "Gemm": 1,
        "Reshape": 4,
        "Noop": 2,
    }


@needs_ncnn
def test_a_network_of_other_numbers_is_not_kept(tmp_path: Path) -> None:
    """The same graph with another matrix stands in for a network that pnnx got wrong."""
    part = model(tmp_path / "model")
    random = np.random.default_rng(2)
    given = {
        "image": random.standard_normal((1, 3, 8, 8)).astype(np.float32),
        "ids": np.array([[0, 1]]),
        "unused": np.zeros(2, np.float32),
    }
    part = Part("main", part.path, SIGNATURE, [Case("first", given, {})])
    right = lower(module.Ncnn(), part, CONTEXT, tmp_path / "right")
    assert right.notes == ()
    code = (
        "import onnx, subprocess\n"
        "proto = onnx.load('model.onnx')\n"
        "matrix = next(one for one in proto.graph.initializer if one.name == 'm')\n"
        "other = -onnx.numpy_helper.to_array(matrix)\n"
        "matrix.CopyFrom(onnx.numpy_helper.from_array(other, 'm'))\n"
        "onnx.save(proto, 'model.onnx')\n"
        f"subprocess.run([{str(module._program())!r}, *sys.argv[1:]], check=True)"
    )
    lowered = lower(faked(code, tmp_path / "fake"), part, CONTEXT, tmp_path / "out")
    assert "pnnx: the output 'rows' has other numbers than the graph's (cosine -1.0000)" in lowered.notes[0]
    form = Lowered("main", "onnx", part.path, SIGNATURE)
    inputs = example(part, form)
    assert inputs is not None
    assert inputs["ids"].tolist() == [[0, 1, 0, 1]]
    with NcnnSession(lowered.path, SIGNATURE) as session:
        assert other_numbers(form, inputs, session.run(inputs)) is None


@needs_ncnn
def test_a_layer_that_ncnn_lacks(tmp_path: Path) -> None:
    with pytest.raises(EdgepackError, match=r"Hardmax \(y\) has no layer in ncnn") as caught:
        lower(module.Ncnn(), model(tmp_path, "Hardmax"), CONTEXT, tmp_path / "out")
    assert caught.value.exit_code == 4
