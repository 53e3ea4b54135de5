"""Row 35: steps against the whole sequence, what does not grow, and what a carved layer keeps."""

from dataclasses import replace

import pytest
import torch

from edgepack.exporters.architectures.sequence import mmmamba as row35
from edgepack.exporters.architectures.sequence._mmmamba import Attention, Carved, state_shapes
from edgepack.exporters.architectures.sequence._mmmamba_image import ImageEmbedding, placed
from tests.exporters.architectures import playing
from tests.exporters.architectures.sequence.decoders import steps_equal_the_whole


@pytest.mark.parametrize("name", ["linear-tiny", "tiny"])
def test_steps_after_a_prompt_equal_the_whole_sequence(name):
    steps_equal_the_whole(row35.build(row35.CONFIGS[name]))


def test_what_grows_are_the_hybrids_caches_only():
    for name, grow in (("linear", 0), ("hybrid", 2 * 8), ("transformer", 2 * 32)):
        config = row35.CONFIGS[name]
        before, after = state_shapes(config), state_shapes(replace(config, positions=2 * config.positions))
        assert sum(before[state] != after[state] for state in before) == grow


def test_a_carved_layer_keeps_the_attentions_matrices():
    config = row35.CONFIGS["tiny"]
    was, now = Attention(config).state_dict(), Carved(config).state_dict()
    assert {name: weight.shape for name, weight in was.items()}.items() <= {
        n: w.shape for n, w in now.items()
    }.items()
    assert now.keys() - was.keys() >= {"size.weight", "log_rate", "gate.weight", "norm.gain"}


def test_an_image_a_prompt_and_steps_equal_the_whole_sequence():
    difference, calls = playing.worst(row35.build(row35.CONFIGS["image-tiny"]))
    assert calls == 1 + 1 + 33
    assert difference < 2e-5


def test_vectors_of_an_image_stand_where_the_markers_were():
    x, vectors = torch.randn(2, 6, 3), torch.randn(2, 4, 3)
    marked = torch.tensor([[0, 1, 1, 0, 1, 1], [1, 0, 0, 0, 0, 1]], dtype=torch.float32)
    got = placed(x, marked, vectors)
    for row in range(2):
        at = marked[row] > 0
        torch.testing.assert_close(got[row][at], vectors[row][: int(at.sum())])
        assert torch.equal(got[row][~at], x[row][~at])


def test_a_square_of_patches_is_one_vector():
    """Against the patches' vectors side by side and a matrix, as HoVLE has it."""
    config = row35.CONFIGS["image-tiny"]
    embedding = ImageEmbedding(config).eval()
    pixels = torch.randn(2, 3, config.image, config.image, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding.positions.normal_()
        patches = embedding.patches(pixels) + embedding.positions
        squares = [patches[:, :, a::2, b::2].flatten(2).transpose(1, 2) for a in (0, 1) for b in (0, 1)]
        first = embedding.square.weight.permute(0, 2, 3, 1).flatten(1)
        hidden = torch.nn.functional.linear(torch.cat(squares, -1), first, embedding.square.bias)
        wanted = torch.nn.functional.linear(
            torch.nn.functional.gelu(hidden), embedding.out.weight[:, :, 0, 0], embedding.out.bias
        )
        torch.testing.assert_close(embedding(pixels), wanted, atol=1e-5, rtol=1e-4)
    assert wanted.shape[1] == config.squares
