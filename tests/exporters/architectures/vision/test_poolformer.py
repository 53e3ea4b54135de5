"""Row 63: against DeiT-B in numbers, and against the same weights in transformers."""

from typing import Any

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.vision import poolformer as row63
from edgepack.exporters.architectures.vision._poolformer import network


def test_m36_is_a_third_smaller_than_deit_b_and_costs_half():
    one = architectures.get(row63.NAME)
    pool, attention = one.counted("m36"), one.counted("deit-b")
    assert pool.macs is not None
    assert attention.macs is not None
    assert 1 - pool.parameters / attention.parameters == pytest.approx(0.35, abs=0.005)
    assert 1 - pool.macs / attention.macs == pytest.approx(0.50, abs=0.005)


def test_mixers_have_no_parameters():
    net = network(row63.CONFIGS["tiny"])
    assert not [name for name, _ in net.named_parameters() if ".mixer." in name]


@pytest.mark.slow
def test_scores_are_those_of_transformers_with_the_same_weights():
    from transformers import PoolFormerConfig, PoolFormerForImageClassification

    config = row63.CONFIGS["tiny"]
    assert isinstance(config, row63.PoolFormer)
    sizes: dict[str, Any] = {"depths": config.depths, "hidden_sizes": config.widths, "padding": [2, 1, 1, 1]}
    sizes["num_labels"] = config.classes
    other = PoolFormerForImageClassification(PoolFormerConfig(**sizes)).eval()
    net = network(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
    mine, theirs = net.state_dict(), other.state_dict()
    assert len(mine) == len(theirs)
    other.load_state_dict({name: mine[_mine(name)] for name in theirs})
    pixels = torch.randn(2, 3, 64, 96, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(net(pixels), other(pixels).logits, atol=1e-5, rtol=1e-5)


def _mine(name: str) -> str:
    """Our name of a parameter in transformers' network."""
    for theirs, mine in [
        ("poolformer.encoder.patch_embeddings.", "pyramid.shrink."), (".projection.", ".project."),
        ("poolformer.encoder.block.", "pyramid.stages."), ("before_norm", "mixer_norm"),
        ("after_norm", "mlp_norm"), ("output.conv1", "mlp.up"), ("output.conv2", "mlp.down"),
        ("layer_scale_1", "mixer_scale"), ("layer_scale_2", "mlp_scale"), ("classifier.", "head.classify."),
    ]:  # fmt: skip
        name = name.replace(theirs, mine)
    return name.replace("norm.", "head.before.") if name.startswith("norm.") else name
