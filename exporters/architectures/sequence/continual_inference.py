"""Row 93, continual inference networks: video, skeletons and tokens one step at a time, and pruned with fused adapters.

Over a window of T steps that moves by one, a network computes T times what is new. If every layer keeps what it made
of the past (see `blocks/_continual.py`), a step costs 1 / T of the window, and gives the same scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.exporters.architectures.base import architecture
from edgepack.exporters.architectures.cards import Card, Published

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.sources.base import TorchModel

NAME = "continual-inference"
_STEPS = 36  # of the rollout, at least


@dataclass(frozen=True)
class Video:
    """An X3D (C. Feichtenhofer, arXiv:2004.04730).

    Attributes:
        widths: Channels of the stages.
        depths: Blocks of the stages.
        inner: Channels inside the stages' blocks; 2.25 times the width unless pruned.
        side: Pixels of a frame's side.
        pool: Steps that the head averages.
        hidden: Channels of the head.
        classes: Scores.
        stem: Steps that the stem sees.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    inner: tuple[int, ...]
    side: int
    pool: int
    hidden: int = 2048
    classes: int = 400
    stem: int = 5

    @property
    def frame(self) -> tuple[int, int, int]:
        """Shape of one frame."""
        return (3, self.side, self.side)

    @property
    def clip(self) -> int:
        """Steps of the shortest clip, which gives one score: every convolution over time shortens it."""
        return self.stem - 1 + 2 * sum(self.depths) + self.pool

    @staticmethod
    def expanded(width: int) -> int:
        """Channels of a block of that width before any pruning."""
        return int(width * 2.25)


@dataclass(frozen=True)
class Skeleton:
    """An ST-GCN without padding and stride over time (CoST-GCN*).

    Attributes:
        widths: Channels of the blocks.
        joints: Of a skeleton.
        people: Skeletons a frame.
        pool: Steps that the head averages.
        classes: Scores.
        kernel: Of the convolutions over time.
    """

    widths: tuple[int, ...]
    joints: int
    people: int
    pool: int
    classes: int
    kernel: int = 9

    @property
    def frame(self) -> tuple[int, int, int]:
        """Shape of one frame: coordinates of every joint."""
        return (3, self.people, self.joints)

    @property
    def clip(self) -> int:
        """Steps of the shortest clip, which gives one score: every convolution over time shortens it."""
        return (self.kernel - 1) * len(self.widths) + self.pool


@dataclass(frozen=True)
class Tokens:
    """One layer of a transformer encoder over a window.

    Attributes:
        features: Channels of a token as it comes.
        width: Channels of the layer.
        heads: Attention heads.
        hidden: Channels of the feed-forward network.
        window: Tokens.
        classes: Scores.
    """

    features: int
    width: int
    heads: int
    hidden: int
    window: int
    classes: int

    @property
    def clip(self) -> int:
        """Steps of the shortest clip, which gives one score: a window."""
        return self.window


@dataclass(frozen=True)
class ContinualInference:
    """Which networks there are.

    Attributes:
        video: See there.
        skeleton: See there.
        tokens: See there.
        kept: Share of inner channels that pruned variants keep; 0 for none.
        rank: Of the adapters.
    """

    video: Video | None = None
    skeleton: Skeleton | None = None
    tokens: Tokens | None = None
    kept: float = 0.0
    rank: int = 4


def _x3d(depths: tuple[int, ...], side: int, pool: int) -> ContinualInference:
    widths = (24, 48, 96, 192)
    return ContinualInference(video=Video(widths, depths, tuple(int(2.25 * w) for w in widths), side, pool))


_ST_GCN = (*(4 * [64]), *(3 * [128]), *(3 * [256]))
CONFIGS = {
    "cox3d-m": _x3d((3, 5, 11, 7), 224, 16),
    "cox3d-s": _x3d((3, 5, 11, 7), 160, 13),
    "cost-gcn": ContinualInference(skeleton=Skeleton(_ST_GCN, 25, 2, 220, 60)),
    "cotransformer": ContinualInference(tokens=Tokens(3072, 1024, 8, 1024, 64, 22)),
    "tiny": ContinualInference(
        video=Video((8, 12), (2, 1), (18, 27), 16, 3, hidden=16, classes=5, stem=3),
        skeleton=Skeleton((8, 8, 16), 6, 2, 3, 5, kernel=3),
        tokens=Tokens(12, 16, 4, 32, 6, 5),
        kept=0.5,
    ),
}

_ZOO = "parameters in arXiv:2106.00050's table of results; the model zoo of X3D's authors (PySlowFast)"

CARD = Card(
    name=NAME,
    system="93",
    paper="Efficient Online Processing with Deep Neural Networks (Continual Inference Networks, Structured Pruning "
    "Adapters)",
    arxiv="2306.13474",
    says=(
        "abstract: an order of magnitude less work in online processing, with the weights of pre-trained networks",
        "abstract: 3D CNNs, ST-GCNs and transformer encoders, reformulated",
        "arXiv:2106.00050, abstract: CoX3D needs 12.1 to 15.3 times fewer operations than X3D",
        (
            "table of results in that paper's public repository: 0.33 and 0.17 GFLOPs a frame for CoX3D-M and S, of "
            "4.97 and 2.06 a clip; X3D's authors count 4.73 and 1.96, and no normalizations, as is done here"
        ),
        "arXiv:2203.11009, abstract: up to 109 times less time complexity of skeleton-based recognition",
        "abstract: structured pruning adapters learn far fewer weights than fine-tuning with pruning",
    ),
    parts={
        "video": "one frame and the states, to scores and the next states: X3D",
        "skeleton": "one set of joints and the states: ST-GCN",
        "tokens": "one token, its turn and the states: a transformer encoder",
        "video_pruned": "`video` with fewer inner channels, the adapters in its weights",
        "tokens_pruned": "`tokens` with fewer hidden channels, the adapters in its weights",
    },
    checks=(
        "every part against torch on several batches",
        f"{_STEPS} steps of a stream or more, for clips that are longer, against every clip in it at once",
        "a step's multiply-accumulates against those of the clip that it replaces (counted)",
        "a pruned network against the large one with adapters, whose cut channels are set to zero",
    ),
    assumed=(
        "clips are padded in space and not in time: a stream has a past, and a clip's zeros are none of it",
        "squeeze-and-excitation looks at one frame (the authors' option `se_scope`), the head at a window",
        "joints stand in a chain; the edges of a dataset's skeleton are as many numbers",
        "channels inside blocks are pruned, by the norm of their adapted weights",
        "the transformer encoder has one layer, of which the newest token's output is wanted; its sizes are CoOadTR's",
        "weights are random from a fixed seed",
    ),
    published=(
        Published("cox3d-m", f"{_ZOO}, 4.73 GFLOPs for 16 frames", parameters=3.79e6, macs=4.73e9 / 16),
        Published("cox3d-s", f"{_ZOO}, 1.96 GFLOPs for 13 frames", parameters=3.79e6, macs=1.96e9 / 13),
        Published("cost-gcn", "arXiv:2203.11009, table II (CoST-GCN*)", parameters=3.14e6, macs=0.16e9),
    ),
    structure=(
        "states of fixed size are inputs and outputs, and no step computes over time again",
        "no convolution has three dimensions",
        "adapters are in the weights: a pruned part has the products of a smaller network and no others",
    ),
    compared=(
        "the authors' code, step by step, run by hand with the same random weights and statistics: CoX3D "
        "(LukasHedegaard/co3d) of M's widths and depths on frames of 64 x 64 with a head over 4 steps: as many "
        "parameters (3 794 322), scores up to 1.1 differing by 6e-7 at most; CoST-GCN* (continual-skeletons) with a "
        "head over 16 steps: scores up to 6.7 differing by 1.4e-6 at most, a bias for each of three products where "
        "one stands for their sum here (3 141 478 and 3 138 662 parameters); the encoder layer: "
        "torch.nn.TransformerEncoderLayer with the same weights, equal within 1e-5 (a test)"
    ),
)


def _whole(config: ContinualInference) -> Whole:
    from edgepack.exporters.architectures._counting import Whole
    from edgepack.exporters.architectures.sequence._continual_inference import Step, networks

    nets = networks(config)
    if len(nets) == 1:
        step = Step(next(iter(nets.values())))
        return Whole(step, step.example())
    import torch

    return Whole(torch.nn.ModuleDict(nets))


def _lost(graphs: Mapping[str, ir.Model]) -> list[str]:
    from edgepack.exporters.architectures._graphs import not_there, operators

    names = ("video", "skeleton", "tokens", "video_pruned", "tokens_pruned")
    lost = not_there(graphs, *names)
    if lost:
        return lost
    for name in names:
        nodes = list(graphs[name].graph.all_nodes())
        if not any(str(value.name).startswith("next_state") for value in graphs[name].graph.outputs):
            lost.append(f"{name}: no states")
        if not nodes:
            lost.append(f"{name}: no step is computed")
        for node in nodes:
            kernel = node.attributes.get_ints("kernel_shape", ())
            if node.op_type == "Conv" and len(kernel) != 2:  # noqa: PLR2004
                lost.append(f"{name}: a convolution of {len(kernel)} dimensions")
    for name in ("video", "tokens"):
        if operators(graphs[name]) != operators(graphs[f"{name}_pruned"]):
            lost.append(f"{name}_pruned: other operators than the large network's")
    return lost


@architecture(CARD, CONFIGS, tiny="tiny", whole=_whole, lost=_lost)
def build(config: ContinualInference) -> TorchModel:
    """Parts, links and rollout of a configuration."""
    from edgepack.exporters.architectures.sequence import _continual_inference

    return _continual_inference.build(config, NAME, _STEPS)
