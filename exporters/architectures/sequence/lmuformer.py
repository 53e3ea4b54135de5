"""Row 27, "LMUFormer": sounds to words, over a whole spectrogram at once or frame by frame.

A patch embedding of convolutions over neighbouring frames, blocks of a Legendre memory (`blocks/_legendre.py`) and a
channel mixer, and the mean of every frame's scores. The memory's input is one number a frame:

    u_t = relu(w . x_t),   m_t = A m_{t-1} + B u_t,   x_t + W relu(V [m_t, x_t])

The memory does not change in time: as a whole it is one convolution, as a step one product. The step answers
`delay` frames late, one for every convolution of the embedding, which sees one frame ahead.
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
    seed: int = 0

    @property
    def delay(self) -> int:
        """Frames that a step's answers come late."""
        return self.convolutions + 1


CONFIGS = {
    "speech-commands": LMUFormer(128, 256, 1024, 256, 35),
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
        "step": "one frame and the states to the mean scores up to now, some frames late",
    },
    checks=(
        f"{_FRAMES} single steps, and those that push the last frames out, against the whole sequence at once",
        "the memory's convolution against its recurrence",
        "multiply-accumulates of a step against those of the whole window",
    ),
    assumed=(
        "frames say whether they are live: only so a step's first and last frames equal padded ones exactly",
        "the variant without spikes: the authors' spiking one keeps a potential in front of every product",
        "weights and statistics are random from a fixed seed",
    ),
    published=(
        Published("speech-commands", "the authors' code with their configuration holds 1 621 796", 1_621_796),
    ),
    structure=(
        "the memory as one convolution over the whole sequence, and as a state of the step",
        "convolutions over neighbouring frames and a channel mixer, in both parts",
    ),
    compared=(
        "the authors' network without spikes (zeyuliu1037/LMUFormer) with the same weights, 128 frames of 128 bands: "
        "scores of up to 1.4 differ by less than 4e-7, its Fourier transforms against the convolution; run by hand"
    ),
)


def _whole(config: LMUFormer) -> Whole:
    import torch

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._lmuformer import Network

    return Whole(Network(config), (torch.empty(1, config.positions, config.bands),))


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
    from edgepack.exporters.architectures.sequence._lmuformer import Network, Step, state_shapes
    from edgepack.exporters.sources.base import TorchModel
    from edgepack.exporters.sources.parts import torch_part
    from edgepack.toolchain.program import StateLink

    net = Network(config).eval()
    states = state_shapes(config)
    main = torch_part(
        net, f"spectrogram:float32[batch=2,frames={_FRAMES},{config.bands}]", outputs=["scores"], where=NAME,
        limits={"frames": config.positions},
    )  # fmt: skip
    step = torch_part(
        Step(net), f"frame:float32[batch=2,{config.bands}]", "live:float32[batch,1]",
        *(f"{name}:float32[batch,{shape}]" for name, shape in states.items()),
        outputs=["scores", *(f"next_{name}" for name in states)], where=NAME,
        fixed={"live": _ones, "delay": _ones},
    )  # fmt: skip
    links = tuple(StateLink("step", f"next_{name}", "step", name) for name in states)
    return TorchModel(
        {"main": main, "step": step}, facts(NAME, net, "audio-classification"),
        links=links, rollout=lambda: rollout(net),
    )  # fmt: skip


def _ones(shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    return np.ones(shape)


def rollout(net: Network) -> list[Call]:
    """The whole sequence, every frame of it, and steps that push the last frames out."""
    import numpy as np
    import torch

    from edgepack.toolchain.program import Call

    config, batch = net.config, 1  # as targets of fixed shapes have it
    frames = np.random.default_rng(7).standard_normal((batch, _FRAMES, config.bands)).astype(np.float32)
    with torch.no_grad():
        scores = net.frames(torch.from_numpy(frames))[:, :, 0].numpy()
    sums = np.cumsum(scores, -1, dtype=np.float64)
    calls = [Call("main", {"spectrogram": frames}, {"scores": scores.mean(-1)})]
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
