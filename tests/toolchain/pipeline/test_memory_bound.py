"""How many processes the free memory holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.toolchain.pipeline.memory_bound import BASE, FACTOR, Bound, bound_of, free_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "need", "count"), [(20 * GIB, 2 * GIB, 8), (4 * GIB, 2 * GIB, 1), (0, GIB, 1)]
)
def test_processes(free: int, need: int, count: int) -> None:
    assert Bound(free, need).processes == count


def test_the_need_grows_with_the_weights(tmp_path: Path) -> None:
    empty = bound_of(tmp_path)
    (tmp_path / "weights").write_bytes(bytes(1 << 20))
    assert (empty.need, bound_of(tmp_path).need) == (BASE, BASE + FACTOR * (1 << 20))


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    everything = free_bytes(tmp_path)
    assert everything > 0
    (tmp_path / "memory.max").write_text("3000000")
    (tmp_path / "memory.current").write_text("2500000")
    (tmp_path / "memory.stat").write_text("anon 2000000\ninactive_file 100000\n")
    assert free_bytes(tmp_path) == 600_000
    (tmp_path / "memory.max").write_text("max")
    assert free_bytes(tmp_path) > 600_000
