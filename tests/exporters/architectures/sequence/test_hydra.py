"""Row 79: the mixer against its matrix, its cost, and what it sees."""

import itertools

import torch

from edgepack.exporters.architectures._counting import Whole, counted
from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.sequence import hydra as row79
from edgepack.exporters.architectures.sequence._hydra import Mixer, Network

TINY = row79.CONFIGS["tiny"]


def _mixer():
    return Network(TINY).mixers[0].eval()


def _by_its_matrix(mixer, u):
    """One batch entry through the quasiseparable matrix of every head, entry by entry."""
    length = u.shape[1]
    gate, mixed, steps = mixer.project(u).split(mixer.parts, -1)
    mixed = torch.nn.functional.silu(mixer.near(mixed))[0]
    x, ways = mixed.split([TINY.inner, 4 * TINY.states], -1)
    ways = ways.chunk(4, -1)
    y = torch.zeros(length, TINY.heads, TINY.head_width)
    heads = x.unflatten(-1, (TINY.heads, -1))
    for h in range(TINY.heads):
        matrix = torch.diag(mixer.diagonal(x)[:, h])
        for way, (b, c) in enumerate([ways[:2], ways[2:]]):
            size = torch.nn.functional.softplus(steps[0, :, way * TINY.heads + h] + mixer.step_bias[h])
            rate = size * mixer.log_rate[h].exp()
            for i in range(length):
                for j in range(i) if way == 0 else range(i + 1, length):
                    at = i - 1 if way == 0 else i + 1
                    between = rate[j + 1 : at + 1] if way == 0 else rate[at:j]
                    matrix[i, j] += torch.exp(-between.sum()) * (c[at] @ b[j]) * size[j]
        y[:, h] = matrix @ heads[:, h]
    y = mixer.norm(y.flatten(1)) * torch.nn.functional.silu(gate[0])
    return mixer.out(y)


def test_the_mixer_is_its_quasiseparable_matrix():
    mixer = _mixer()
    u = torch.randn(2, 11, TINY.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mixer.log_rate.copy_(torch.tensor([0.5, 1.5, 2.5, 3.5]))  # decays that are seen in a short sequence
        got = mixer(u)
        for entry in range(2):
            torch.testing.assert_close(
                got[entry], _by_its_matrix(mixer, u[entry : entry + 1]), atol=2e-5, rtol=1e-4
            )


def test_every_position_sees_every_other():
    mixer = _mixer()
    u = torch.randn(1, 9, TINY.width, generator=torch.Generator().manual_seed(1))
    seen = torch.autograd.functional.jacobian(lambda v: mixer(v)[0].sum(-1), u)[:, 0].abs().sum(-1)
    assert (seen > 0).all()


def test_parameters_are_those_of_the_formula():
    for name, config in row79.CONFIGS.items():
        assert architectures.get(row79.NAME).counted(name).parameters == config.parameters


def test_the_cost_is_linear_in_length():
    config = row79.CONFIGS["base"]

    def macs(length):
        return counted(lambda: Whole(Mixer(config), (torch.zeros(1, length, config.width),))).macs

    counts = [macs(length) for length in (256, 512, 1024, 2048)]
    # Attention alone would come to 4; the products between chunks are all that is not linear.
    assert all(1.98 < after / before < 2.05 for before, after in itertools.pairwise(counts))
