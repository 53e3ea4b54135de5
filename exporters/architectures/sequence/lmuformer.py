"""Row 27, "LMUFormer": sounds to words, over a whole spectrogram at once or frame by frame.

A patch embedding of convolutions over neighbouring frames, blocks of a Legendre memory (`blocks/_legendre.py`) and a
channel mixer, and the mean of every frame's scores. The memory's input is one number a frame:

    u_t = relu(w . x_t),   m_t = A m_{t-1} + B u_t,   x_t + W relu(V [m_t, x_t])

The memory does not change in time: as a whole it is one convolution, as a step one product. The step answers
`delay` frames late, one for every convolution of the embedding, which sees one frame ahead.

The spiking form has neurons (`blocks/_spiking.py`) behind every norm, so that products read zeros and ones. Their
potentials are walked frame by frame: it ships as a step alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._lmuformer import Network
    from edgepack.exporters.architectures.sequence._lmuformer_spiking import SpikingNetwork
    from edgepack.exporters.sources.base import TorchModel
    from edgepack.toolchain.program import Call

NAME = "lmuformer"
_FRAMES = 41  # of the rollout: half of its steps judge, so that one row of all may choose another class


@dataclass(frozen=True)
class LMUFormer:
    """Sizes of one network.

    Attributes:
        bands: Channels of a frame of the spectrogram.
        width: Channels.
        hidden: Channels within the channel mixer.
        order: Coefficients of a memory.
        classes: Words.
        layers: Blocks.
        convolutions: Of the patch embedding, and one more that tells positions apart.
        positions: Frames that a memory holds, and the longest sequence.
        spiking: Whether products read spikes.
        seed: Of the random weights.
    """

    bands: int
    width: int
    hidden: int
    order: int
    classes: int
    layers: int = 1
    convolutions: int = 4
    positions: int = 128
    spiking: bool = False
    seed: int = 0

    @property
    def delay(self) -> int:
        """Frames that a step's answers come late."""
        return self.convolutions + 1


CONFIGS = {
    "speech-commands": LMUFormer(128, 256, 1024, 256, 35),
    "spiking": LMUFormer(128, 256, 1024, 512, 35, spiking=True),
    # With this seed the one neuron that writes to the memory fires; with some it never does.
    "spiking-tiny": LMUFormer(8, 16, 32, 32, 3, convolutions=2, positions=48, spiking=True, seed=4),
    # With this seed both memories are written to in most frames. With others the ReLU in front of them rests, and eight
    # bits of a memory that stays near zero hold nothing. Of more random classes two often score almost the same.
    "tiny": LMUFormer(8, 16, 32, 16, 3, layers=2, convolutions=2, positions=48, seed=117),
}

CARD = Card(
    name=NAME,
    system="27",
    paper="LMUFormer: Low Complexity Yet Powerful Spiking Model With Legendre Memory Units",
    arxiv="2402.04882",
    says=(
        "abstract: 53x fewer parameters and 65x fewer FLOPs than transformers on Speech Commands v2",
        "abstract: decides on 32.03 % fewer frames with hardly less accuracy, as frames come in",
    ),
    parts={
        "main": "a whole spectrogram to scores of words",
        "step": "one frame and the states to the mean scores up to now, some frames late; of the spiking form too",
    },
    checks=(
        f"{_FRAMES} single steps, and those that push the last frames out, against the whole sequence at once",
        "the memory's convolution against its recurrence",
        "the spiking form's steps against its whole sequence, and that its neurons fire and rest in every layer",
        "multiply-accumulates of a step against those of the whole window",
    ),
    assumed=(
        "frames say whether they are live: only so a step's first and last frames equal padded ones exactly",
        "the spiking form is the one that the authors' configuration names, slmu_rnn_ms_conv1d: sums between neurons",
        "weights and statistics are random from a fixed seed; the spiking form's statistics are those of noise",
    ),
    published=(
        Published("speech-commands", "the authors' code (lmu_rnn_conv1d) holds 1 621 796", 1_621_796),
        Published("spiking", "the authors' code (slmu_rnn_ms_conv1d) holds 1 689 894", 1_689_894),
    ),
    structure=(
        "the memory as one convolution over the whole sequence, and as a state of the step",
        "convolutions over neighbouring frames and a channel mixer, in both parts",
    ),
    compared=(
        "the authors' network without spikes (zeyuliu1037/LMUFormer) with the same weights, 128 frames of 128 bands: "
        "scores of up to 1.4 differ by less than 4e-7, its Fourier transforms against the convolution; their spiking "
        "network, its neurons' GPU kernel replaced by their rule in plain torch, with the same weights: the same "
        "spikes and scores in every bit, 4 to 15 % of the neurons of a layer firing; run by hand"
    ),
)


def _whole(config: LMUFormer) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole

    if (
        config.spiking
    ):  # a product with a spike is an addition or nothing: there is no number of multiplications
        return Whole(_network(config))
    return Whole(_network(config), (torch.empty(1, config.positions, config.bands),))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, too_few, unshaped

    lost = not_there(graphs, "main", "step")
    if lost:
        return lost
    config = CONFIGS["tiny"]
    convolutions = config.convolutions + 2 + 6 * config.layers
    for part in ("main", "step"):
        lost += too_few(graphs[part], "Conv", convolutions, "embedding, memories and channel mixers")
    states = {f"memory_{i}": ("batch", config.order, 1, 1) for i in range(config.layers)}
    return lost + unshaped(graphs["step"], **states)


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: LMUFormer) -> TorchModel:
    """Both parts, links and rollout."""
    from edgepack.exporters.architectures._building import facts
    from edgepack.exporters.architectures.sequence import _lmuformer, _lmuformer_spiking
    from edgepack.exporters.sources.base import TorchModel
    from edgepack.exporters.sources.parts import torch_part
    from edgepack.toolchain.program import StateLink

    net = _network(config).eval()
    states = (_lmuformer_spiking if config.spiking else _lmuformer).state_shapes(config)
    one = (
        _lmuformer_spiking.SpikingStep(net)
        if isinstance(net, _lmuformer_spiking.SpikingNetwork)
        else _lmuformer.Step(net)
    )
    parts = {}
    if not config.spiking:
        parts["main"] = torch_part(
            net, f"spectrogram:float32[batch=2,frames={_FRAMES},{config.bands}]", outputs=["scores"], where=NAME,
            limits={"frames": config.positions},
        )  # fmt: skip
    parts["step"] = torch_part(
        one, f"frame:float32[batch=2,{config.bands}]", "live:float32[batch,1]",
        *(f"{name}:float32[batch,{shape}]" for name, shape in states.items()),
        outputs=["scores", *(f"next_{name}" for name in states)], where=NAME,
        fixed={"live": _ones, "delay": _ones},
    )  # fmt: skip
    links = tuple(StateLink("step", f"next_{name}", "step", name) for name in states)
    return TorchModel(
        parts, facts(NAME, net, "audio-classification"), links=links, rollout=lambda: rollout(net)
    )


def _network(config: LMUFormer) -> Network | SpikingNetwork:
    from edgepack.exporters.architectures.sequence._lmuformer import Network
    from edgepack.exporters.architectures.sequence._lmuformer_spiking import SpikingNetwork

    return SpikingNetwork(config) if config.spiking else Network(config)


def _ones(shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    return np.ones(shape)


def rollout(net: Network | SpikingNetwork) -> list[Call]:
    """The whole sequence (not of the spiking form), every frame of it, and steps that push the last frames out."""
    import numpy as np
    import torch

    from edgepack.toolchain.program import Call

    config, batch = net.config, 1  # as targets of fixed shapes have it
    frames = np.random.default_rng(7).standard_normal((batch, _FRAMES, config.bands)).astype(np.float32)
    with torch.no_grad():
        scores = net.frames(torch.from_numpy(frames))[:, :, 0].numpy()
    sums = np.cumsum(scores, -1, dtype=np.float64)
    whole = Call("main", {"spectrogram": frames}, {"scores": scores.mean(-1)})
    calls = [] if config.spiking else [whole]
    for t in range(_FRAMES + config.delay):
        here = t < _FRAMES
        answered = t - config.delay
        mean = sums[..., answered] / (answered + 1) if answered >= 0 else np.zeros((batch, config.classes))
        inputs = {
            "frame": frames[:, t] if here else np.zeros_like(frames[:, 0]),
            "live": np.full((batch, 1), float(here), np.float32),
        }
        calls.append(Call("step", inputs, {"scores": mean.astype(np.float32)}))
    return calls
