"""The real sentence encoder with every operator in int8: what ruins it is named, and keeping that float cures it."""

from __future__ import annotations

import pytest

import edgepack
from edgepack.toolchain.blame.bisect import bisect
from edgepack.toolchain.cache import Cache


@pytest.fixture(scope="module")
def blame(plain, minilm, sentences, tmp_path_factory):
    folder = tmp_path_factory.mktemp("minilm")
    text = folder / "sentences.txt"
    text.write_text("\n".join(sentences[:80:5]))
    with Cache(folder / "cache") as cache:
        bundle = edgepack.export(
            minilm, targets=plain, out=folder / "bundle", precision="int8-static", calibration=str(text),
            calibration_samples=8, measure=False, check=False, cache=cache,
        )  # fmt: skip
        assert bundle.rejected[0].parity.cosine < 0.9  # type: ignore[operator]
        return bisect(bundle.path, cache=cache, top=1, samples=4)


@pytest.mark.slow
def test_the_sums_with_outliers_are_blamed(blame):
    # The sums that run through all layers have channels far beyond the others: who reads them in 8 bits loses.
    worst = {layer.op for layer in blame.worst(6)}
    assert worst == {"LayerNormalization"}
    assert blame.worst(1)[0].added_db < 15
    products = [layer.added_db for layer in blame.layers if layer.node.endswith("query.matmul")]
    assert min(products) > blame.worst(1)[0].added_db + 6


@pytest.mark.slow
def test_keeping_what_is_to_blame_cures_it(blame):
    assert blame.start.cosine < 0.9
    assert blame.confirmed.cosine > 0.99
    assert blame.confirmed.passed
    assert blame.offered < len(blame.order) / 3
