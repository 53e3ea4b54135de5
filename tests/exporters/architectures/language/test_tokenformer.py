"""Row 66: counts, parameter attention by its formula, steps, and a grown artifact on the old weight file."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgepack.exporters._worker import export_model
from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.language import tokenformer
from edgepack.exporters.architectures.language._tokenformer import Network, ParameterAttention
from edgepack.toolchain.program import Program
from tests.exporters.architectures import playing

CONFIGS = tokenformer.CONFIGS


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_formula(name):
    assert architectures.get(tokenformer.NAME).counted(name).parameters == CONFIGS[name].parameters


def test_steps_with_caches_equal_the_whole_sequence():
    difference, _ = playing.worst(tokenformer.build(CONFIGS["tiny"]))
    assert difference < 2e-5


def test_a_projection_is_attention_to_parameters_by_its_formula():
    layer = ParameterAttention(6, 5, (3, 4))
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    keys, values = torch.cat([*layer.keys]), torch.cat([*layer.values])
    x = torch.randn(2, 3, 6)
    scores = x @ keys.T
    scores = scores * math.sqrt(7) / scores.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(layer(x), torch.nn.functional.gelu(scores) @ values)


def test_a_grown_network_has_the_old_weights_and_new_pairs_only():
    old, grown = (dict(Network(CONFIGS[name]).named_parameters()) for name in ("tiny", "tiny-grown"))
    assert all(torch.equal(grown[name], value) for name, value in old.items())
    new = grown.keys() - old.keys()
    assert new == {name for name in grown if name.endswith((".keys.1", ".values.1"))}


def exported(name, folder):
    folder.mkdir()
    export_model(tokenformer.build(CONFIGS[name]), folder)
    return Program.load(folder).parts["decoder"]


def tensors(path):
    """Arrays of the large initializers by name."""
    model = onnx.load(path)
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if np.prod(t.dims) > 64}


@pytest.mark.slow
def test_the_grown_artifact_runs_on_the_old_weight_file(tmp_path):
    old, grown = (exported(name, tmp_path / name) for name in ("tiny", "tiny-grown"))
    before, after = tensors(old.path), tensors(grown.path)
    known = {array.tobytes(): name for name, array in before.items()}
    kept = {name: known[array.tobytes()] for name, array in after.items() if array.tobytes() in known}
    assert sorted(kept.values()) == sorted(before), "every tensor of the old artifact is in the grown one"
    config = CONFIGS["tiny-grown"]
    new = sum(array.size for name, array in after.items() if name not in kept)
    assert new == config.parameters - CONFIGS["tiny"].parameters

    # The old file as it is, and what is new in one of its own.
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    where, data = {}, b""
    for name, array in before.items():
        where[name] = (len(data), array.nbytes)
        data += array.tobytes()
    (shipped / "old.data").write_bytes(data)
    model, appended = onnx.load(grown.path), b""
    for tensor in model.graph.initializer:
        if tensor.name in after:
            raw = after[tensor.name].tobytes()
            file, (offset, length) = "old.data", where.get(kept.get(tensor.name, ""), (0, 0))
            if tensor.name not in kept:
                file, offset, length = "new.data", len(appended), len(raw)
                appended += raw
            for field in ("raw_data", "float_data", "external_data"):
                tensor.ClearField(field)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", file), ("offset", offset), ("length", length)):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
    (shipped / "new.data").write_bytes(appended)
    (shipped / "grown.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(shipped / "grown.onnx", providers=["CPUExecutionProvider"])
    case = grown.cases[0]
    names = [output.name for output in session.get_outputs()]
    for name, value in zip(names, session.run(names, dict(case.inputs)), strict=True):
        np.testing.assert_allclose(value, case.outputs[name], atol=1e-4)
