"""Row 12: three modes of one set of weights, and the same in transformers' RoBERTa under the authors' masks."""

import pytest
import torch
from transformers import RobertaConfig, RobertaModel

from edgepack.exporters.architectures.blocks._masks import padding
from edgepack.exporters.architectures.language import unixcoder
from edgepack.exporters.architectures.language._unixcoder import Encoder, Network
from tests.exporters.architectures import playing, transplant

TINY = unixcoder.CONFIGS["tiny"]


def test_a_context_and_steps_equal_the_whole_sequence_and_so_does_a_decoder_alone():
    model = unixcoder.build(TINY)
    difference, calls = playing.worst(model)
    assert calls == 1 + 16 + 38 + 34
    assert difference < 2e-5
    own = [{id(p) for p in part.module.parameters()} for part in model.parts.values()]
    assert own[0] == own[1] == own[2], "one set of weights"


def test_the_mode_is_in_the_mask():
    net = transplant.randomize(Network(TINY))
    ids = torch.arange(2, 14)[None]
    with torch.no_grad():
        causal, half = net.whole(ids), net.whole(ids, 6)
        changed = ids.clone()
        changed[0, 5] = 50
        for source, seen in ((0, False), (6, True)):
            other = net.whole(changed, source)
            assert bool((other[0, 0] != (half if source else causal)[0, 0]).any()) == seen
        changed = ids.clone()
        changed[0, 8] = 50
        torch.testing.assert_close(net.whole(changed, 6)[0, :8], half[0, :8])


@pytest.mark.parametrize("mode", ["encoder", "context", "decoder"])
def test_the_same_weights_give_what_transformers_gives(mode):
    theirs = RobertaModel(
        RobertaConfig(
            vocab_size=TINY.vocabulary, hidden_size=TINY.width, num_hidden_layers=TINY.layers,
            num_attention_heads=TINY.heads, intermediate_size=TINY.hidden, layer_norm_eps=1e-5,
            max_position_embeddings=TINY.positions + 2, type_vocab_size=TINY.segments, pad_token_id=1,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    theirs.set_attn_implementation("eager")
    transplant.randomize(theirs)
    ours = Network(TINY).eval()
    transplant.roberta_table(ours.embed, theirs.embeddings)
    transplant.bert_layers(ours.layers, theirs.encoder.layer)
    ids = torch.arange(2, 26).reshape(2, 12)
    if mode == "encoder":
        ids[1, 7:] = 1
    real = (ids != 1).long()
    position = torch.arange(12)
    causal = position[None, :] <= position[:, None]
    mask = {
        "encoder": real[:, None, :] * real[:, :, None] > 0,
        "context": (causal | (position[None, :] < 5))[None].expand(2, -1, -1),
        "decoder": causal[None].expand(2, -1, -1),
    }[mode]
    added = torch.where(mask, 0.0, torch.finfo(torch.float32).min)[:, None]
    with torch.no_grad():
        wanted = theirs(input_ids=ids, attention_mask=added).last_hidden_state
        if mode == "encoder":
            got, whole = Encoder(ours)(ids, real)
            keep = real[..., None]
            torch.testing.assert_close(got * keep, wanted * keep, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(whole, (wanted * keep).sum(1) / keep.sum(1), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(ours.vectors(ids, padding(real)), got)
        else:
            got = ours.whole(ids, 5 if mode == "context" else 0)
            logits = wanted @ theirs.embeddings.word_embeddings.weight.T
            torch.testing.assert_close(got, logits, atol=1e-4, rtol=1e-4)
