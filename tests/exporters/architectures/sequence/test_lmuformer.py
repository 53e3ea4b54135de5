"""Row 27: steps against the whole sequence in torch, the memory's two forms, and what a frame costs."""

import numpy as np
import pytest
import torch

from edgepack.exporters.architectures._counting import Whole, counted
from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._legendre import LegendreMemory, system
from edgepack.exporters.architectures.blocks._spiking import Neurons
from edgepack.exporters.architectures.sequence import lmuformer as row27
from edgepack.exporters.architectures.sequence._lmuformer import Network, Step, state_shapes
from edgepack.exporters.architectures.sequence._lmuformer_spiking import SpikingNetwork
from tests.exporters.architectures import playing

TINY = row27.CONFIGS["tiny"]


def test_steps_equal_the_whole_sequence_from_the_first_frame_to_the_last():
    net = Network(TINY).eval()
    states = [torch.zeros(1, *map(int, shape.split(","))) for shape in state_shapes(TINY).values()]
    step, whole = Step(net).eval(), None
    with torch.no_grad():
        for call in row27.rollout(net):
            if call.part == "main":
                whole = call.outputs["scores"]
                continue
            got, *states = step(*(torch.from_numpy(value) for value in call.inputs.values()), *states)
            np.testing.assert_allclose(got.numpy(), call.outputs["scores"], atol=2e-6)
    np.testing.assert_allclose(got.numpy(), whole, atol=2e-6)


def test_a_memory_remembers_its_window():
    order, window = 12, 40
    a, b = system(order, window)
    state = torch.zeros(order, dtype=torch.float64)
    signal = torch.sin(torch.arange(120, dtype=torch.float64) / 30)
    for value in signal:
        state = a @ state + b * value
    # P_i(2 s - 1) of the shifted Legendre polynomials, at the oldest moment s = 1: all of them are 1.
    assert float(state.sum()) == pytest.approx(float(signal[-window]), abs=0.03)


def test_the_memorys_convolution_is_its_recurrence():
    memory = LegendreMemory(16, 24)
    u = torch.rand(2, 1, 1, 24, generator=torch.Generator().manual_seed(0))
    whole, state = memory(u), torch.zeros(2, 16, 1, 1)
    for t in range(24):
        state = memory.step(u[..., t : t + 1], state)
        torch.testing.assert_close(whole[..., t : t + 1], state, atol=1e-5, rtol=1e-5)


def test_a_step_costs_one_frame_of_the_window():
    config = row27.CONFIGS["speech-commands"]
    whole = architectures.get(row27.NAME).counted("speech-commands").macs

    def step():
        states = (torch.zeros(1, *map(int, shape.split(","))) for shape in state_shapes(config).values())
        return Whole(Step(Network(config)), (torch.zeros(1, config.bands), torch.ones(1, 1), *states))

    one = counted(step).macs
    assert whole is not None
    assert one is not None
    # A window that is computed again for every frame would cost all of it.
    assert one < 1.05 * whole / config.positions


def test_the_spiking_forms_steps_equal_its_whole_sequence():
    difference, calls = playing.worst(row27.build(row27.CONFIGS["spiking-tiny"]))
    assert calls == 41 + row27.CONFIGS["spiking-tiny"].delay
    assert difference < 2e-6


def test_neurons_fire_and_rest_in_every_layer():
    net = SpikingNetwork(row27.CONFIGS["spiking-tiny"]).eval()
    rates = []
    hooks = [
        one.register_forward_hook(lambda _module, _inputs, spikes: rates.append(spikes))
        for one in net.modules()
        if isinstance(one, Neurons)
    ]
    with torch.no_grad():
        net(torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0)))
    assert len(rates) == len(hooks) == 2 + 6 + 1
    for spikes in rates:
        assert set(spikes.unique().tolist()) == {0.0, 1.0}


def test_a_neuron_leaks_integrates_and_fires():
    # By hand: 0.6; 0.3 + 0.6 = 0.9; 0.45 + 0.6 = 1.05, which fires and empties; 0.6 again.
    x = torch.full((1, 1, 1, 4), 1.2)
    assert Neurons(1)(x).flatten().tolist() == [0.0, 0.0, 1.0, 0.0]
