"""Attention, masks and layers: each against what its formula says, written another way."""

import pytest
import torch

from edgepack.exporters.architectures.blocks import _alibi, _masks
from edgepack.exporters.architectures.blocks._attention import CrossAttention, SelfAttention, attend
from edgepack.exporters.architectures.blocks._embeddings import Embeddings
from edgepack.exporters.architectures.blocks._layers import Layer, Residual
from edgepack.exporters.architectures.blocks._mlp import MLP, GatedMLP, gelu_tanh
from edgepack.exporters.architectures.blocks._norm import RMSNorm
from edgepack.exporters.architectures.blocks._rotary import rotation


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_the_positions_that_masks_show():
    def shown(mask):
        return (mask == 0).int().tolist()

    assert shown(_masks.causal(3)) == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert shown(_masks.prefix(4, 2)) == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert shown(_masks.window(4, 2)) == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert shown(_masks.seen(torch.tensor([1, 3]), torch.arange(5))) == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert shown(_masks.seen(torch.tensor([3]), torch.arange(5), 2)) == [[0, 0, 1, 1, 0]]
    assert shown(_masks.padding(torch.tensor([[1, 1, 0]]))) == [[[[1, 1, 0]]]]
    assert shown(_masks.same(torch.tensor([[1, 1, 2]]))) == [[[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]]


@pytest.mark.parametrize("shape", [(5, 7), (2, 1, 5, 7), (2, 1, 1, 7), (6, 5, 7)])
def test_grouped_heads_are_repeated_heads(shape):
    q, k, v = torch.randn(2, 6, 5, 4), torch.randn(2, 2, 7, 4), torch.randn(2, 2, 7, 4)
    mask = torch.randn(shape)
    got = attend(q, k, v, mask)
    keys, values = (each.repeat_interleave(3, 1) for each in (k, v))
    wanted = torch.nn.functional.scaled_dot_product_attention(q, keys, values, mask)
    torch.testing.assert_close(got, wanted.transpose(1, 2).flatten(2))


def test_scores_are_scaled_and_bounded():
    q, k, v = torch.randn(1, 1, 3, 4) * 9, torch.randn(1, 1, 5, 4), torch.randn(1, 1, 5, 4)
    got = attend(q, k, v, scale=0.3, cap=2.0)
    weights = (2 * torch.tanh(0.3 * q @ k.mT / 2)).softmax(-1)
    torch.testing.assert_close(got, (weights @ v)[:, 0])


def test_slopes_of_heads_that_are_no_power_of_two():
    assert _alibi.slopes(8) == [2.0**-h for h in range(1, 9)]
    twelve = _alibi.slopes(12)
    assert twelve[:8] == _alibi.slopes(8)
    assert twelve[8:] == pytest.approx([2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])
    bias = _alibi.alibi(torch.arange(2), torch.arange(3), 8)
    assert bias[0].tolist() == [[0, -0.5, -1.0], [-0.5, 0, -0.5]]


def test_a_cache_gives_what_the_whole_sequence_gives():
    attention = SelfAttention(12, 4, key_heads=2, head_width=6, bias=True, cap=5.0)
    x = torch.randn(2, 5, 12)
    slots = torch.arange(5)
    whole = attention(x, rotation(slots, 6), _masks.seen(slots, slots, 3))
    cache = (torch.zeros(2, 2, 5, 6), torch.zeros(2, 2, 5, 6))
    for t in range(5):
        at = torch.tensor([t])
        place = attention.place(2, at, slots, rotation(at, 6), 3)
        got, cache = attention.cached(x[:, t : t + 1], place, cache)
        torch.testing.assert_close(got, whole[:, t : t + 1])


@pytest.mark.parametrize("order", ["pre", "post", "sandwich"])
def test_where_norms_stand(order):
    x = torch.randn(2, 3, 8)
    residual = Residual(8, torch.nn.LayerNorm, order)
    made = residual.leave(x, residual.enter(x) * 2)
    norm = torch.nn.LayerNorm(8)
    wanted = {"pre": x + 2 * norm(x), "post": norm(3 * x), "sandwich": x + norm(2 * norm(x))}
    torch.testing.assert_close(made, wanted[order])


def test_a_layer_with_a_memory_and_padding_in_it():
    cross = CrossAttention(8, 2, memory_width=6, bias=True)
    layer = Layer(8, SelfAttention(8, 2), MLP(8, 16), torch.nn.LayerNorm, "post", cross)
    x, encoded = torch.randn(2, 3, 8), torch.randn(2, 5, 6)
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    got = layer(x, memory=cross.keys_values(encoded), memory_mask=_masks.padding(real))
    short = layer(x[1:], memory=cross.keys_values(encoded[1:, :3]))
    torch.testing.assert_close(got[1:], short)


def test_gates_and_gains():
    x = torch.randn(2, 8)
    gated = GatedMLP(8, 12, gelu_tanh, down_bias=True)
    gate, up = gated.gate_up(x).split(12, -1)
    torch.testing.assert_close(gated(x), gated.down(torch.nn.functional.gelu(gate, approximate="tanh") * up))
    assert "gate_up.bias" not in dict(gated.named_parameters())
    torch.testing.assert_close(
        RMSNorm(8, around_one=True)(x), torch.nn.functional.rms_norm(x, (8,), eps=1e-5)
    )


def test_tables_of_tokens_positions_and_segments():
    table = Embeddings(11, 4, positions=9, segments=2, norm=False, first=2, scale=2.0)
    ids, segments = torch.tensor([[3, 5]]), torch.tensor([[0, 1]])
    position, segment = table.get_submodule("position"), table.get_submodule("segment")
    wanted = 2 * table.token(ids) + position(torch.tensor([2, 3])) + segment(segments)
    torch.testing.assert_close(table(ids, segments=segments), wanted)
    first = 2 * table.token(ids[:, :1]) + position(torch.tensor([6])) + segment(segments[:, :1])
    torch.testing.assert_close(table(ids[:, :1], torch.tensor([4])), first)
