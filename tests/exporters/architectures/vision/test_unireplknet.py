"""Row 30: merging changes no output and leaves one convolution for every sum of branches."""

from dataclasses import replace

import pytest
import torch

from edgepack.exporters._worker import export_model
from edgepack.exporters.architectures.blocks._reparameterization import BRANCHES, DilatedBranches
from edgepack.exporters.architectures.blocks._statistics import give_statistics
from edgepack.exporters.architectures.vision import unireplknet as row30
from edgepack.exporters.architectures.vision._unireplknet import UniRepLKNetwork
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.program import Program


@pytest.mark.parametrize("kernel", BRANCHES)
def test_branches_are_one_convolution(kernel):
    block = DilatedBranches(3, kernel).eval()
    give_statistics(block, kernel)
    x = torch.randn(2, 3, 20, 21)
    with torch.no_grad():
        merged = block.merged()
        assert merged.kernel_size == (kernel, kernel)
        torch.testing.assert_close(merged(x), block(x), atol=1e-5, rtol=1e-5)
        # What a branch has beyond its last tap would be lost without a word.
        assert all(dilation * (taps - 1) + 1 <= kernel for taps, dilation in BRANCHES[kernel])


@pytest.mark.parametrize("name", ["tiny", "tiny-audio", "tiny-series"])
def test_the_merged_network_has_the_same_outputs(name):
    config = row30.CONFIGS[name]
    net = UniRepLKNetwork(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    shape = {"image": (3, 64, 64), "audio": (64, 32), "series": (48, 3)}[config.kind]
    x = torch.randn(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(net.merged()(x), net(x), atol=2e-5, rtol=1e-4)


def test_a_forecast_has_a_value_for_every_variable_and_step():
    config = row30.CONFIGS["tiny-series"]
    with torch.no_grad():
        assert UniRepLKNetwork(config).eval()(torch.randn(2, 48, 3)).shape == (2, config.horizon, 3)


@pytest.mark.slow
def test_the_merged_graph_has_fewer_nodes(tmp_path):
    nodes = {}
    for name in ("tiny", "tiny-branches"):
        config = replace(row30.CONFIGS[name], depths=(1, 1), widths=(16, 16), kernels=((3,), (7,)))
        folder = tmp_path / name
        folder.mkdir()
        export_model(row30.build(config), folder)
        (part,) = Program.load(folder)
        graph = part.model()
        clean_up(graph)
        nodes[name] = [node.op_type for node in graph.graph]
    assert len(nodes["tiny"]) < len(nodes["tiny-branches"])
    # The clean-up folds norms by itself; the branches beside the large kernel are what merging removes.
    assert nodes["tiny"].count("Conv") == nodes["tiny-branches"].count("Conv") - len(BRANCHES[7])
