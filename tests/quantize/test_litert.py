"""Quantizing `.tflite`: what changes, what it costs in accuracy, and what is refused."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.quantize import litert
from edgepack.quantize._tflite_bias import correct_biases
from edgepack.quantize._tflite_rewrite import rewrite_for_integer_npu
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import TargetError, ToolchainFailedError, UnknownNameError, UsageError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lowered]:
    script = Path(__file__).parents[1] / "tflite_models.py"
    made: dict[str, Lowered] = runpy.run_path(str(script))["write"](tmp_path_factory.mktemp("models"))
    return made


def data(samples: list[Arrays]) -> CalibrationData:
    facts = Calibration(kind="user", description="test", samples=len(samples), held_out=0)
    return CalibrationData(facts, samples, [], "fingerprint")


@pytest.fixture(scope="module")
def images() -> list[Arrays]:
    random = np.random.default_rng(3)
    return [{"image": random.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(40)]


@pytest.fixture(scope="module")
def texts() -> list[Arrays]:
    random = np.random.default_rng(4)
    return [{"ids": random.integers(0, 32, (1, 16))} for _ in range(40)]


def run(lowered: Lowered, feeds: list[Arrays]) -> np.ndarray:
    name = lowered.signature.outputs[0].name
    with LitertSession(lowered.path, lowered.signature) as session:
        return np.concatenate([session.run(feed)[name] for feed in feeds])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))


def kinds(path: Path) -> Counter[str]:
    return Counter(operator.op for operator in tflite.operators(tflite.read(path)))


def dtypes(path: Path) -> dict[str, str]:
    operators = tflite.operators(tflite.read(path))
    return {tensor.name: tensor.dtype for operator in operators for tensor in operator.outputs}


def test_registry_is_light() -> None:
    code = (
        "import sys; from edgepack.quantize.base import quantizers; names = quantizers.names();"
        "assert {'litert-dynamic', 'litert-static'} <= set(names), names;"
        "sys.exit(any(name in sys.modules for name in ('ai_edge_quantizer', 'ai_edge_litert', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dynamic_shrinks_weights_and_keeps_activations(
    models: dict[str, Lowered], images: list[Arrays], tmp_path: Path
) -> None:
    lowered = models["cnn"]
    quantized = quantizers.get("litert-dynamic")().quantize(lowered, "int8-dynamic", None, tmp_path)
    assert quantized.precision == "int8-dynamic"
    assert quantized.changed_nodes == 3  # two convolutions and a dense layer
    assert set(dtypes(quantized.path).values()) == {"float32"}
    assert cosine(run(lowered, images), run(quantized, images)) > 0.999
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.tflite"]


def test_four_bits_in_blocks(models: dict[str, Lowered], tmp_path: Path) -> None:
    tools = runpy.run_path(str(Path(__file__).parents[1] / "tflite_models.py"))
    random, b = np.random.default_rng(5).standard_normal, tools["Builder"]()
    x = b.tensor("x", (1, 64))
    y = b.op("FULLY_CONNECTED", [x, b.constant("wide", random((48, 64)))], "hidden", (1, 48))
    y = b.op("FULLY_CONNECTED", [y, b.constant("odd", random((4, 48)))], "y_tensor", (1, 4))
    b.save(tmp_path / "wide.tflite", {"x": x}, {"y": y}, {})
    signature = Signature((TensorSpec("x", "float32", (1, 64)),), (TensorSpec("y", "float32", (1, 4)),))
    lowered = Lowered("main", "tflite", tmp_path / "wide.tflite", signature)
    quantizer = quantizers.get("litert-dynamic")()
    narrow = quantizer.quantize(lowered, "int4-weights", None, tmp_path / "narrow", bits=4)
    assert narrow.notes == (
        "Weights of 1 matrix products in 4 bits, 32 to a scale; 1 with other lengths of rows have 8",
    )
    kept = [operator.inputs[1].dtype for operator in tflite.operators(tflite.read(narrow.path))]
    assert kept == ["int4", "int8"]
    feeds = [{"x": random((1, 64)).astype(np.float32)} for _ in range(8)]
    assert cosine(run(lowered, feeds), run(narrow, feeds)) > 0.98
    with pytest.raises(TargetError, match="no matrix product has rows of whole blocks of 32 weights"):
        quantizer.quantize(models["block"], "int4-weights", None, tmp_path / "none", bits=4)


@pytest.mark.parametrize(
    ("precision", "dtype", "least"), [("int8-static", "int8", 0.99), ("int16x8-static", "int16", 0.999)]
)
def test_static(
    precision: str, dtype: str, least: float, models: dict[str, Lowered], images: list[Arrays], tmp_path: Path
) -> None:
    lowered = models["cnn"]
    quantized = quantizers.get("litert-static")().quantize(lowered, precision, data(images), tmp_path)
    assert set(dtypes(quantized.path).values()) == {dtype}
    assert quantized.changed_nodes == 4
    assert tflite.read_note(quantized.path) == {tflite.CHANNELS_LAST: ["image"]}
    assert cosine(run(lowered, images), run(quantized, images)) > least
    assert any("biases of 3 layers" in note for note in quantized.notes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.tflite"]


@pytest.mark.parametrize(("width", "dtype"), [("float", "float32"), ("int16", "int16")])
def test_ends_stay_finer(
    width: str, dtype: str, models: dict[str, Lowered], images: list[Arrays], tmp_path: Path
) -> None:
    quantized = quantizers.get("litert-static")().quantize(
        models["cnn"], "int8-static", data(images), tmp_path, ends=width
    )
    found = dtypes(quantized.path)
    assert found["logits_tensor"] == dtype
    assert found["conv"] == "int8"  # 72 % of the work: no stem
    plain = quantizers.get("litert-static")().quantize(
        models["cnn"], "int8-static", data(images), tmp_path / "plain"
    )
    reference = run(models["cnn"], images)
    assert cosine(reference, run(quantized, images)) > cosine(reference, run(plain, images))


def test_bias_correction_takes_the_mean_error_back(
    models: dict[str, Lowered], images: list[Arrays], tmp_path: Path
) -> None:
    lowered = models["cnn"]
    # Coarse weights, rounded up: an error with a mean.
    model = tflite.read(lowered.path)
    coarse = tflite.read(lowered.path)
    from ai_edge_litert import schema_py_generated as schema

    for tensor in coarse.subgraphs[0].tensors:
        if tensor.name == b"w2":
            values = np.frombuffer(bytes(coarse.buffers[tensor.buffer].data), np.float32).reshape(5, 16)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ceil(values).astype(np.int8).tobytes(), np.uint8)
            coarse.buffers.append(buffer)
            tensor.buffer, tensor.type = len(coarse.buffers) - 1, schema.TensorType.INT8
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0], [0]
            tensor.quantization.quantizedDimension = 0
    nhwc = [{"image": np.ascontiguousarray(feed["image"].transpose(0, 2, 3, 1))} for feed in images]
    assert correct_biases(model, coarse, lowered.path, nhwc) == 1
    bias = next(t for t in coarse.subgraphs[0].tensors if t.name == b"b2")
    moved = np.frombuffer(bytes(coarse.buffers[bias.buffer].data), np.float32)
    original = next(t for t in model.subgraphs[0].tensors if t.name == b"b2")
    before = np.frombuffer(bytes(model.buffers[original.buffer].data), np.float32)
    from edgepack.runtime.sessions.litert import tensors

    pooled = np.concatenate([tensors(lowered.path, feed)["pooled"] for feed in images])
    expected = before - (np.ceil(values) - values) @ pooled.mean(axis=0)
    np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_rewriting_keeps_the_function_and_leaves_npu_operators(
    models: dict[str, Lowered], texts: list[Arrays], tmp_path: Path
) -> None:
    lowered = models["block"]
    model = tflite.read(lowered.path)
    counts = rewrite_for_integer_npu(model)
    assert sum(counts.values()) == 5
    assert min(counts.values()) == 1
    assert set(counts.values()) == {1, 2}  # two divisions
    rewritten = replace(lowered, path=tmp_path / "rewritten.tflite")
    tflite.write(model, rewritten.path)
    assert not {"GELU", "DIV", "ABS", "SQRT", "SQUARED_DIFFERENCE"} & set(kinds(rewritten.path))
    np.testing.assert_allclose(run(lowered, texts), run(rewritten, texts), atol=2e-4)
    assert rewrite_for_integer_npu(model) == dict.fromkeys(counts, 0)


def test_sixteen_bits_for_an_npu(models: dict[str, Lowered], texts: list[Arrays], tmp_path: Path) -> None:
    lowered = models["block"]
    quantized = quantizers.get("litert-static")().quantize(
        lowered, "int16x8-static", data(texts), tmp_path, integer_npu=True, matmul_bits=8
    )
    found = dtypes(quantized.path)
    assert found["scores"] == "int8"  # a product of two activations
    assert found["y_tensor"] == "int16"
    assert cosine(run(lowered, texts), run(quantized, texts)) > 0.99
    model = tflite.read(quantized.path)
    assert tflite.narrow_biases(model) == 1
    narrow = replace(quantized, path=tmp_path / "narrow.tflite")
    tflite.write(model, narrow.path)
    assert cosine(run(quantized, texts), run(narrow, texts)) > 0.9999


def test_layers_kept_in_sixteen_bits_take_the_form_that_has_them(
    models: dict[str, Lowered], texts: list[Arrays], tmp_path: Path
) -> None:
    quantizer = quantizers.get("litert-static")()
    kept = ("squares", "gelu", "embedded", "absolute")
    quantized = quantizer.quantize(
        models["block"], "int8-static", data(texts), tmp_path, keep=kept, ends="int16"
    )
    found = dtypes(quantized.path)
    assert {found["squares"], found["squares/difference"]} == {"int16"}
    assert {found["gelu"], found["gelu/logistic"]} == {"int16"}
    assert found["dense"] == "int8"
    (note,) = [note for note in quantized.notes if "as was asked for" in note]
    assert note == (
        "11 operators kept in 16 bits, as was asked for; not 1 EMBEDDING_LOOKUP: ai-edge-quantizer has no 16-bit form; "
        "rewriting others left 1 without use"
    )


def test_samples_are_streamed_and_those_of_other_sizes_left_out(
    models: dict[str, Lowered], images: list[Arrays], tmp_path: Path
) -> None:
    alive: list[int] = []

    class Samples(list[Arrays]):
        def __iter__(self) -> Any:
            for index in range(len(images)):
                alive.append(len(list(tmp_path.glob("samples-*/*.npz"))))
                size = 8 if index % 2 else 9
                yield {"image": np.full((1, 3, size, size), index, np.float32)}

    quantized = quantizers.get("litert-static")().quantize(
        models["cnn"], "int8-static", data(Samples(images)), tmp_path
    )
    assert alive[-1] == len(images) // 2 - 1  # each was written before the next was asked for
    assert "20 of 40 calibration samples were left out" in quantized.notes[-1]
    assert not list(tmp_path.glob("samples-*"))


def test_refusals(models: dict[str, Lowered], images: list[Arrays], tmp_path: Path) -> None:
    static = quantizers.get("litert-static")()
    lowered = models["cnn"]
    for nothing in (None, data([])):
        with pytest.raises(UsageError, match="needs calibration data"):
            static.quantize(lowered, "int8-static", nothing, tmp_path)
    with pytest.raises(UsageError, match="None of the 1 calibration samples"):
        static.quantize(lowered, "int8-static", data([{"pixels": images[0]["image"]}]), tmp_path)
    with pytest.raises(UsageError, match="not a static precision"):
        static.quantize(lowered, "int4", data(images), tmp_path)
    with pytest.raises(UnknownNameError, match="option of litert-static 'bits'"):
        static.quantize(lowered, "int8-static", data(images), tmp_path, bits=4)


def test_a_model_that_does_not_change_is_an_error(models: dict[str, Lowered], tmp_path: Path) -> None:
    lowered = models["cnn"]
    quantized = quantizers.get("litert-dynamic")().quantize(lowered, "int8-dynamic", None, tmp_path / "once")
    model = tflite.read(lowered.path)
    graph = model.subgraphs[0]
    mean = next(op for op in tflite.operators(model) if op.op == "MEAN")
    graph.operators = [graph.operators[mean.index]]
    used = sorted({*map(int, graph.operators[0].inputs), *map(int, graph.operators[0].outputs)})
    graph.tensors = [graph.tensors[i] for i in used]
    raw = graph.operators[0]
    raw.inputs, raw.outputs = [used.index(i) for i in raw.inputs], [used.index(i) for i in raw.outputs]
    graph.inputs, graph.outputs = raw.inputs[:1], raw.outputs
    model.signatureDefs[0].inputs[0].tensorIndex = raw.inputs[0]
    model.signatureDefs[0].outputs[0].tensorIndex = raw.outputs[0]
    path = tmp_path / "mean.tflite"
    tflite.write(model, path)
    with pytest.raises(TargetError, match="changed no operator"):
        quantizers.get("litert-dynamic")().quantize(
            replace(quantized, path=path), "int8-dynamic", None, tmp_path / "twice"
        )
    assert not (tmp_path / "twice" / "model.tflite").exists()


def test_the_tools_own_words_reach_the_reader(models: dict[str, Lowered], tmp_path: Path) -> None:
    path = tmp_path / "bad.tflite"
    shutil.copyfile(models["cnn"].path, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises((TargetError, ToolchainFailedError), match="ai-edge-quantizer"):
        quantizers.get("litert-dynamic")().quantize(
            replace(models["cnn"], path=path), "int8-dynamic", None, tmp_path / "out"
        )


def test_a_quantizer_that_hangs_is_stopped(
    models: dict[str, Lowered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert, "WORKER", "timeit")  # `python -m timeit request.json` fails at once
    with pytest.raises(ToolchainFailedError, match="ai-edge-quantizer failed"):
        quantizers.get("litert-dynamic")().quantize(models["cnn"], "int8-dynamic", None, tmp_path)
    monkeypatch.undo()
    with pytest.raises(ToolchainFailedError, match=r"did not finish within 0\.01 s"):
        quantizers.get("litert-dynamic")().quantize(
            models["cnn"], "int8-dynamic", None, tmp_path, time_limit_s=0.01
        )
