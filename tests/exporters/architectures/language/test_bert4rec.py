"""Row 76: padding, what is never recommended, and the same weights in transformers' BERT."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from edgepack.exporters.architectures.language import bert4rec
from edgepack.exporters.architectures.language._bert4rec import Network, histories
from tests.exporters.architectures import transplant

TINY = bert4rec.CONFIGS["tiny"]


@pytest.fixture(scope="module")
def net():
    return transplant.randomize(Network(TINY))


@pytest.fixture(scope="module")
def history():
    return torch.from_numpy(histories((5, TINY.positions), TINY.items))


def test_items_come_best_first_and_padding_and_mask_never(net, history):
    with torch.no_grad():
        net.bias[[0, -1]] = 30.0
        items, scores = net(history)
        every = net.score(history)
        net.bias[[0, -1]] = 0.0
    assert items.min() > 0
    assert items.max() <= TINY.items
    torch.testing.assert_close(every.gather(1, items), scores)
    torch.testing.assert_close(every[:, 1:-1].topk(TINY.best).values, scores)


def test_what_is_padding_has_no_say(net, history):
    assert (history[1] == 0).any()
    with torch.no_grad():
        before = net.score(history)
        net.embed.token.weight[0] += 1.0
        assert torch.equal(before[:, 1:], net.score(history)[:, 1:]) or torch.allclose(
            before[:, 1:], net.score(history)[:, 1:], atol=1e-5
        )
        net.embed.token.weight[0] -= 1.0


def test_the_same_weights_give_what_transformers_gives(net, history):
    theirs = BertForMaskedLM(
        BertConfig(
            vocab_size=TINY.vocabulary, hidden_size=TINY.width, num_hidden_layers=TINY.layers,
            num_attention_heads=TINY.heads, intermediate_size=4 * TINY.width,
            max_position_embeddings=TINY.positions, type_vocab_size=1,
        )
    )  # fmt: skip
    transplant.randomize(theirs, 1)
    bert, head = theirs.bert, theirs.cls.predictions
    transplant.copy(net.embed.token, bert.embeddings.word_embeddings)
    transplant.copy(net.embed.position, bert.embeddings.position_embeddings)
    transplant.copy(net.embed.norm, bert.embeddings.LayerNorm)
    transplant.copy(net.transform, head.transform.dense)
    transplant.copy(net.transform_norm, head.transform.LayerNorm)
    transplant.bert_layers(net.layers, bert.encoder.layer)
    with torch.no_grad():
        bert.embeddings.token_type_embeddings.weight.zero_()
        net.bias.copy_(head.bias)
        wanted = theirs(input_ids=history, attention_mask=(history != 0).long()).logits[:, -1]
        got = net.score(history)
    assert wanted.std() > 0.1
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
