"""Row 08: the two halves of a layer as the paper writes them, sizes, and causal steps."""

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.language import crate
from edgepack.exporters.architectures.language._crate import Compression, ImageNetwork, Sparsification
from tests.exporters.architectures import playing, transplant

TINY = crate.CONFIGS["tiny"]


def test_causal_steps_equal_the_whole_sequence_with_one_cache_a_layer():
    config = crate.CONFIGS["causal-tiny"]
    model = crate.build(config)
    difference, calls = playing.worst(model)
    assert calls == 38 + 34
    assert difference < 2e-5
    assert len(model.links) == config.layers


def test_a_compression_step_projects_once():
    step = transplant.randomize(Compression(8, 2))
    z = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    heads = []
    for u in step.subspaces.weight.chunk(2):  # [4, 8]
        w = z @ u.T
        heads.append((w @ w.mT / 2).softmax(-1) @ w)
    wanted = torch.cat(heads, -1) @ step.out.weight.T + step.out.bias
    torch.testing.assert_close(step(z), wanted)


def test_a_sparsification_step_is_a_proximal_gradient_step():
    step = transplant.randomize(Sparsification(8))
    y = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    code = y.clone().requires_grad_()
    (0.5 * (y - code @ step.dictionary.T).square().sum()).backward()
    assert code.grad is not None
    wanted = (y - 0.1 * (code.grad + 0.1)).clamp(min=0)
    torch.testing.assert_close(step(y), wanted)


def test_layers_are_a_third_of_a_transformers_and_the_forms_share_them():
    width = TINY.width
    net = ImageNetwork(TINY)
    layer = sum(p.numel() for p in net.layers[0].parameters())
    assert layer == 3 * width**2 + 5 * width
    assert architectures.get("crate").counted("causal-tiny").parameters == (61 + 40) * width + 2 * layer


@pytest.mark.parametrize("batch", [1, 3])
def test_an_image_s_scores_do_not_depend_on_its_batch(batch):
    net = transplant.randomize(ImageNetwork(TINY))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(net(images)[:batch], net(images[:batch]))
