"""The network of `owsm_ctc`: E-Branchformer layers with cross-attention to a prompt, and CTC within them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.blocks._attention import CrossAttention, SelfAttention
from edgepack.exporters.architectures.blocks._conformer import HalfFeedForward
from edgepack.exporters.architectures.blocks._each import each
from edgepack.exporters.architectures.blocks._layers import Layer, layers
from edgepack.exporters.architectures.blocks._mlp import MLP
from edgepack.exporters.architectures.blocks._sinusoid import sinusoid
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part

if TYPE_CHECKING:
    from edgepack.exporters.architectures.speech.owsm_ctc import OwsmCTC


class GatedConvolution(torch.nn.Module):
    """W' (a * depthwise(norm b)), a and b the halves of gelu(W x): a gate that sees its neighbours."""

    def __init__(self, width: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.up = torch.nn.Linear(width, hidden)
        self.norm = torch.nn.LayerNorm(hidden // 2)
        self.depthwise = _depthwise(hidden // 2, kernel)
        self.down = torch.nn.Linear(hidden // 2, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, sequence, width] in and out."""
        value, gate = torch.nn.functional.gelu(self.up(x)).chunk(2, -1)
        return self.down(value * _along(self.depthwise, self.norm(gate)))  # type: ignore[no-any-return]


class EBranchformerLayer(torch.nn.Module):
    """Half a feed-forward network, two branches and their merger, the other half; then the prompt."""

    def __init__(self, config: OwsmCTC, *, cross: bool) -> None:
        super().__init__()
        width = config.width
        self.first = HalfFeedForward(width, config.hidden)
        self.attention_norm = torch.nn.LayerNorm(width)
        self.attention = SelfAttention(width, config.heads, bias=True)
        self.gate_norm = torch.nn.LayerNorm(width)
        self.gate = GatedConvolution(width, config.hidden, config.kernel)
        self.mix = _depthwise(2 * width, config.kernel)
        self.merge = torch.nn.Linear(2 * width, width)
        self.second = HalfFeedForward(width, config.hidden)
        if cross:
            self.cross_norm = torch.nn.LayerNorm(width)
            self.cross = CrossAttention(width, config.heads, bias=True)
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Frames [batch, sequence, width] and the encoded prompt [batch, tokens, width]; the frames' shape."""
        x = self.first(x)
        branches = torch.cat([self.attention(self.attention_norm(x)), self.gate(self.gate_norm(x))], -1)
        x = self.second(x + self.merge(branches + _along(self.mix, branches)))
        if hasattr(self, "cross"):
            x = x + self.cross(self.cross_norm(x), self.cross.keys_values(prompt))
        return self.norm(x)  # type: ignore[no-any-return]


class Network(torch.nn.Module):
    """Frames, two tokens that say what is wanted, and a prompt, to scores of every frame's token."""

    def __init__(self, config: OwsmCTC) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv2d(1 if i == 0 else width, width, 3, 2) for i in range(3)
        )
        bands = config.mels
        for _ in range(3):
            bands = (bands - 1) // 2
        self.front = torch.nn.Linear(width * bands, width)
        self.embed = torch.nn.Embedding(config.vocabulary, config.prompt_width)
        self.prompt = torch.nn.ModuleList(
            _prompt_layer(config.prompt_width, config.prompt_heads) for _ in range(config.prompt_layers)
        )
        self.prompt_norm = torch.nn.LayerNorm(config.prompt_width)
        self.wanted_out = torch.nn.Linear(config.prompt_width, width)
        self.prompt_out = torch.nn.Linear(config.prompt_width, width)
        self.layers = torch.nn.ModuleList(
            EBranchformerLayer(config, cross=index % config.cross_every == 0)
            for index in range(1, config.layers + 1)
        )
        self.norm = torch.nn.LayerNorm(width)
        self.ctc = torch.nn.Linear(width, config.vocabulary)
        self.condition = torch.nn.Linear(config.vocabulary, width)
        initialize(self, config.seed)

    def prompted(self, ids: torch.Tensor) -> torch.Tensor:
        """The prompt [batch, tokens], for cross-attention: [batch, tokens, width]."""
        x = _placed(self.embed(ids))
        for layer in layers(self.prompt):
            x = layer(x)
        return self.prompt_out(self.prompt_norm(x))  # type: ignore[no-any-return]

    def forward(self, mels: torch.Tensor, wanted: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Scores [batch, 2 + frames / 8, vocabulary].

        Args:
            mels: [batch, frames, mels].
            wanted: int64 [batch, 2], the tokens of language and task; they stand before the frames.
            prompt: int64 [batch, tokens], text that came before, or a token that says there is none.
        """
        x = mels.unsqueeze(1)
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        frames = self.front(x.transpose(1, 2).flatten(2))
        x = _placed(torch.cat([self.wanted_out(self.embed(wanted)), frames], 1))
        memory = self.prompted(prompt)
        for index, layer in enumerate(each(self.layers, EBranchformerLayer), 1):
            x = layer(x, memory)
            if index in self.config.conditioned:
                x = x + self.condition(self.ctc(x).softmax(-1))
        return self.ctc(self.norm(x))  # type: ignore[no-any-return]


def _depthwise(width: int, kernel: int) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2), groups=width)


def _along(convolution: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A convolution over an image of one row, along the sequence [batch, sequence, width]."""
    return convolution(x.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)  # type: ignore[no-any-return]


def _placed(x: torch.Tensor) -> torch.Tensor:
    """X sqrt(width) + sinusoids of 0, 1, ..."""
    return x * math.sqrt(x.shape[-1]) + sinusoid(torch.arange(x.shape[1]), x.shape[-1])


def _prompt_layer(width: int, heads: int) -> Layer:
    attention = SelfAttention(width, heads, bias=True)
    return Layer(width, attention, MLP(width, 4 * width, torch.relu), torch.nn.LayerNorm)


def build(config: OwsmCTC, name: str) -> TorchModel:
    """The one part."""
    net = Network(config).eval()
    frames = 8 * 8 + 7
    part = torch_part(
        net, f"mels:float32[batch=2,frames={frames},{config.mels}]", "wanted:int64[batch,2]",
        "prompt:int64[batch,tokens=5]",
        outputs=["scores"], where=name, upper={"wanted": config.vocabulary, "prompt": config.vocabulary},
        size_sets=[
            {"batch": 1, "frames": frames, "tokens": 2}, {"batch": 1, "frames": 2 * frames + 4, "tokens": 5},
            {"batch": 3, "frames": frames - 9, "tokens": 9},
        ],
    )  # fmt: skip
    return TorchModel({"main": part}, facts(name, net, "automatic-speech-recognition"))
