"""The table in docs/binary-roofline.md: made of a run's lines, between its markers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.binary import chains, measure, models
from tests.runtime.kernels.conftest import library, open_model

__all__ = ["library"]

ROOT = Path(__file__).resolve().parents[3]
PEAK = {"products": 1e12, "tiles": 2e12, "near": 1e11, "far": 1e10}
FOUND = {"us": {"fp32": 1000.0, "int8": 200.0, "1-bit": 100.0}, "over": {"fp32": 10.0, "int8": 2.0}}


def line(shape: models.Shape, *missed: str) -> dict[str, Any]:
    least = measure.roofline_us(shape, PEAK["products"], PEAK["near"])
    share = (max(least.values()) + 4) / 100
    least["calling"] = 4.0
    return {
        "shape": shape.title, **FOUND, "roofline_us": least, "share_of_roofline": share, "at_most": 10 * share,
        "tiles_us": 37.7, "missed": missed,
    }  # fmt: skip


@pytest.fixture
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("binary_table", ROOT / "tools" / "binary_table.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_run_becomes_a_table_that_the_page_has_a_place_for(tool: Any, tmp_path: Path) -> None:
    lines = [line(models.SHAPES[0], "10.0x fp32, not 13x"), *map(line, models.SHAPES[1:])]
    bare = {"counting": 1.98, "tiles": 0.0}
    doubled = [
        {
            "shape": "linear 128",
            "wall_us": [80.0, 50.0],
            "gain": 1.6,
            "bare_loops": bare,
            "missed": ["1.60x, not 1.7x"],
        }
    ]
    made = tool.table({"cpu": "a processor", "limits": PEAK, "lines": lines, "doubled": doubled})
    times = "| 1000.0 | 200.0 | 100.0 | 10.0x | 2.0x | 7.9x | 75.5 | 37.7 | 4.7 | 4.0 | 79 % |"
    assert f"| linear 128, 768 to 768 {times} **misses**: 10.0x fp32, not 13x |" in made
    assert made.count("| holds |") == len(models.SHAPES) - 1
    assert "| linear 128 | 80.0 | 50.0 | 1.60x | 1.98x |  | **misses**: 1.60x, not 1.7x |" in made
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "binary-roofline.md").read_text(encoding="utf-8"), encoding="utf-8")
    tool.PLACE.write(made, [page])
    assert made in page.read_text(encoding="utf-8")


def test_so_does_a_run_of_chains(tool: Any, tmp_path: Path) -> None:
    us = {"unpacked": 300.0, "folded": 250.0, "packed": 200.0}
    over = {"unpacked": 1.5, "folded": 1.25}
    bounds = {"products": 156.0, "limit": 120.0, "calling": 4.0}
    most = {"at_most": 1.875, "at_most_at_limit": 2.129}
    lines = [
        {"chain": chain.title, "us": us, "over": over, "bounds_us": bounds, **most, "missed": []}
        for chain in chains.CHAINS
    ]
    lines[0]["missed"] = ["1.49x, not 1.5x"]
    made = tool.chains_table({"cpu": "a processor", "lines": lines})
    times = "| 300.0 | 250.0 | 200.0 | 1.50x | 1.25x | 156.0 | 120.0 | 4.0 | 1.88x | 2.13x |"
    assert f"| {chains.CHAINS[0].title} {times} **misses**: 1.49x" in made
    assert made.count("| holds |") == len(lines) - 1
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "binary-roofline.md").read_text(encoding="utf-8"), encoding="utf-8")
    tool.CHAINS_PLACE.write(made, [page])
    assert made in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("chain", [chains.CHAINS[3], chains.CHAINS[6]], ids=lambda chain: chain.title)
def test_the_layers_alone_have_the_chain_s_sizes(chain: chains.Chain, library: Path) -> None:
    x = chain.x()
    for model, bits in chain.layers_alone():
        assert bits.dtype == np.uint8
        assert bits.size * 8 == x.size
        (y,) = open_model(model).run(None, {"x": bits})
        x = np.unpackbits(y, axis=1)
    assert x.size == chain.x().size // chain.widths[0] * chain.widths[-1]


@pytest.mark.parametrize("chain", chains.CHAINS[::4], ids=lambda chain: chain.title)
def test_the_forms_of_a_chain_compute_the_same(chain: chains.Chain, library: Path) -> None:
    """Folding rounds, so that a sum at its threshold may change its sign; the pass changes nothing."""
    results = {}
    for name, model in chains.models(chain).items():
        (results[name],) = open_model(model).run(None, {"x": chain.x()})
    np.testing.assert_array_equal(results["packed"], results["unpacked"])
    assert (results["folded"] != results["unpacked"]).mean() < 0.3
    assert np.corrcoef(results["folded"].ravel(), results["unpacked"].ravel())[0, 1] > 0.99


def test_a_layer_of_one_output_is_bound_by_reading() -> None:
    wide = models.Shape("", 1, 1 << 20, 1, conv=False, over_fp32=0, over_int8=0)
    made = measure.roofline_us(wide, PEAK["products"], PEAK["near"])
    assert made["reading"] > made["counting"]


def test_products_and_bytes_of_a_convolution() -> None:
    conv = models.Shape("", 4, 8, 8, conv=True, over_fp32=0, over_int8=0)
    assert conv.products == (4 * 4 * 9 - 4 * 4 * 3 + 4) * 8 * 8  # a side's pixels lack a row of three taps
    assert conv.bytes_read == 4 * 4 * 8 * 4 + 8 * 8 * 9 // 8


def test_a_chain_reads_numbers_once_and_weights_of_every_layer() -> None:
    two = chains.Chain("", 1, (64, 64, 64))
    counted = 2 * 64 * 64
    assert two.limit_us(products=1.0, near=1e9) == pytest.approx(counted * 1e6)
    read = 4 * 64 + 2 * 64 * 64 // 8
    assert two.limit_us(products=1e12, near=1.0) == pytest.approx(read * 1e6)
