"""Row 73: steps against the whole sequence, and the same weights in transformers' BART."""

import torch
from transformers import BartConfig, BartForConditionalGeneration

from edgepack.exporters.architectures.language import bart
from edgepack.exporters.architectures.language._bart import Network
from tests.exporters.architectures import playing, transplant

TINY = bart.CONFIGS["tiny"]


def test_steps_with_caches_equal_the_whole_sequence():
    difference, calls = playing.worst(bart.build(TINY))
    assert calls == 1 + 38 + 34
    assert difference < 2e-5


def test_the_same_weights_give_what_transformers_gives():
    theirs = BartForConditionalGeneration(
        BartConfig(
            vocab_size=TINY.vocabulary, max_position_embeddings=TINY.positions, d_model=TINY.width,
            encoder_layers=TINY.layers, decoder_layers=TINY.layers, encoder_ffn_dim=TINY.hidden,
            decoder_ffn_dim=TINY.hidden, encoder_attention_heads=TINY.heads,
            decoder_attention_heads=TINY.heads, pad_token_id=1,
        )
    )  # fmt: skip
    transplant.randomize(theirs)
    ours = Network(TINY).eval()
    for table, stack in ((ours.source, theirs.model.encoder), (ours.target, theirs.model.decoder)):
        transplant.copy(table.token, theirs.model.shared)
        transplant.copy(table.get_submodule("position"), stack.embed_positions)
        transplant.copy(table.norm, stack.layernorm_embedding)
    for layers, stack in ((ours.encoder, theirs.model.encoder), (ours.decoder, theirs.model.decoder)):
        for one, other in zip(layers, stack.layers, strict=True):
            cross = getattr(other, "encoder_attn", None)
            middle = [other.encoder_attn_layer_norm] if cross else []
            transplant.layer(
                one,
                _four(other.self_attn),
                (other.fc1, other.fc2),
                [other.self_attn_layer_norm, *middle, other.final_layer_norm],
                _four(cross) if cross else None,
            )
    ids, target = torch.arange(2, 20).reshape(2, 9), torch.arange(30, 42).reshape(2, 6)
    real = torch.ones_like(ids)
    real[1, 6:] = 0
    with torch.no_grad():
        wanted = theirs(input_ids=ids, attention_mask=real, decoder_input_ids=target).logits
        got = ours.whole(target, ours.encode(ids, real))
    assert wanted.std() > 0.1
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def _four(attention):
    return attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj
