"""Every registered architecture: a whole card, the published sizes, and importing them all costs no torch."""

import subprocess
import sys

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.cards import TOLERANCE
from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.exporters.sources.zoo import ZooSource
from edgepack.toolchain.errors import UnknownNameError, UsageError

SIZES = [(name, size) for name, one in architectures.items() for size in one.card.published]


@pytest.mark.parametrize("name", architectures.names())
def test_a_card_says_what_is_to_be_known(name):
    one = architectures.get(name)
    card = one.card
    assert card.name == name
    assert card.system
    assert card.paper
    assert card.says
    assert card.parts
    assert card.checks
    assert card.structure
    assert card.compared
    assert bool(card.published) != bool(card.unpublished), "sizes, or why there are none"
    assert one.tiny in one.configs
    assert all(size.config in one.configs for size in card.published)


@pytest.mark.parametrize(("name", "size"), SIZES, ids=[f"{name}-{size.config}" for name, size in SIZES])
def test_published_sizes_are_counted(name, size):
    counted = architectures.get(name).counted(size.config)
    assert size.parameters is not None or size.macs is not None
    if size.parameters is not None:
        assert counted.parameters == pytest.approx(size.parameters, rel=TOLERANCE)
    if size.macs is not None:
        assert counted.macs == pytest.approx(size.macs, rel=TOLERANCE)


def test_the_registry_does_not_import_torch():
    code = (
        "import sys; from edgepack.exporters.architectures.base import architectures; architectures.names(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", architectures.names())
def test_the_zoo_opens_it(name):
    source = open_source(SourceRequest(f"zoo:{name}"))
    assert isinstance(source, ZooSource)
    source.check()
    first = next(iter(architectures.get(name).configs))
    assert source.chosen()[1] == first
    prints = {
        ZooSource(SourceRequest(f"zoo:{name}/{config}")).fingerprint()
        for config in architectures.get(name).configs
    }
    assert len(prints) == len(architectures.get(name).configs)
    assert source.fingerprint() in prints


def test_the_zoo_builds_a_model_with_its_facts():
    name = "zoo:return-of-the-encoder/decoder-only-tiny"
    model = open_source(SourceRequest(name)).open_torch()
    assert model.facts.location == name
    counted = architectures.get("return-of-the-encoder").counted("decoder-only-tiny")
    assert model.facts.parameters == counted.parameters
    assert counted.macs is None, "no forward pass of one network stands for both parts"


def test_a_model_has_the_same_weights_whatever_torch_drew_before():
    """AsCAN leaves its biases to torch, which draws them from the process's generator."""

    def opened(seed):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        model = open_source(SourceRequest("zoo:ascan/tiny")).open_torch()
        assert torch.equal(torch.get_rng_state(), before), "the caller's generator is as it was"
        return {
            f"{part}.{name}": value
            for part, one in model.parts.items()
            for name, value in one.module.state_dict().items()
        }

    one, other = opened(1), opened(2)
    assert any(name.endswith("bias") for name in one)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_what_is_wrong_is_said():
    with pytest.raises(UnknownNameError, match="Unknown architecture 'nothing'"):
        ZooSource(SourceRequest("zoo:nothing")).check()
    with pytest.raises(UnknownNameError, match="Unknown configuration 'huge'"):
        ZooSource(SourceRequest("zoo:return-of-the-encoder/huge")).check()
    with pytest.raises(UsageError, match="knows its inputs"):
        ZooSource(SourceRequest("zoo:return-of-the-encoder", inputs=("ids:int64[1,4]",))).check()
