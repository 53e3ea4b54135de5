"""Row 15: steps against the whole sequence, sizes of the stacks, and the same weights in transformers' T5Gemma."""

import torch
from transformers import T5GemmaConfig, T5GemmaForConditionalGeneration, T5GemmaModuleConfig

from edgepack.exporters.architectures.language import t5gemma
from edgepack.exporters.architectures.language._t5gemma import Network
from tests.exporters.architectures import playing, transplant

TINY = t5gemma.CONFIGS["tiny"]


def test_steps_with_caches_equal_the_whole_sequence():
    difference, calls = playing.worst(t5gemma.build(TINY))
    assert calls == 1 + 38 + 34
    assert difference < 1e-4


def test_the_layers_are_those_of_gemma_to_the_last_parameter():
    with torch.device("meta"):
        net = Network(t5gemma.CONFIGS["9b-2b"])
    sizes = [
        sum(p.numel() for one in part for p in one.parameters())
        for part in ((net.encoder, net.encoder_norm), (net.decoder, net.norm))
    ]
    assert sizes[0] == t5gemma._LAYERS_9B
    assert sizes[1] == t5gemma._LAYERS_2B + t5gemma._CROSS_9B_2B


def test_the_same_weights_give_what_transformers_gives():
    theirs = T5GemmaForConditionalGeneration(
        T5GemmaConfig(
            encoder=_module(TINY.encoder), decoder=_module(TINY.decoder), vocab_size=TINY.vocabulary
        )
    )
    theirs.set_attn_implementation("eager")
    transplant.randomize(theirs)
    ours = Network(TINY).eval()
    encoder, decoder = theirs.model.encoder, theirs.model.decoder
    for table, norm, stack in (
        (ours.source, ours.encoder_norm, encoder),
        (ours.target, ours.norm, decoder),
    ):
        transplant.copy(table.token, stack.embed_tokens)
        _gain(norm, stack.norm)
    for layers, stack in ((ours.encoder, encoder), (ours.decoder, decoder)):
        for one, other in zip(layers, stack.layers, strict=True):
            _copied(one, other)
    ids, target = torch.arange(2, 20).reshape(2, 9), torch.arange(30, 44).reshape(2, 7)
    real = torch.ones_like(ids)
    real[1, 6:] = 0
    with torch.no_grad():
        wanted = theirs(input_ids=ids, attention_mask=real, decoder_input_ids=target).logits
        got = ours.whole(target, ours.encode(ids, real))
    assert wanted.std() > 0.1
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def _module(stack):
    return T5GemmaModuleConfig(
        vocab_size=TINY.vocabulary, hidden_size=stack.width, intermediate_size=stack.hidden,
        num_hidden_layers=stack.layers, num_attention_heads=stack.heads, num_key_value_heads=stack.key_heads,
        head_dim=stack.head_width, query_pre_attn_scalar=stack.head_width, sliding_window=TINY.window,
        max_position_embeddings=TINY.positions,
    )  # fmt: skip


def _copied(one, other):
    names = ["self_attn", "feedforward"]
    residuals = [one.mixing, one.feeding]
    attention = other.self_attn
    transplant.copy(one.attention.qkv, attention.q_proj, attention.k_proj, attention.v_proj)
    transplant.copy(one.attention.out, attention.o_proj)
    if hasattr(other, "cross_attn"):
        names.append("cross_attn")
        residuals.append(one.crossing)
        cross = other.cross_attn
        transplant.copy(one.cross.query, cross.q_proj)
        transplant.copy(one.cross.memory, cross.k_proj, cross.v_proj)
        transplant.copy(one.cross.out, cross.o_proj)
    transplant.copy(one.mlp.gate_up, other.mlp.gate_proj, other.mlp.up_proj)
    transplant.copy(one.mlp.down, other.mlp.down_proj)
    for name, residual in zip(names, residuals, strict=True):
        _gain(residual.norm, getattr(other, f"pre_{name}_layernorm"))
        _gain(residual.after, getattr(other, f"post_{name}_layernorm"))


def _gain(ours, theirs):
    with torch.no_grad():
        ours.gain.copy_(theirs.weight)
