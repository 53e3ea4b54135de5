"""Parts of a program in one `.tflite` file: called each by its signature, every weight once."""

from __future__ import annotations

import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.base import targets
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.tflite_join import join

Models = dict[str, Lowered]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A network on images and a block on text, as two parts, and the block again for 8 positions."""
    folder = tmp_path_factory.mktemp("models")
    made: Models = runpy.run_path(str(Path(__file__).parents[1] / "tflite_models.py"))["write"](folder)
    return made


def feed(name: str) -> dict[str, np.ndarray]:
    if name == "cnn":
        return {"image": np.random.default_rng(2).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    return {"ids": np.arange(16, dtype=np.int64)[None] * 2}


def run(path: Path, signature: Signature, name: str) -> dict[str, np.ndarray]:
    with LitertSession(path, signature) as session:
        session.run(feed(name))
        return session.run(feed(name))


@pytest.mark.parametrize("order", [("cnn", "block"), ("block", "cnn")])
def test_parts_give_what_their_own_files_do(order: tuple[str, ...], models: Models, tmp_path: Path) -> None:
    path = tmp_path / "all.tflite"
    assert join({name: models[name].path for name in order}, path) is not None
    assert tflite.read_note(path) == {tflite.CHANNELS_LAST: ["image"]}
    for name in order:
        alone = run(models[name].path, models[name].signature, name)
        together = run(path, models[name].signature, name)
        for output, value in alone.items():
            np.testing.assert_array_equal(value, together[output])


def renamed(lowered: Lowered, folder: Path) -> Lowered:
    """The same file with another name of its output."""
    model = tflite.read(lowered.path)
    model.signatureDefs[0].outputs[0].name = b"again"
    folder.mkdir()
    path = folder / "renamed.tflite"
    tflite.write(model, path)
    (spec,) = lowered.signature.outputs
    outputs = (TensorSpec("again", spec.dtype, spec.shape),)
    return replace(lowered, path=path, signature=Signature(lowered.signature.inputs, outputs))


@pytest.mark.parametrize("quantized", [False, True])
def test_weights_of_several_parts_are_stored_once(quantized: bool, models: Models, tmp_path: Path) -> None:
    parts = {"prefill": models["block"], "decode": renamed(models["block"], tmp_path / "renamed")}
    if quantized:
        quantizer = quantizers.get("litert-dynamic")()
        parts = {
            name: quantizer.quantize(part, "int8-dynamic", None, tmp_path / name)
            for name, part in parts.items()
        }
    path = tmp_path / "all.tflite"
    shared = join({name: part.path for name, part in parts.items()}, path)
    model = tflite.read(parts["prefill"].path)
    weights = {tensor.buffer for tensor in model.subgraphs[0].tensors}
    stored = {bytes(model.buffers[i].data) for i in weights if model.buffers[i].data is not None}
    assert shared == sum(map(len, stored))
    together = tflite.read(path)
    assert [graph.name for graph in together.subgraphs] == [b"prefill", b"decode"]
    assert len(together.operatorCodes) == len(model.operatorCodes)
    for part in parts.values():
        for name, value in run(part.path, part.signature, "block").items():
            np.testing.assert_array_equal(value, run(path, part.signature, "block")[name])


def test_parts_that_look_alike_keep_their_files(models: Models, tmp_path: Path) -> None:
    again = tmp_path / "again.tflite"
    shutil.copyfile(models["cnn"].path, again)
    path = tmp_path / "all.tflite"
    assert join({"one": models["cnn"].path, "other": again}, path) is None
    model = tflite.read(again)
    tflite.set_note(model, {tflite.CHANNELS_LAST: []})  # the same name in two layouts
    model.signatureDefs[0].outputs[0].name = b"again"
    tflite.write(model, again)
    assert join({"one": models["cnn"].path, "other": again}, path) is None
    assert not path.exists()


def test_a_signature_that_no_part_has(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "all.tflite"
    join({"image": models["cnn"].path, "text": models["block"].path}, path)
    (spec,) = models["cnn"].signature.outputs
    for outputs in ((replace(spec, name="none"),), (replace(spec, shape=(1, 6)),)):
        with pytest.raises(SourceError, match="holds the parts image, text, and 0 of them"):
            LitertSession(path, Signature(models["cnn"].signature.inputs, outputs))


def test_the_target_joins(models: Models, tmp_path: Path) -> None:
    target = targets.get("mobile:litert")()
    files = {name: models[name].path for name in ("cnn", "block")}
    assert target.join(files, tmp_path) == "program.tflite"
    assert (tmp_path / "program.tflite").is_file()
    assert targets.get("cpu:onnxruntime")().join(files, tmp_path) is None
