"""Row 22: texts packed into rows against texts padded, what comes out and what it costs."""

import numpy as np
import pytest
import torch

from edgepack.exporters.architectures._counting import Whole, counted
from edgepack.exporters.architectures.language import mosaicbert
from edgepack.exporters.architectures.language._mosaicbert import Network
from edgepack.runtime.packing import packed, unpacked
from tests.exporters.architectures import transplant

TINY = mosaicbert.CONFIGS["tiny"]
LENGTHS = (16, 3, 7, 5, 2, 9, 4, 2)


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [{name: rng.integers(0, high, n) for name, high in (("ids", 61), ("types", 2))} for n in LENGTHS]


def test_packed_texts_give_what_padded_ones_give(texts):
    net = transplant.randomize(Network(TINY))
    rows, places = packed(texts, 16)
    assert rows["ids"].shape == (3, 16)
    alone = [packed([text], 16) for text in texts]
    padded = {name: np.concatenate([each[name] for each, _ in alone]) for name in rows}
    assert padded["ids"].shape == (8, 16)
    with torch.no_grad():
        got, wanted = (
            net(*(torch.from_numpy(given[name]) for name in ("ids", "text", "types"))).numpy()
            for given in (rows, padded)
        )
    for one, row, text in zip(unpacked(got, places), wanted, texts, strict=True):
        np.testing.assert_allclose(one, row[: len(text["ids"])], atol=2e-5)


def test_cost_follows_the_tokens_that_are_there(texts):
    def macs(rows):
        ids = torch.zeros((rows, 16), dtype=torch.int64, device="meta")
        return counted(lambda: Whole(Network(TINY), (ids, ids, ids))).macs

    real, places = sum(LENGTHS), packed(texts, 16)[1]
    rows = 1 + max(seat.row for seat in places)
    assert real == rows * 16, "these fill their rows"
    assert macs(rows) / macs(len(LENGTHS)) == pytest.approx(real / (len(LENGTHS) * 16))
