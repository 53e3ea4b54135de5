"""Row 99: counts, what a token sees and reads, steps, and the same weights in transformers' GPT-NeoX."""

import math

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXModel

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._layers import layers
from edgepack.exporters.architectures.language import block_transformer
from edgepack.exporters.architectures.language._block_transformer import Network
from tests.exporters.architectures import playing, transplant

CONFIGS = block_transformer.CONFIGS
TINY = CONFIGS["tiny"]


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_formula(name):
    assert architectures.get(block_transformer.NAME).counted(name).parameters == CONFIGS[name].parameters


def test_the_authors_names_are_what_the_layers_have():
    millions = {name: CONFIGS[name].in_layers / 1e6 for name in CONFIGS if name != "tiny"}
    named = {name: 1200.0 if name == "1.2b" else float(name[:-1]) for name in millions}
    assert {name: pytest.approx(figure, rel=0.01, abs=0.5) for name, figure in named.items()} == millions


def test_block_by_block_and_token_by_token_equal_the_whole_sequence():
    difference, calls = playing.worst(block_transformer.build(TINY))
    assert calls == (9 + 7) * (1 + 1 + 3)
    assert difference < 2e-5


def test_keys_and_values_that_are_read_are_those_of_the_formula_and_fall():
    model = block_transformer.build(TINY)
    tokens = 48
    sizes = {"batch": 1, "step": 1, "capacity": tokens // TINY.length}
    read = {}
    for name, part in model.parts.items():
        states = [s for s in part.signature.inputs if s.name.rpartition("_")[0].endswith(("key", "value"))]
        read[name] = sum(math.prod(spec.resolve(sizes)) for spec in states)
    assert read["begin"] == 0
    written = (read["block"] + (TINY.length - 1) * read["token"]) / TINY.length
    assert written == TINY.reads(tokens)
    paper = CONFIGS["300m"]
    transformer = 2 * paper.width * (paper.block_layers + paper.token_layers) * 2048
    assert transformer / paper.reads(2048) == pytest.approx(31.1, abs=0.1)
    # Twice as many tokens are almost twice the traffic of the lower layers, and nothing more above.
    grown = paper.reads(4096) - paper.reads(2048)
    assert grown == 2 * paper.width * paper.block_layers * 2048 / 16


def test_a_token_sees_its_own_block_and_of_others_the_context_alone():
    net = transplant.randomize(Network(TINY))
    ids = torch.arange(24).reshape(1, 6, 4) + 2
    with torch.no_grad():
        logits = net.whole(ids)
        changed = ids.clone()
        changed[0, 2, 1] = 50
        moved = (net.whole(changed) != logits).any(-1)[0]
    # Block 2 changes its own next tokens, and every token of all blocks behind it.
    assert moved.tolist() == [[False] * 4, [False, False, True, True], *[[True] * 4] * 3]


def test_the_same_weights_give_what_transformers_gives():
    sizes = {
        "vocab_size": TINY.vocabulary, "hidden_size": TINY.width, "num_attention_heads": TINY.heads,
        "intermediate_size": 4 * TINY.width, "max_position_embeddings": 64, "use_cache": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    }  # fmt: skip
    counts = (TINY.block_layers, TINY.token_layers)
    both = [
        transplant.randomize(GPTNeoXModel(GPTNeoXConfig(num_hidden_layers=n, **sizes)), i)
        for i, n in enumerate(counts)
    ]
    ours = transplant.randomize(Network(TINY), 2)
    transplant.copy(ours.embed, both[1].embed_in)
    for stack, theirs in zip((ours.blocks, ours.tokens), both, strict=True):
        transplant.copy(stack.norm, theirs.final_layer_norm)
        for one, other in zip(layers(stack.layers), theirs.layers, strict=True):
            transplant.copy(one.mixing.norm, other.input_layernorm)
            transplant.copy(one.feeding.norm, other.post_attention_layernorm)
            transplant.copy(one.attention.out, other.attention.dense)
            transplant.copy(one.mlp.get_submodule("up"), other.mlp.dense_h_to_4h)
            transplant.copy(one.mlp.get_submodule("down"), other.mlp.dense_4h_to_h)
            for name, parameter in one.attention.qkv.named_parameters():
                with torch.no_grad():
                    parameter.copy_(_in_order(other.attention.query_key_value.get_parameter(name)))
    ids = torch.randint(0, TINY.vocabulary, (2, 5, 4), generator=torch.Generator().manual_seed(3))
    blocks, tokens = both
    with torch.no_grad():
        context = blocks(inputs_embeds=ours.embedder(ids).reshape(2, 5, -1)).last_hidden_state[:, :-1]
        prefix = torch.nn.functional.linear(context, ours.expand.weight, ours.expand.bias).reshape(8, 2, -1)
        own = tokens.embed_in(ids[:, 1:].reshape(8, 4)[:, :-1])
        states = tokens(inputs_embeds=torch.cat([prefix, own], 1)).last_hidden_state[:, 1:]
        wanted = (states @ ours.head.weight.T).reshape(2, 4, 4, -1)
        got = ours.whole(ids)
    assert wanted.std() > 0.1
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def _in_order(rows):
    """Rows of all queries, keys and values, from those of a head after another."""
    parts = rows.reshape(TINY.heads, 3, -1, *rows.shape[1:]).unbind(1)
    return torch.cat([part.reshape(-1, *rows.shape[1:]) for part in parts])
