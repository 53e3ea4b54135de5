"""Chunked scans against the recurrence they stand for, in both directions, and against Mamba-2's reference."""

import pytest
import torch

from edgepack.exporters.architectures.blocks import _ssm as ssm
from edgepack.exporters.architectures.blocks._short_convolution import ShortConvolution


def _inputs(length, groups, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).float()

    return normal(2, length, 4, 3), normal(2, length, 4).abs(), *normal(2, 2, length, groups, 5).unbind(0)


def _one_by_one(x, rate, b, c, state, *, backward):
    outputs = {}
    steps = range(x.shape[1])
    for t in reversed(steps) if backward else steps:
        way_in, way_out = (way[:, t].expand(-1, x.shape[2], -1) for way in (b, c))
        outputs[t], state = ssm.step(x[:, t], rate[:, t], way_in, way_out, state)
    return torch.stack([outputs[t] for t in steps], 1), state


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("length", "groups"), [(1, 1), (4, 4), (9, 1), (22, 4)])
def test_a_chunked_scan_is_the_recurrence(length, groups, backward):
    x, rate, b, c = _inputs(length, groups)
    state = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    expected, last = _one_by_one(x, rate, b, c, state, backward=backward)
    got, reached = ssm.scan(x, rate, b, c, chunk=4, backward=backward, initial=state)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(reached, last, atol=2e-5, rtol=1e-5)
    fresh, _ = _one_by_one(x, rate, b, c, torch.zeros_like(state), backward=backward)
    torch.testing.assert_close(
        ssm.scan(x, rate, b, c, chunk=4, backward=backward)[0], fresh, atol=2e-5, rtol=1e-5
    )


def test_decays_of_any_size_stay_finite():
    x, rate, b, c = _inputs(40, 1)
    for size in (1e-6, 1e4):
        y, last = ssm.scan(x, rate * size, b, c, chunk=8)
        expected, state = _one_by_one(x, rate * size, b, c, torch.zeros(2, 4, 3, 5), backward=False)
        torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(last, state, atol=1e-4, rtol=1e-4)


def test_a_short_convolution_steps_as_it_runs():
    conv = ShortConvolution(6, 4)
    torch.nn.init.normal_(conv.weight)
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(2))
    whole = conv(x)
    history = conv.history(x[:, :2])
    for t in range(2, 9):
        y, history = conv.step(x[:, t], history)
        torch.testing.assert_close(y, whole[:, t])
    torch.testing.assert_close(history, conv.history(x))


@pytest.mark.slow
def test_the_scan_is_mamba_2s():
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    torch.manual_seed(3)
    config = Mamba2Config(
        hidden_size=16, num_heads=4, head_dim=8, state_size=6, n_groups=1, chunk_size=8, num_hidden_layers=1
    )
    theirs = Mamba2Mixer(config, layer_idx=0).eval()
    u = torch.randn(2, 21, 16)
    with torch.no_grad():
        theirs.dt_bias.copy_(torch.randn(4))
        gate, mixed, step = theirs.in_proj(u).split([32, 44, 4], -1)
        conv = ShortConvolution(44, 4)
        conv.weight.copy_(theirs.conv1d.weight.unsqueeze(2))
        conv.bias.copy_(theirs.conv1d.bias)
        x, b, c = torch.nn.functional.silu(conv(mixed)).split([32, 6, 6], -1)
        x = x.unflatten(-1, (4, 8))
        size = torch.nn.functional.softplus(step + theirs.dt_bias)
        y, _ = ssm.scan(
            x * size.unsqueeze(-1), size * theirs.A_log.exp(), b.unsqueeze(2), c.unsqueeze(2), chunk=4
        )
        y = (y + x * theirs.D[:, None]).flatten(2)
        torch.testing.assert_close(theirs.out_proj(theirs.norm(y, gate)), theirs(u), atol=1e-5, rtol=1e-4)
