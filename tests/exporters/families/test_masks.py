"""Finite masks say the same as the source's: which keys a query may see."""

import pytest
import torch
from transformers import masking_utils

from edgepack.exporters.sources._families import masks

PADDED = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]])


@pytest.mark.parametrize(
    "pattern",
    [
        masking_utils.causal_mask_function,
        masking_utils.sliding_window_causal_mask_function(3),
        masking_utils.bidirectional_mask_function,
        masking_utils.sliding_window_bidirectional_mask_function(2),
    ],
)
@pytest.mark.parametrize("past", [0, 4])
@pytest.mark.parametrize("padding", [None, PADDED])
def test_it_hides_what_the_source_hides(pattern, past, padding):
    sizes = {"batch_size": 2, "q_length": 7 - past, "kv_length": 7, "q_offset": past}
    bools = None if padding is None else padding.bool()
    theirs = masking_utils.eager_mask(**sizes, mask_function=pattern, attention_mask=bools)
    ours = masks.additive(
        masks.DECODER, masking_utils.eager_mask, **sizes, mask_function=pattern, attention_mask=padding
    )
    if ours is None:
        assert bool((theirs == 0).all())
        return
    assert set(ours.unique().tolist()) <= {0.0, masks.DECODER}
    assert torch.equal((ours == 0).expand_as(theirs), theirs == 0)


def test_the_sources_masks_come_back():
    known = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    before = known["eager"]
    with masks.finite(masks.ENCODER) as made:
        assert known["eager"] is not before
        assert made == []
    assert known["eager"] is before


@pytest.mark.parametrize("left", [False, True])
def test_padding_of_examples(left):
    mask = masks.padded((4, 10), 1, left=left, keep=3)
    assert mask[0].all()
    assert (mask.sum(1) >= 3).all()
    assert mask[:, -1 if left else 0].all()
