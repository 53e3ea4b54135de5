"""Row 64: candidates together against candidates alone, what it costs, and the same weights in transformers' BERT."""

import pytest
import torch
from transformers import BertConfig, BertModel

from edgepack.exporters.architectures._counting import Whole, counted
from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.language import uni_encoder
from edgepack.exporters.architectures.language._uni_encoder import Network, shorter
from tests.exporters.architectures import transplant

TINY, APART = uni_encoder.CONFIGS["tiny"], uni_encoder.CONFIGS["tiny-apart"]


@pytest.fixture(scope="module")
def given():
    generator = torch.Generator().manual_seed(0)
    context, answers = (torch.randint(0, 61, shape, generator=generator) for shape in ((2, 12), (2, 3, 4)))
    return context, torch.from_numpy(shorter((2, 12))), answers, torch.from_numpy(shorter((2, 3, 4)))


def _alone(net, given):
    context, context_real, answers, answers_real = given
    each = [net(context, context_real, answers[:, i : i + 1], answers_real[:, i : i + 1]) for i in range(3)]
    return torch.cat(each, 1)


def test_apart_every_candidate_has_the_score_that_it_has_alone(given):
    net = transplant.randomize(Network(APART))
    with torch.no_grad():
        together, alone = net(*given), _alone(net, given)
    assert alone.std() > 1e-3
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_in_an_arrow_the_context_sees_the_candidates(given):
    net = transplant.randomize(Network(TINY))
    with torch.no_grad():
        assert (net(*given) - _alone(net, given)).abs().max() > 1e-4


@pytest.mark.parametrize("config", [TINY, APART])
def test_the_order_of_candidates_does_not_matter(config, given):
    net = transplant.randomize(Network(config))
    context, context_real, answers, answers_real = given
    order = [2, 0, 1]
    with torch.no_grad():
        moved = net(context, context_real, answers[:, order], answers_real[:, order])
        torch.testing.assert_close(moved, net(*given)[:, order])


def test_the_context_is_paid_for_once():
    config = uni_encoder.CONFIGS["base"]

    def alone():
        context = torch.zeros((config.candidates, config.context), dtype=torch.int64)
        answer = torch.zeros((config.candidates, 1, config.answer), dtype=torch.int64)
        return Whole(Network(config), (context, context, answer, answer))

    together = architectures.get("uni-encoder").counted("base").macs
    each = counted(alone).macs
    assert together is not None
    assert each is not None
    tokens = (
        config.candidates
        * (config.context + config.answer)
        / (config.context + config.candidates * config.answer)
    )
    assert tokens > 4
    assert each / together == pytest.approx(tokens, rel=0.06), "attention over all is a small part"


def test_the_same_weights_give_what_transformers_gives_under_the_authors_mask(given):
    theirs = BertModel(
        BertConfig(
            vocab_size=TINY.vocabulary, hidden_size=TINY.width, num_hidden_layers=TINY.layers,
            num_attention_heads=TINY.heads, intermediate_size=TINY.hidden,
            max_position_embeddings=TINY.positions,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    theirs.set_attn_implementation("eager")
    transplant.randomize(theirs)
    ours = transplant.randomize(Network(TINY), 1)
    transplant.roberta_table(ours.embed, theirs.embeddings)
    transplant.bert_layers(ours.layers, theirs.encoder.layer)
    context, _, answers, _ = given
    row = torch.cat([context, answers.flatten(1)], 1)
    seen = torch.zeros(24, 24, dtype=torch.bool)
    seen[:12], seen[:, :12] = True, True
    for begin in (12, 16, 20):
        seen[begin : begin + 4, begin : begin + 4] = True
    positions = torch.cat([torch.arange(12), *[torch.arange(12, 16)] * 3])[None].expand(2, -1)
    types = (torch.arange(24) >= 12).long()[None].expand(2, -1)
    added = torch.where(seen, 0.0, torch.finfo(torch.float32).min).expand(2, 1, 24, 24)
    with torch.no_grad():
        vectors = theirs(row, attention_mask=added, position_ids=positions, token_type_ids=types)[0]
        wanted = ours.score(vectors[:, 12:].reshape(2, 3, 4, -1).mean(2))[..., 0]
        got = ours(context, torch.ones_like(context), answers, torch.ones_like(answers))
    assert wanted.std() > 1e-3
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
