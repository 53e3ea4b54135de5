"""Row 16: counts, a prefix in both directions, steps, gaps, and the same weights in transformers' CodeGen."""

import pytest
import torch
from transformers import CodeGenConfig, CodeGenForCausalLM

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._layers import layers
from edgepack.exporters.architectures.language import codegen2
from edgepack.exporters.architectures.language._codegen2 import Infill, Network
from tests.exporters.architectures import playing, transplant

TINY = codegen2.CONFIGS["tiny"]


@pytest.mark.parametrize("name", codegen2.CONFIGS)
def test_parameters_are_those_of_the_formula(name):
    assert architectures.get(codegen2.NAME).counted(name).parameters == codegen2.CONFIGS[name].parameters


def test_a_prompt_or_a_gap_and_steps_equal_the_whole_sequence():
    model = codegen2.build(TINY)
    difference, calls = playing.worst(model)
    assert calls == 1 + 33 + 1 + 4 + 1 + 16
    assert difference < 2e-5
    own = [{id(p) for p in part.module.parameters()} for part in model.parts.values()]
    assert own[0] == own[1] == own[2], "one set of weights"


def test_a_prefix_sees_itself_in_both_directions_and_the_suffix_only_back():
    net = transplant.randomize(Network(TINY))
    ids = torch.arange(2, 14)[None]
    slots = torch.arange(16)
    with torch.no_grad():
        for first in (0, 6):
            logits = net.whole(ids, first)
            inside, behind = ids.clone(), ids.clone()
            inside[0, 5], behind[0, 8] = 50, 50
            changed = (net.whole(inside, first) != logits).any(-1)[0]
            assert changed.tolist() == [first == 6] * 5 + [True] * 7
            torch.testing.assert_close(net.whole(behind, first)[0, :8], logits[0, :8])
            # The same graph for both: where the prefix ends is an input, and none ends behind the prompt.
            torch.testing.assert_close(net.read(ids, torch.tensor([first]), slots)[0], logits[:, -1])
        longer = net.read(ids, torch.tensor([16]), slots)[0]
        torch.testing.assert_close(longer, net.whole(ids, 12)[:, -1])


def test_a_gap_is_asked_for_as_the_authors_do_it():
    net = transplant.randomize(Network(TINY))
    before, behind = torch.arange(5, 9)[None], torch.arange(20, 23)[None]
    asked = [*before[0].tolist(), TINY.gap, *behind[0].tolist(), TINY.end, TINY.separator, TINY.gap]
    first, slots = torch.tensor([9]), torch.arange(16)
    with torch.no_grad():
        got = Infill(net)(before, behind, first, slots)
        wanted = net.read(torch.tensor([asked]), first, slots)
    assert all(torch.equal(one, other) for one, other in zip(got, wanted, strict=True))


@pytest.mark.parametrize("first", [0, 7])
def test_the_same_weights_give_what_transformers_gives(first):
    theirs = CodeGenForCausalLM(
        CodeGenConfig(
            vocab_size=TINY.vocabulary, n_positions=TINY.positions, n_ctx=TINY.positions, n_embd=TINY.width,
            n_layer=TINY.layers, n_head=TINY.heads, rotary_dim=TINY.turned, tie_word_embeddings=False,
        )
    )  # fmt: skip
    transplant.randomize(theirs)
    ours = Network(TINY).eval()
    transplant.copy(ours.embed, theirs.transformer.wte)
    transplant.copy(ours.norm, theirs.transformer.ln_f)
    transplant.copy(ours.head, theirs.lm_head)
    for one, other in zip(layers(ours.layers), theirs.transformer.h, strict=True):
        transplant.copy(one.mixing.norm, other.ln_1)
        transplant.copy(one.mlp.up, other.mlp.fc_in)
        transplant.copy(one.mlp.down, other.mlp.fc_out)
        transplant.copy(one.attention.out, other.attn.out_proj)
        with torch.no_grad():
            one.attention.qkv.weight.copy_(_in_order(other.attn.qkv_proj.weight))
    ids = torch.arange(2, 26).reshape(2, 12)
    position = torch.arange(12)
    seen = (position[None, :] <= position[:, None]) | (position[None, :] < first)
    mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None].expand(2, 1, 12, 12)
    with torch.no_grad():
        wanted = theirs(input_ids=ids, attention_mask=mask).logits
        got = ours.whole(ids, first)
        if first == 0:
            torch.testing.assert_close(theirs(input_ids=ids).logits, wanted)
    assert wanted.std() > 0.1
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def _in_order(weight, groups=4):
    """Rows of queries, keys, values, from groups of [queries, values, keys]; of neighbours turned, halves."""
    head, turned = TINY.width // TINY.heads, TINY.turned
    parts = weight.reshape(groups, 3, TINY.heads // groups, head, TINY.width).unbind(1)
    queries, values, keys = (part.reshape(TINY.heads, head, TINY.width) for part in parts)
    order = [*range(0, turned, 2), *range(1, turned, 2), *range(turned, head)]
    return torch.cat([queries[:, order], keys[:, order], values]).reshape(-1, TINY.width)
