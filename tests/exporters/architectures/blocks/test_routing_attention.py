"""Bi-level routing attention against full attention with a mask, and what it costs."""

import pytest
import torch

from edgepack.exporters.architectures._counting import Whole, counted
from edgepack.exporters.architectures.blocks._attention import attend, into_heads
from edgepack.exporters.architectures.blocks._routing_attention import RoutingAttention, regions, whole

_WIDTH, _ACROSS, _HEIGHT, _COLUMNS = 8, 3, 6, 12
_COUNT = _ACROSS**2
_TOKENS = _HEIGHT * _COLUMNS // _COUNT


def _image(seed=1):
    return torch.rand(2, _HEIGHT, _COLUMNS, _WIDTH, generator=torch.Generator().manual_seed(seed))


def test_regions_are_cut_and_put_together():
    x = _image()
    cut = regions(x, _ACROSS)
    assert cut.shape == (2, _COUNT, _TOKENS, _WIDTH)
    # The fifth of nine is the one in the middle.
    torch.testing.assert_close(cut[:, 4], x[:, 2:4, 4:8].flatten(1, 2))
    torch.testing.assert_close(whole(cut, _ACROSS, _HEIGHT, _COLUMNS), x)


@pytest.mark.parametrize("routed", [1, 4, _COUNT])
def test_it_equals_full_attention_masked_to_the_routed_regions(routed):
    torch.manual_seed(0)
    attention = RoutingAttention(_WIDTH, 2, _ACROSS, routed).eval()
    x = _image()
    with torch.no_grad():
        attention.local.weight.zero_()
        attention.local.bias.zero_()
        found = attention(x)
        q, k, v = (regions(part, _ACROSS) for part in attention.qkv(x).chunk(3, -1))
        routes = attention.routes(q, k)
        allowed = torch.zeros(2, _COUNT, _COUNT).scatter(2, routes, 1.0)
        mask = torch.where(allowed > 0, 0.0, -1e9)
        mask = mask.repeat_interleave(_TOKENS, 1).repeat_interleave(_TOKENS, 2)[:, None]
        q, k, v = (into_heads(part.flatten(1, 2), 2) for part in (q, k, v))
        mixed = attend(q, k, v, mask, scale=_WIDTH**-0.5).reshape(2, _COUNT, _TOKENS, _WIDTH)
        wanted = attention.out(whole(mixed, _ACROSS, _HEIGHT, _COLUMNS))
    assert (allowed.sum(-1) == routed).all()
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_only_what_is_routed_is_multiplied():
    def macs(routed):
        size = counted(
            lambda: Whole(
                RoutingAttention(_WIDTH, 2, _ACROSS, routed), (torch.empty(1, _HEIGHT, _COLUMNS, _WIDTH),)
            )
        )
        assert size.macs is not None
        return size.macs

    pixels = _HEIGHT * _COLUMNS
    assert macs(4) - macs(1) == 2 * pixels * 3 * _TOKENS * _WIDTH
    assert macs(_COUNT) - macs(1) == 2 * pixels * (pixels - _TOKENS) * _WIDTH
