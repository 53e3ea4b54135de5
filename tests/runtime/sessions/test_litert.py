"""The LiteRT session: results in the signature's terms, whatever the file's layout and integers are."""

from __future__ import annotations

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.sessions.base import sessions
from edgepack.runtime.sessions.litert import LitertSession, tensors
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import EdgepackError, SourceError, UsageError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec

Models = dict[str, Lowered]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    script = Path(__file__).parents[2] / "tflite_models.py"
    made: Models = runpy.run_path(str(script))["write"](tmp_path_factory.mktemp("models"))
    return made


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((1, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def ids() -> np.ndarray:
    return np.arange(16, dtype=np.int64)[None] * 2


def test_is_registered_and_imports_no_runtime() -> None:
    code = (
        "import sys; from edgepack.runtime.sessions.base import sessions; sessions.get('litert');"
        "sys.exit(any(name in sys.modules for name in ('ai_edge_litert', 'numpy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert sessions.get("litert") is LitertSession
    assert LitertSession.tool().name == "ai-edge-litert"


def convolve(image: np.ndarray, weights: np.ndarray, bias: np.ndarray, *, depthwise: bool) -> np.ndarray:
    """3 x 3, stride 1, zero padding, ReLU6, in [height, width, channels]."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    form = "yxchw,hwc->yxc" if depthwise else "yxchw,ohwc->yxo"
    result: np.ndarray = np.clip(np.einsum(form, windows, weights) + bias, 0, 6)
    return result


def test_computes_an_image_given_channels_first(models: Models, image: np.ndarray) -> None:
    lowered = models["cnn"]
    model = tflite.read(lowered.path)
    named = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors}

    def constant(name: str) -> np.ndarray:
        data = model.buffers[named[name].buffer].data
        values: np.ndarray = np.frombuffer(bytes(data), np.float32).reshape(named[name].shape)
        return values

    x = convolve(image[0].transpose(1, 2, 0), constant("w0"), constant("b0"), depthwise=False)
    x = convolve(x, constant("w1")[0], constant("b1"), depthwise=True)
    expected = constant("w2") @ x.mean(axis=(0, 1)) + constant("b2")
    with LitertSession(lowered.path, lowered.signature) as session:
        outputs = session.run({"image": image})
    assert list(outputs) == ["logits"]
    assert outputs["logits"].dtype == np.float32
    np.testing.assert_allclose(outputs["logits"][0], expected, atol=1e-4)


def test_takes_64_bit_integers_and_refuses_what_32_bits_cannot_hold(models: Models, ids: np.ndarray) -> None:
    lowered = models["block"]
    with LitertSession(lowered.path, lowered.signature, threads=2) as session:
        y = session.run({"ids": ids})["y"]
        assert np.linalg.norm(y) == pytest.approx(1.0, abs=1e-5)
        with pytest.raises(UsageError, match="beyond int32"):
            session.run({"ids": ids + 2**40})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'image' is missing"),
        ({"image": np.zeros((1, 3, 8, 8), np.float32), "mask": np.zeros(1)}, "no input 'mask'"),
        ({"image": np.zeros((1, 3, 8, 8))}, "must be float32"),
        ({"image": np.zeros((1, 8, 8, 3), np.float32)}, "must be 3 long along axis 1"),
        ({"image": np.zeros((3, 8, 8), np.float32)}, "must have 4 dimensions"),
    ],
)
def test_bad_inputs(models: Models, inputs: dict[str, np.ndarray], message: str) -> None:
    lowered = models["cnn"]
    with LitertSession(lowered.path, lowered.signature) as session, pytest.raises(UsageError, match=message):
        session.run(inputs)


def test_a_closed_session_says_so(models: Models, image: np.ndarray) -> None:
    session = LitertSession(models["cnn"].path, models["cnn"].signature)
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"image": image})


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x1c\0\0\0TFL3\xff\xff\xff\x7f" * 9])
def test_a_corrupt_file(content: bytes, tmp_path: Path, models: Models) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        LitertSession(path, models["cnn"].signature)
    assert "bad.tflite" in str(caught.value)


def test_a_truncated_or_missing_file(tmp_path: Path, models: Models) -> None:
    path = tmp_path / "short.tflite"
    path.write_bytes(models["cnn"].path.read_bytes()[:900])
    with pytest.raises(EdgepackError):
        LitertSession(path, models["cnn"].signature)
    with pytest.raises(SourceError, match="cannot be opened"):
        LitertSession(tmp_path / "none.tflite", models["cnn"].signature)


def test_a_signature_that_is_not_the_files(models: Models) -> None:
    lowered = models["cnn"]
    wrong = replace(lowered.signature, inputs=(TensorSpec("image", "float32", (1, 3, 9, 9)),))
    with pytest.raises(SourceError, match=r"\[1, 8, 8, 3\] in the file and \[1, 9, 9, 3\]"):
        LitertSession(lowered.path, wrong)
    with pytest.raises(SourceError, match="'logits' is in only one"):
        LitertSession(lowered.path, Signature(lowered.signature.inputs, ()))


def test_threads_reach_the_runtime(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert import interpreter

    asked: list[int] = []
    original = interpreter.Interpreter

    def spy(*args, num_threads: int, **options):
        asked.append(num_threads)
        return original(*args, num_threads=num_threads, **options)

    monkeypatch.setattr(interpreter, "Interpreter", spy)
    LitertSession(models["cnn"].path, models["cnn"].signature, threads=3).close()
    assert asked == [3]


def test_loading_prints_nothing(models: Models) -> None:
    code = (
        "import sys; from pathlib import Path; from edgepack.runtime.sessions.litert import LitertSession;"
        "from edgepack.toolchain.program import *;"
        "s = Signature((TensorSpec('image','float32',(1,3,8,8)),),(TensorSpec('logits','float32',(1,5)),));"
        "LitertSession(Path(sys.argv[1]), s)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, models["cnn"].path], capture_output=True, text=True, check=True
    )
    assert run.stdout + run.stderr == ""


def test_tensors_names_every_result_in_order(models: Models, image: np.ndarray, ids: np.ndarray) -> None:
    lowered = models["cnn"]
    found = tensors(lowered.path, {"image": image})
    assert list(found) == ["conv", "depthwise", "pooled", "logits_tensor"]
    with LitertSession(lowered.path, lowered.signature) as session:
        np.testing.assert_allclose(found["logits_tensor"], session.run({"image": image})["logits"], atol=1e-5)
    np.testing.assert_allclose(found["pooled"], found["depthwise"].mean(axis=(1, 2)), atol=1e-5)
    some = tensors(models["block"].path, {"ids": ids}, ["norm", "y_tensor"])
    assert list(some) == ["norm", "y_tensor"]
    with pytest.raises(UsageError, match="'ids' is missing"):
        tensors(models["block"].path, {})
