"""Between the layers of an exported network the activations become bits, and each is the bit that it was."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgepack.quantize.binary import convert, freeze
from edgepack.toolchain.native_operators import DOMAIN, native_nodes
from edgepack.toolchain.passes.base import in_order
from edgepack.toolchain.passes.binary_chains import Decision, chained
from edgepack.toolchain.passes.clean_up import clean_up
from tests.quantize.binary.artifacts import exposed, run, written
from tests.quantize.binary.networks import images, residual, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
]


def rows() -> nn.Module:
    """Linear layers with a BatchNorm behind each."""
    torch.manual_seed(0)
    sizes = [108, 64, 72, 80, 65]
    layers: list[nn.Module] = [nn.Flatten()]
    for k, n in pairwise(sizes):
        layers += [nn.Linear(k, n), nn.BatchNorm1d(n)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))


def maps() -> nn.Module:
    """Convolutions with a BatchNorm behind each and a PReLU behind one, then a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 40, 3, padding=1), nn.BatchNorm2d(40),
        nn.Conv2d(40, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.PReLU(64),
        nn.Conv2d(64, 48, 3, padding=1, groups=2), nn.BatchNorm2d(48),
        nn.Conv2d(48, 40, (3, 2), padding=1), nn.BatchNorm2d(40), nn.Hardtanh(),
        nn.Flatten(),
        nn.Linear(40 * 3 * 4, 64), nn.BatchNorm1d(64),
        nn.Linear(64, 10),
    )  # fmt: skip


NETWORKS = {"rows": rows, "maps": maps}
CHAINS = {
    "rows": {"BinLinearPack": 1, "BinLinearBits": 1, "BinLinearUnpack": 1},
    "maps": {"BinConvPack": 1, "BinConvBits": 2, "BinLinearUnpack": 1},
}
# A row has a threshold of its own for each pixel of what was an image.
BY_PIXEL = {"BinConvPack": 1, "BinConvBits": 1, "BinConvUnpack": 1, "BinLinear": 1}


def files(model: nn.Module, folder: Path, *, fold: bool) -> tuple[Path, Path, dict[str, int]]:
    """As it was exported and cleaned up; with all passes, too; and how much each pass changed."""
    train(model, images())
    path = written(freeze(model, fold_norms=fold), (images(),), folder / "exported.onnx", optimize=False)
    plain, packed = ir.load(path), ir.load(path)
    clean_up(plain, [name for name in in_order() if name != "binary-chains"])
    counts = clean_up(packed)
    ir.save(plain, folder / "plain.onnx")
    ir.save(packed, folder / "packed.onnx")
    return folder / "plain.onnx", folder / "packed.onnx", counts


def shifts(path: Path) -> list[np.ndarray]:
    """Of the native nodes."""
    found = []
    for node in ir.load(path).graph:
        if node.domain == DOMAIN:
            assert node.inputs[4] is not None
            assert node.inputs[4].const_value is not None
            found.append(node.inputs[4].const_value.numpy())
    return found


@pytest.mark.parametrize(
    ("method", "fold"), [("bnn", True), ("bnn", False), ("reactnet", True)], ids=["bnn", "norms", "reactnet"]
)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_bit_stays(network: str, method: str, fold: bool, library, tmp_path):
    expected = BY_PIXEL if (network, method) == ("maps", "reactnet") else CHAINS[network]
    model = convert(NETWORKS[network](), method)[0]  # of sizes to which no shortcut fits
    plain, packed, counts = files(model, tmp_path, fold=fold)
    assert native_nodes(ir.load(packed)) == expected
    assert counts["binary-chains"] == sum(
        n for name, n in expected.items() if name.endswith(("Bits", "Unpack"))
    )
    given = [torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(2)).numpy()]
    (y,) = run(plain, given, native=True)
    np.testing.assert_array_equal(run(packed, given, native=True)[0], y)
    exposed(plain, tmp_path / "plain-read.onnx")
    exposed(packed, tmp_path / "packed-read.onnx")
    _, *floats = run(tmp_path / "plain-read.onnx", given, native=True)
    for native in (True, False):
        again, *read = run(tmp_path / "packed-read.onnx", given, native=native)
        np.testing.assert_allclose(again, y, rtol=1e-4, atol=1e-4)
        assert sum(values.dtype == np.uint8 for values in read) == counts["binary-chains"]
        for values, shift, bits in zip(floats, shifts(plain), read, strict=True):
            if bits.dtype == np.uint8:
                assert 0.02 < (values < 0).mean() < 0.98, "both signs occur"
                np.testing.assert_array_equal(bits, packed_bits(values, shift, bits))


def packed_bits(values: np.ndarray, shift: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Bytes of eight channels; a row that was an image has its channels' bytes pixel by pixel."""
    by_channel = (-1, 1, 1) if values.ndim == 4 else (-1,)
    signs = values + shift.reshape(by_channel) < 0
    pixels = 12 if values.ndim == 2 and values.shape[1] == 480 else 1
    signs = signs.reshape(len(signs), -1, pixels) if values.ndim == 2 else signs
    return np.packbits(signs, axis=1, bitorder="little").reshape(like.shape)


def decisions(model: nn.Module, folder: Path) -> list[Decision]:
    train(model, images())
    exported = ir.load(written(freeze(model), (images(),), folder / "network.onnx", optimize=False))
    clean_up(exported, [name for name in in_order() if name != "binary-chains"])
    return chained(exported)


def test_a_shortcut_keeps_floats(library, tmp_path):
    first, *others = decisions(convert(residual(), "bi-real")[0], tmp_path)
    assert first.reason == "Conv 'node_conv2d' stands between"
    for decision in others:  # both read the sum of a convolution and of what it reads, its channels twice
        assert decision.reason == "Concat 'node_cat' stands between, read by Add 'node_add'"


@pytest.mark.parametrize(("method", "says"), [("xnor-net", "AveragePool"), ("dorefa", "Pad"), ("bnn", None)])
def test_what_a_method_puts_between(method: str, says: str | None, library, tmp_path):
    first, *others = decisions(convert(maps(), method)[0], tmp_path)
    assert first.reason is not None
    for decision in others[:2]:
        assert (decision.reason is None) == (says is None)
        assert says is None or (decision.reason or "").startswith(f"{says} ")
