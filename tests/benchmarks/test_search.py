"""NSGA-II, TPE and random search on MiniLM at equal budget: hypervolumes, and whether mixing beats one form for all."""

import os

import pytest

from edgepack.toolchain.search import words
from edgepack.toolchain.search.finish import volume
from edgepack.toolchain.search.run import search

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(6 * 3600)]
TRIALS = int(os.environ.get("TRIALS", "40"))


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_samplers(minilm, tmp_path, sampler):
    results = search(minilm, out=tmp_path / "s", trials=TRIALS, sampler=sampler, timing_s=2.0)
    passed = [point for point in results.points if point.measured.parity.passed]
    lowest = tuple(min(column) for column in zip(*(point.values for point in passed), strict=True))
    uniform = volume([point for point in passed if point.side == "uniform"], lowest, results.reference)
    print(f"\n{sampler}, {TRIALS} candidates a side, on MiniLM")
    print(f"hypervolume of the uniform assignments alone {uniform:.4f}")
    for sentence in words.sentences(results):
        print(sentence)
    for row in words.front_rows(results):
        print(" | ".join(row))
    for line in words.conditions(results):
        print(line)
    assert [side.trials for side in results.sides] == [TRIALS, TRIALS]
    assert all(side.hypervolume >= uniform for side in results.sides)  # type: ignore[operator]
