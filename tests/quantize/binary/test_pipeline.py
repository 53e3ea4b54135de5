"""From a trained network to a bundle by the ordinary `edgepack export`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession
from edgepack.toolchain.native_operators import native_nodes
from edgepack.toolchain.program import Signature, TensorSpec
from tests.quantize.binary import exported
from tests.quantize.binary.artifacts import run
from tests.quantize.binary.networks import images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
]


def test_the_command_ships_one_bit_a_weight(library, tmp_path):
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "edgepack", "export", f"{exported.__file__}:network", "--json"]
    done = subprocess.run(
        [*command, "--target", "cpu:onnxruntime", "--precision", "fp32", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EDGEPACK_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    (artifact,) = json.loads(done.stdout)["artifacts"]
    assert artifact["parity"]["passed"]
    path = out / Path(artifact["files"][0])
    model = ir.load(path)
    assert native_nodes(model) == {"BinConv": 2, "BinLinear": 1}
    frozen, _ = exported.network()
    inputs = images(5)
    with torch.no_grad():
        expected = frozen(inputs).numpy()
    (shape,) = {tuple(value.shape) for value in model.graph.inputs}
    name, output = (str(values[0].name) for values in (model.graph.inputs, model.graph.outputs))
    signature = Signature(
        (TensorSpec(name, "float32", ("batch", *map(int, shape[1:]))),),
        (TensorSpec(output, "float32", ("batch", 10)),),
    )
    session = OnnxRuntimeSession(path, signature)
    executed = [node.op for node in session.executed_nodes({name: inputs.numpy()})]
    assert executed.count("BinConv") == 2, "edgepack's sessions run the kernels"
    assert executed.count("BinLinear") == 1
    np.testing.assert_allclose(session.run({name: inputs.numpy()})[output], expected, rtol=1e-4, atol=1e-4)
    (found,) = run(path, [inputs.numpy()], native=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    weights = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value
    )
    assert weights < 25_000, "a float network of this size has 145,000 bytes"


def test_a_saved_program_is_read_where_nothing_else_knows_its_operators(tmp_path):
    frozen, inputs = exported.network()
    path = tmp_path / "network.pt2"
    torch.export.save(torch.export.export(frozen, inputs), path)
    code = (
        "import sys, torch\n"
        "from edgepack.exporters.sources import SourceRequest, open_source\n"
        "model = open_source(SourceRequest(model=sys.argv[1])).open_torch().parts['main'].module\n"
        "print(model(torch.zeros(8, 3, 6, 6)).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([8, 10])\n"
