"""mobile:executorch by the real compiler and runtime: numerics, placement, profile, and files that are none."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.executorch import ExecuTorchSession
from edgepack.targets.base import Context
from edgepack.targets.mobile.executorch import ExecuTorch
from edgepack.toolchain.errors import GateError, SourceError, TargetError, UsageError
from edgepack.toolchain.pipeline.lowered import check_lowered
from edgepack.toolchain.program import Case, Lowered, Part, Program, Signature, TensorSpec
from edgepack.toolchain.results import Calibration, StageRecord
from edgepack.toolchain.vendors.executorch import Facts
from tests.onnx_files import empty_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("executorch") is None, reason="the extra executorch is not installed"),
]

NETWORK = """
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.table = torch.nn.Embedding(11, 16)
        self.wide, self.narrow = torch.nn.Linear(16, 64), torch.nn.Linear(64, 8)
        self.norm = torch.nn.LayerNorm(8)
        self.shift = torch.nn.Parameter(torch.full((8,), 1234.5))

    def forward(self, image, ids, unused):
        features = self.conv(image).relu().mean((2, 3))
        words = self.norm(self.narrow(torch.nn.functional.gelu(self.wide(self.table(ids)))))
        return words.softmax(1) * features[:, None] + (self.shift - 1234.5), ids + 1, ids > 3

def make():
    return Network().eval()
"""
TIED = """
import torch

class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.dictionary = torch.nn.Parameter(torch.randn(8, 8) * 0.1)
        self.weights = torch.nn.Parameter(torch.randn(8, 8) * 0.1)

    def forward(self, x):
        linear = torch.nn.functional.linear
        codes = torch.relu(linear(linear(x, self.dictionary), self.dictionary.t()))
        return (linear(codes, self.weights)[:2] @ (self.weights * codes.sum()))

def make():
    return Tied().eval()
"""
FOUND = """
import torch

class Found(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x[x[:, 0] > 0])

def make():
    return Found().eval()
"""
INPUTS = ("image:float32[batch=2,3,8,8]", "ids:int64[batch=2,6]", "unused:float32[batch=2]")
SIGNATURE = Signature(
    (
        TensorSpec("image", "float32", ("batch", 3, 8, 8)),
        TensorSpec("ids", "int64", ("batch", 6)),
        TensorSpec("unused", "float32", ("batch",)),
    ),
    (
        TensorSpec("scores", "float32", ("batch", 6, 8)),
        TensorSpec("next", "int64", ("batch", 6)),
        TensorSpec("large", "bool", ("batch", 6)),
    ),
)


def feeds(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "image": random.standard_normal((2, 3, 8, 8)).astype(np.float32),
        "ids": random.integers(0, 11, (2, 6)),
        "unused": np.zeros(2, np.float32),
    }


def expected(script: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import torch

    network = runpy.run_path(str(script))["make"]()
    with torch.no_grad():
        made = network(*(torch.from_numpy(inputs[spec.name]) for spec in SIGNATURE.inputs))
    return {spec.name: value.numpy() for spec, value in zip(SIGNATURE.outputs, made, strict=True)}


def context(script: Path) -> Context:
    from edgepack.exporters import SourceRequest

    source = SourceRequest(f"{script}:make", inputs=INPUTS).to_json()
    return Context(source=source, sizes={"batch": 2}, time_limit_s=300)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture(scope="module")
def plain(script: Path, tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    folder = tmp_path_factory.mktemp("plain")
    part = Part("main", empty_model(folder / "main.onnx"), SIGNATURE)
    program = Program({"main": part}, source={"kind": "factory"})
    return ExecuTorch().lower(program, part, context(script), folder / "lowered")


def test_computes_what_torch_computes(plain: Lowered, script: Path, capfd) -> None:
    ExecuTorchSession.prepare()
    capfd.readouterr()  # torch's warnings on what it imports
    with ExecuTorchSession(plain.path, plain.signature) as session:
        before = session.run(feeds(0))
        kept = {name: value.copy() for name, value in before.items()}
        for seed in (0, 1, 2):
            inputs = feeds(seed)
            for value in inputs.values():
                value.setflags(write=False)
            got = session.run(inputs)
            for name, wanted in expected(script, feeds(seed)).items():
                assert got[name].dtype == wanted.dtype
                np.testing.assert_allclose(got[name], wanted, atol=2e-4)  # of numbers round 1234.5
        for name, value in kept.items():
            np.testing.assert_array_equal(before[name], value)  # a later call does not write into it
        with pytest.raises(UsageError, match="open with 1"):
            ExecuTorchSession(plain.path, plain.signature, threads=2)
        with pytest.raises(UsageError, match="'ids' must be int64"):
            session.run({**feeds(0), "ids": feeds(0)["ids"].astype(np.int32)})
    with pytest.raises(UsageError, match="closed"):
        session.run(feeds(0))
    with ExecuTorchSession(plain.path, plain.signature, threads=2) as session:
        np.testing.assert_allclose(session.run(feeds(0))["scores"], kept["scores"], atol=1e-4)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_weights_that_are_read_twice(tmp_path: Path) -> None:
    """XNNPACK lets go of a product's weights: what reads them beside it ended in a segmentation fault."""
    import torch

    script = tmp_path / "tied.py"
    script.write_text(TIED)
    signature = Signature(
        (TensorSpec("x", "float32", ("rows", 8)),), (TensorSpec("y", "float32", ("y_0", 8)),)
    )
    part = Part("main", empty_model(tmp_path / "main.onnx"), signature)
    asked = context(script)
    asked = Context({**asked.source, "inputs": ["x:float32[rows=4,8]"]}, {"rows": 4}, time_limit_s=300)
    lowered = ExecuTorch().lower(
        Program({"main": part}, source={"kind": "factory"}), part, asked, tmp_path / "o"
    )
    assert lowered.signature.outputs[0].shape == (2, 8)
    facts = Facts.of(lowered.path)
    reasons = {row.op: row.reason for row in facts.portable}
    assert "packs and lets go of" in reasons["mul.Tensor"]
    assert not {"permute_copy.default", "linear.default"} & set(reasons)
    x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    ExecuTorchSession.prepare()
    with torch.no_grad(), ExecuTorchSession(lowered.path, lowered.signature) as session:
        wanted = runpy.run_path(str(script))["make"]()(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(session.run({"x": x})["y"], wanted, atol=1e-5)


def test_a_length_that_values_decide_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "found.py"
    script.write_text(FOUND)
    signature = Signature(
        (TensorSpec("x", "float32", ("rows", 8)),), (TensorSpec("y", "float32", ("y_0", 8)),)
    )
    part = Part("main", empty_model(tmp_path / "main.onnx"), signature)
    asked = context(script)
    asked = Context({**asked.source, "inputs": ["x:float32[rows=4,8]"]}, {"rows": 4}, time_limit_s=300)
    with pytest.raises(TargetError, match="axis 0 of the output 'y' is depends on the values of the inputs"):
        ExecuTorch().lower(Program({"main": part}, source={"kind": "factory"}), part, asked, tmp_path / "o")


def test_every_operator_has_its_place_and_a_reason(plain: Lowered, tmp_path: Path) -> None:
    compiled = ExecuTorch().compile(plain, Context(source={}, sizes={}), tmp_path / "out")
    assert (tmp_path / "out" / "main.pte").read_bytes() == plain.path.read_bytes()
    placement = compiled.placement
    reasons = {row.op.partition(".")[0]: row for row in placement.reasons}
    assert placement.accelerator >= 5  # convolution, its activation and mean, two products, GELU
    assert placement.cpu == len(placement.reasons)
    assert "dim must be the last dim" in reasons["_softmax"].reason
    assert "no native_layer_norm.default" in reasons["native_layer_norm"].reason
    assert "does not look up" in reasons["embedding"].reason
    assert not {"alloc", "out"} & reasons.keys()
    assert all(row.reason and row.cure for row in placement.reasons)
    facts = Facts.of(plain.path)
    # 2 images of 8 x 8, 8 filters of 3 x 3 x 3; 2 x 6 words by 16 x 64 and 64 x 8
    assert facts.convolutions == 2 * 64 * 8 * 27
    assert facts.products == 12 * (16 * 64 + 64 * 8)


@pytest.mark.parametrize(
    ("quantizer", "precision", "least", "bound"),
    [("executorch-dynamic", "int8-dynamic", 2, 0.05), ("executorch-static", "int8-static", 4, 0.05)],
)
def test_integers_come_close(
    quantizer: str, precision: str, least: int, bound: float, plain: Lowered, script: Path, tmp_path: Path
) -> None:
    facts = Calibration(kind="user", description="ours", samples=4, held_out=0)
    data = CalibrationData(facts, [feeds(seed) for seed in range(10, 14)], (), "f")
    made = quantizers.get(quantizer)().quantize(plain, precision, data, tmp_path / "q")
    assert made.changed_nodes is not None
    assert made.changed_nodes >= least
    assert made.path.stat().st_size < plain.path.stat().st_size
    with ExecuTorchSession(made.path, made.signature) as session:
        inputs, wanted = feeds(3), expected(script, feeds(3))
        got = session.run(inputs)
    np.testing.assert_array_equal(got["next"], wanted["next"])
    error = np.abs(got["scores"] - wanted["scores"]).max()
    assert 0 < error < bound * np.abs(wanted["scores"]).max()


def test_the_profile_names_kernels_and_adds_up(plain: Lowered) -> None:
    with ExecuTorchSession(plain.path, plain.signature) as session:
        profile = session.profile(feeds(0), runs=3)
    names = {row.op: row for row in profile.operators}
    assert any(name.startswith("Fully Connected") and name.endswith("(XNNPACK)") for name in names)
    assert names["native_layer_norm.out (portable)"].calls == 1
    assert names["rest of XNNPACK's calls"].calls == Facts.of(plain.path).subgraphs
    assert sum(row.share for row in profile.operators) == pytest.approx(1)
    assert profile.tool.name == "executorch"


def test_files_that_are_none(plain: Lowered, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        ExecuTorchSession(tmp_path / "none.pte", plain.signature)
    bad, whole = tmp_path / "bad.pte", plain.path.read_bytes()
    for content in (b"", b"no program at all", whole[:64], whole[: len(whole) // 2]):
        bad.write_bytes(content)
        with pytest.raises(SourceError, match=r"cannot load bad\.pte"):
            ExecuTorchSession(bad, plain.signature)
    bad.write_bytes(whole)
    other = Signature(plain.signature.inputs[1:], plain.signature.outputs)
    with pytest.raises(SourceError, match="do not belong together"):
        ExecuTorchSession(bad, other)
    other = SIGNATURE.pinned({"batch": 3})
    with pytest.raises(SourceError, match="do not belong together"):
        ExecuTorchSession(bad, other)


def test_wrong_numbers_are_found(plain: Lowered, script: Path, tmp_path: Path) -> None:
    """A compiler that swaps one constant: every kernel runs, and the outputs are off by a tenth."""
    there = np.float32(1234.5).tobytes() * 8
    content = plain.path.read_bytes()
    assert content.count(there) == 1
    path = tmp_path / "model.pte"
    path.write_bytes(content.replace(there, np.float32(1234.6).tobytes() * 8))
    wrong = Lowered("main", "executorch", path, plain.signature)
    cases = [Case("first", feeds(0), expected(script, feeds(0)))]
    part = Part("main", empty_model(tmp_path / "main.onnx"), plain.signature, cases)
    with pytest.raises(GateError, match="disagrees with the program"):
        check_lowered(part, wrong, ExecuTorch(), StageRecord(name="lower", seconds=0))
    record = StageRecord(name="lower", seconds=0)
    check_lowered(part, plain, ExecuTorch(), record)
    assert record.parity.passed


def test_minilm(minilm: Path, tmp_path: Path) -> None:
    bundle = edgepack.export(
        str(minilm), targets=["mobile:executorch"], precision="fp32", measure=False, out=tmp_path / "b"
    )
    assert bundle.failures == []
    (artifact,) = bundle.artifacts
    assert artifact.parity.passed
    assert artifact.parity.min_cosine is not None
    assert artifact.parity.min_cosine > 0.99999
    ops = {row.op for row in artifact.placement.reasons}
    assert "native_layer_norm.default" in ops
    assert artifact.placement.accelerator > artifact.placement.cpu
