"""A small classifier of handwritten digits, trained here in a second, as an ONNX file with real samples."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

if TYPE_CHECKING:
    import torch

WIDTH, LAYERS = 96, 4


class Digits(NamedTuple):
    """A trained model and its data.

    Attributes:
        model: The ONNX file: x [batch, 64] to logits [batch, 10].
        calibration: Real samples, for --calibration.
        accuracy: On pictures that it was not trained with.
    """

    model: Path
    calibration: Path
    accuracy: float


@pytest.fixture(scope="session")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """1,797 scans of handwritten digits, float32 [n, 64] from 0 to 1, and what they show; shuffled once."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return (digits.data[order] / 16).astype(np.float32), digits.target[order]


@pytest.fixture(scope="session")
def digits(pictures, tmp_path_factory) -> Digits:
    import torch

    torch.manual_seed(0)
    x, y = (torch.from_numpy(values) for values in pictures)
    sizes = [64, *[WIDTH] * LAYERS]
    net = torch.nn.Sequential()
    for a, b in itertools.pairwise(sizes):
        net.extend([torch.nn.Linear(a, b), torch.nn.ReLU()])
    net.append(torch.nn.Linear(WIDTH, 10))
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(120):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(net(x[:1200]), y[:1200]).backward()
        adam.step()
    with torch.no_grad():
        accuracy = float((net(x[1500:]).argmax(1) == y[1500:]).float().mean())
    folder = tmp_path_factory.mktemp("digits")
    np.savez(folder / "samples.npz", x=pictures[0][1200:1500, None])
    _save(net, folder / "digits.onnx")
    return Digits(folder / "digits.onnx", folder / "samples.npz", accuracy)


def _save(net: torch.nn.Sequential, path: Path) -> None:
    import torch

    nodes, weights, value = [], [], "x"
    for index, layer in enumerate(net):
        after = f"h{index}" if index + 1 < len(net) else "logits"
        if isinstance(layer, torch.nn.Linear):
            matrix = layer.weight.detach().numpy().T.copy()
            weights += [
                numpy_helper.from_array(matrix, f"w{index}"),
                numpy_helper.from_array(layer.bias.detach().numpy(), f"b{index}"),
            ]
            nodes.append(
                helper.make_node("MatMul", [value, f"w{index}"], [f"p{index}"], name=f"product{index}")
            )
            nodes.append(helper.make_node("Add", [f"p{index}", f"b{index}"], [after], name=f"add{index}"))
        else:
            nodes.append(helper.make_node("Relu", [value], [after], name=f"relu{index}"))
        value = after
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
