"""Row 21: what intermediate CTC says reaches the end, one head serves all of them, and the prompt is read."""

import pytest
import torch

from edgepack.exporters.architectures.speech import owsm_ctc as row21
from edgepack.exporters.architectures.speech._owsm_ctc import Network

TINY = row21.CONFIGS["tiny"]


@pytest.fixture
def net():
    return Network(TINY).eval()


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    mels = torch.randn(2, 71, TINY.mels, generator=generator)
    tokens = torch.randint(0, TINY.vocabulary, (2, 7), generator=generator)
    return mels, tokens[:, :2], tokens[:, 2:]


def test_frames_are_an_eighth_and_two_tokens_stand_before_them(net, inputs):
    with torch.no_grad():
        assert net(*inputs).shape == (2, 2 + 8, TINY.vocabulary)


def test_what_is_read_on_the_way_is_fed_back_through_the_one_head(net, inputs):
    asked = []
    net.ctc.register_forward_hook(lambda *_: asked.append(1))
    with torch.no_grad():
        scores = net(*inputs)
        assert len(asked) == len(TINY.conditioned) + 1
        net.condition.weight.zero_()
        assert (scores - net(*inputs)).abs().max() > 1e-2


def test_language_task_and_prompt_change_what_is_said(net, inputs):
    mels, wanted, prompt = inputs
    with torch.no_grad():
        scores = net(mels, wanted, prompt)
        assert (scores - net(mels, (wanted + 1) % TINY.vocabulary, prompt)).abs().max() > 1e-3
        assert (scores - net(mels, wanted, (prompt + 1) % TINY.vocabulary)).abs().max() > 1e-3
        # More prompt is more memory, and nothing else.
        assert net(mels, wanted, prompt[:, :1]).shape == scores.shape


def test_the_prompt_is_read_by_every_third_layer_of_the_published_size():
    config = row21.CONFIGS["1b"]
    with torch.device("meta"):
        crossed = [index for index, layer in enumerate(Network(config).layers, 1) if hasattr(layer, "cross")]
    assert crossed == list(range(3, config.layers + 1, 3))
    assert set(config.conditioned) <= set(crossed)
