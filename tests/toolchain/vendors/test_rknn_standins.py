"""What stands in for packages that rknn-toolkit2 imports: numbers like torch's where it counts, errors elsewhere."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from edgepack.toolchain.vendors import _rknn_standins as standins
from edgepack.toolchain.vendors._rknn_standins import Finder, StandIn

TORCH = StandIn("torch")


@pytest.mark.parametrize(
    ("shape", "size", "dim"), [((3, 1, 4, 8), [1, 1, 1], 0), ((8, 3), 1, 1), ((2, 7), 3, -1)]
)
def test_integers_are_torchs(shape: tuple[int, ...], size: int | list[int], dim: int) -> None:
    # What `gen_gather_for_change_split_shape` of 2.5.0 does: numbers in a shape, cut, and joined in the new order.
    def order(module: object) -> list[int]:
        count = int(np.prod(shape))
        pieces = module.split(module.arange(count).reshape(shape), size, dim)  # type: ignore[attr-defined]
        joined = module.cat([piece.reshape(-1) for piece in pieces], dim=0)  # type: ignore[attr-defined]
        return list(joined.tolist())

    assert order(TORCH) == order(torch)


@pytest.mark.parametrize("ends", [(4,), (2, 9), (1, 9, 3)])
def test_ranges_are_torchs(ends: tuple[int, ...]) -> None:
    assert TORCH.arange(*ends).tolist() == torch.arange(*ends).tolist()


def test_what_torch_refuses_is_refused() -> None:
    with pytest.raises(RuntimeError):
        torch.split(torch.arange(6), [2, 2])
    with pytest.raises(RuntimeError, match="split of 6"):
        TORCH.split(TORCH.arange(6), [2, 2])


def test_what_is_not_here_is_said() -> None:
    with pytest.raises(RuntimeError, match=r"needs torch\.zeros here"):
        TORCH.zeros(3)
    with pytest.raises(RuntimeError, match=r"needs torch\.Tensor\.permute here"):
        TORCH.arange(3).permute(0)
    with pytest.raises(RuntimeError, match=r"needs torch\.nn\.split here"):
        TORCH.nn.split(TORCH.arange(3), 1)


def test_modules_are_found_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Finder().find_spec("numpy") is None
    assert Finder().find_spec("torch.nn") is not None
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    import torch as here
    from torch.utils.data import Dataset

    assert here.__version__ == standins.LEFT_OUT["torch"]
    assert isinstance(type("Mine", (Dataset,), {})(), Dataset)  # type: ignore[type-arg]
