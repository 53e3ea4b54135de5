"""mobile:mnn: a converter that fails, hangs or reports home, and, where MNN is installed, the real one."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.mnn import MnnSession
from edgepack.targets.base import Context, targets
from edgepack.targets.mobile import mnn as module
from edgepack.toolchain.errors import SourceError, TargetError, ToolchainFailedError, UsageError
from edgepack.toolchain.program import Lowered, Part, Program, Signature, TensorSpec
from edgepack.toolchain.vendors import mnn

CONTEXT = Context(source={}, sizes={"n": 2, "s": 4}, time_limit_s=120)
SIGNATURE = Signature(
    (
        TensorSpec("x", "float32", ("n", "s", 32)),
        TensorSpec("ids", "int64", ("n", "s")),
        TensorSpec("unused", "float32", (2,)),
        TensorSpec("mask", "bool", ("n", "s")),
    ),
    (
        TensorSpec("y", "float32", ("n", "s", 32)),
        TensorSpec("more", "int64", ("n", "s")),
        TensorSpec("not", "bool", ("n", "s")),
    ),
)
needs_mnn = pytest.mark.skipif(
    importlib.util.find_spec("_mnncengine") is None, reason="the extra mnn is not installed"
)


def model(folder: Path, operator: str = "Relu", opset: int = 17) -> Lowered:
    """y = f(x W) + table[ids], and results of other types."""
    proto = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["" : {opset}]>
        net (float[n, s, 32] x, int64[n, s] ids, float[2] unused, bool[n, s] mask)
            => (float[n, s, 32] y, int64[n, s] more, bool[n, s] not)
        {{
            product = MatMul(x, w)
            active = {operator}(product)
            row = Gather(table, ids)
            y = Add(active, row)
            more = Add(ids, ids)
            not = Not(mask)
        }}
    """)
    random = np.random.default_rng(0)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (32, 32)), ("table", (50, 32)))
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(proto), folder / "main.onnx")
    return Lowered("main", "onnx", folder / "main.onnx", SIGNATURE)


def feeds(n: int, s: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(n)
    return {
        "x": random.standard_normal((n, s, 32)).astype(np.float32),
        "ids": random.integers(0, 50, (n, s)),
        "unused": np.zeros(2, np.float32),
        "mask": random.integers(0, 2, (n, s)).astype(bool),
    }


def expected(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, inputs)
    return results


def fake(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module in the place of the one that converts."""
    folder.mkdir()
    (folder / "_tools.py").write_text(f"import sys\ndef mnnconvert(words):\n{code}\n    return True\n")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


def test_is_registered_with_its_extra() -> None:
    assert targets.get("mobile:mnn") is module.Mnn
    assert [need.command for need in module.Mnn().requirements()] == ["pip install 'edgepack[mnn]'"]


def test_offers(tmp_path: Path) -> None:
    offers = {offer.precision: offer.not_built for offer in module.Mnn().offers(model(tmp_path))}
    assert list(offers) == ["int8-weights", "int4-weights", "fp32", "fp16-weights"]
    assert [precision for precision, why in offers.items() if why] == ["fp16-weights"]
    assert set(offers) == set(module.OPTIONS)


@pytest.mark.parametrize(
    ("code", "limit", "error", "message"),
    [
        (
            "    print('[00:00:00] :220: These Op Not Support: ONNX::Hardmax | ONNX::Det ')",
            60,
            TargetError,
            r"MNN does not have the operators Det, Hardmax \(part main\)",
        ),
        ("    print('a fine day')", 60, TargetError, "cannot take this model: it does not say why"),
        ("    print('Error for x')", 60, TargetError, "cannot take this model: Error for x"),
        ("    open(words[6], 'wb')", 60, TargetError, "cannot take this model"),
        ("    import os; os.abort()", 60, ToolchainFailedError, "failed with signal 6"),
        ("    import time; time.sleep(600)", 1, ToolchainFailedError, r"did not finish within 1 s"),
        ("    import socket; socket.socket()", 60, ToolchainFailedError, "Permission denied"),
    ],
)
def test_a_converter_that_fails(
    code: str, limit: float, error: type, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path / "fake", code, monkeypatch)
    context = Context(source={}, sizes={}, time_limit_s=limit)
    with pytest.raises(error, match=message):
        module.Mnn().compile(model(tmp_path / "model"), context, tmp_path / "out")


def test_what_the_converter_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "fake", "    open(words[6], 'w').write(' '.join(words[7:]))", monkeypatch)
    lowered = model(tmp_path / "model")
    narrow = quantizers.get("by-compiler")().quantize(lowered, "int4-weights", None, tmp_path / "narrow")
    assert narrow.changed_nodes == 1
    compiled = module.Mnn().compile(narrow, CONTEXT, tmp_path / "out")
    assert compiled.files == ("main.mnn", "main.json")
    words = (tmp_path / "out" / "main.mnn").read_text()
    assert words == "--bizCode edgepack --weightQuantBits 4 --weightQuantBlock 32"
    assert json.loads((tmp_path / "out" / "main.json").read_text()) == mnn.INTEGER
    assert compiled.placement.cpu == 6


@pytest.mark.parametrize("precision", ["fp32", "fp16-weights", "int8-weights"])
def test_an_approximated_operator_is_written_out_for_floats(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "    import onnx; open(words[6], 'w').write(str([n.op_type for n in onnx.load(words[4]).graph.node]))"
    )
    fake(tmp_path / "fake", code, monkeypatch)
    lowered = model(tmp_path / "model", "Gelu", opset=20)
    module.Mnn().compile(lowered.quantized(lowered.path, precision, 1), CONTEXT, tmp_path / "out")
    told = (tmp_path / "out" / "main.mnn").read_text()
    assert ("Sigmoid" in told, "Gelu" in told) == (
        (False, True) if precision == "int8-weights" else (True, False)
    )


@needs_mnn
def test_converting_opens_no_socket(tmp_path: Path) -> None:
    lowered = model(tmp_path)
    request, answer, out = (tmp_path / name for name in ("request.json", "answer.json", "made.mnn"))
    request.write_text(
        json.dumps(
            {"input": str(lowered.path), "output": str(out), "part": "main", "options": [], "kill": True,
             "answer": str(answer)}
        )
    )  # fmt: skip
    command = [sys.executable, "-m", module.WORKER, str(request)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    # One attempt, whatever came of it, would have ended the process.
    assert done.returncode != -signal.SIGSYS
    assert json.loads(answer.read_text()) == {"ok": True, "sockets": True}
    assert out.stat().st_size > 0


@needs_mnn
def test_loading_and_running_opens_no_socket_and_prints_nothing(tmp_path: Path) -> None:
    module.Mnn().compile(model(tmp_path / "model"), CONTEXT, tmp_path / "out")
    code = (
        "from edgepack.toolchain.vendors.no_sockets import forbid_sockets\n"
        "assert forbid_sockets(kill=True)\n"
        "from pathlib import Path\n"
        "from tests.targets.mobile.test_mnn import SIGNATURE, MnnSession, feeds\n"
        "with MnnSession(Path('main.mnn'), SIGNATURE) as session:\n"
        "    session.run(feeds(1, 3))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "out",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@needs_mnn
@pytest.mark.parametrize(
    ("precision", "error"),
    [("fp32", 1e-5), ("fp16-weights", 2e-3), ("int8-weights", 0.05), ("int4-weights", 0.5)],
)
def test_every_precision_at_any_size(precision: str, error: float, tmp_path: Path) -> None:
    lowered = model(tmp_path / "model")
    module.Mnn().compile(lowered, CONTEXT, tmp_path / "plain")
    plain = (tmp_path / "plain" / "main.mnn").stat().st_size
    if precision != "fp32":
        lowered = quantizers.get("by-compiler")().quantize(lowered, precision, None, tmp_path / "quantized")
    compiled = module.Mnn().compile(lowered, CONTEXT, tmp_path / "out")
    path = tmp_path / "out" / compiled.run_file
    assert (path.stat().st_size < 0.9 * plain) == (precision != "fp32")
    with MnnSession(path, SIGNATURE) as session:
        for sizes in ((2, 4), (1, 7), (2, 4), (3, 1)):
            inputs = feeds(*sizes)
            got, (y, more, inverse) = session.run(inputs), expected(lowered.path, inputs)
            assert np.abs(got["y"] - y).max() < error * np.abs(y).max()
            assert (got["more"].dtype, got["not"].dtype) == (np.int64, np.bool_)
            np.testing.assert_array_equal(got["more"], more)
            np.testing.assert_array_equal(got["not"], inverse)
        inputs["ids"] = inputs["ids"] + 2**40
        with pytest.raises(UsageError, match="'ids' holds values beyond int32"):
            session.run(inputs)
    with pytest.raises(UsageError, match="closed"):
        session.run(feeds(2, 4))


@needs_mnn
def test_an_operator_that_mnn_lacks(tmp_path: Path) -> None:
    lowered = model(tmp_path, "Hardmax")
    part = Part("main", lowered.path, SIGNATURE)
    with pytest.raises(TargetError, match="does not have the operator Hardmax") as caught:
        module.Mnn().lower(Program({"main": part}), part, CONTEXT, tmp_path / "out")
    assert caught.value.exit_code == 4


@needs_mnn
def test_files_that_cannot_be_opened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        MnnSession(tmp_path / "none.mnn", SIGNATURE)
    (tmp_path / "bad.mnn").write_bytes(b"no model at all")
    with pytest.raises(SourceError, match=r"cannot load bad\.mnn"):
        MnnSession(tmp_path / "bad.mnn", SIGNATURE)
    module.Mnn().compile(model(tmp_path / "model"), CONTEXT, tmp_path / "out")
    other = Signature(SIGNATURE.inputs[1:], SIGNATURE.outputs)
    with pytest.raises(SourceError, match=r"cannot load main\.mnn .* \(x\)"):
        MnnSession(tmp_path / "out" / "main.mnn", other)
    assert capfd.readouterr().out == ""
