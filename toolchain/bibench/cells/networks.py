"""The networks that are binarized: a plain CNN, a residual one, a transformer; each for images and for sequences.

A sequence is an image of one row: its convolutions have kernels of 1 x 5 where an image's have 3 x 3. What stands
before and behind is the same in all: a stem that gives the body its channels, and a linear layer over the mean of all
positions. First and last layer stay float in every method (`quantize/binary/_convert.py`).

ReLUs stand where one convolution alone reads them, so that `convert` can take them out, and so the residual network is
the pre-activation one (He et al. 2016, arXiv:1603.05027). The transformer normalizes first (Xiong et al. 2020,
arXiv:2002.04745) and has four separate projections of its attention.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.parameter import Parameter

from edgepack.toolchain.bibench.cells.inputs import Shape

EMBEDDING = 32
"""Of a token, before the stem's first layer makes the body's channels of it."""


def network(architecture: str, shape: Shape, classes: int, width: int, layers: int) -> nn.Module:
    """A network with weights from the generator's current state.

    Args:
        architecture: A key of `BODIES`.
        shape: Of one input.
        classes: How many logits.
        width: Channels of the stem; the convolutional bodies double them once.
        layers: Blocks of the body.
    """
    over = (1,) if architecture == "transformer" else (2, 3)
    return nn.Sequential(*BODIES[architecture](shape, width, layers), Mean(over), nn.LazyLinear(classes))


class Tokens(nn.Module):
    """Token numbers [n, length] to [n, channels, 1, length]."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, EMBEDDING)

    def forward(self, tokens: Tensor) -> Tensor:
        vectors: Tensor = self.table(tokens)
        return vectors.transpose(1, 2).unsqueeze(2)


class Mean(nn.Module):
    """The mean over some dimensions; given, since `convert` cannot trace what looks at its input's rank."""

    def __init__(self, over: tuple[int, ...]) -> None:
        super().__init__()
        self.over = over

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.over)


def _convolution(shape: Shape, inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    if shape.vocabulary:
        return nn.Conv2d(inputs, outputs, (1, 5), (1, stride), (0, 2), bias=False)
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def _stem(shape: Shape, width: int) -> list[nn.Module]:
    """Half as many positions, `width` channels, normalized."""
    first = [Tokens(shape.vocabulary)] if shape.vocabulary else []
    inputs = EMBEDDING if shape.vocabulary else shape.channels
    return [*first, _convolution(shape, inputs, width, 2), nn.BatchNorm2d(width)]


def cnn(shape: Shape, width: int, layers: int) -> list[nn.Module]:
    """Convolution, BatchNorm, ReLU; the second convolution halves the positions and doubles the channels."""
    body = _stem(shape, width)
    channels = width
    for layer in range(layers):
        outputs = 2 * width if layer else width
        body += [nn.ReLU(), _convolution(shape, channels, outputs, 2 if layer == 1 else 1)]
        body += [nn.BatchNorm2d(outputs)]
        channels = outputs
    return [*body, nn.ReLU()]


class Residual(nn.Module):
    """x or its projection, plus two of (BatchNorm, ReLU, convolution)."""

    def __init__(self, shape: Shape, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), _convolution(shape, inputs, outputs, stride),
            nn.BatchNorm2d(outputs), nn.ReLU(), _convolution(shape, outputs, outputs),
        )  # fmt: skip
        self.beside: nn.Module = nn.Identity()
        if inputs != outputs:
            steps = (1, stride) if shape.vocabulary else stride
            self.beside = nn.Sequential(
                nn.AvgPool2d(steps, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.beside(x) + self.inner(x)
        return y


def resnet(shape: Shape, width: int, layers: int) -> list[nn.Module]:
    """Blocks of two convolutions; from the second on with twice the channels."""
    blocks = [Residual(shape, width, width, 1)]
    if layers > 1:
        blocks.append(Residual(shape, width, 2 * width, 2))
    blocks += [Residual(shape, 2 * width, 2 * width, 1) for _ in range(2, layers)]
    outputs = 2 * width if layers > 1 else width
    return [*_stem(shape, width), *blocks, nn.BatchNorm2d(outputs), nn.ReLU()]


class Attention(nn.Module):
    """Scaled dot products of heads of 32 features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // 32, 1)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        y: Tensor = self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """One layer: attention and a perceptron of two layers, each behind a LayerNorm and beside the way around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.middle = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        y: Tensor = x + self.perceptron(self.middle(x))
        return y


class Positions(nn.Module):
    """[n, channels, height, width] to tokens [n, height * width, channels], each with its place's vector."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.places = Parameter(nn.init.normal_(nn.Embedding(count, width).weight.detach().clone(), std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2) + self.places


def transformer(shape: Shape, width: int, layers: int) -> list[nn.Module]:
    """Tokens are the stem's positions, for images after a second convolution."""
    stem = _stem(shape, width)
    count = -(-shape.length // 2)
    if not shape.vocabulary:
        stem = [*_stem(shape, EMBEDDING // 2), nn.ReLU(), _convolution(shape, EMBEDDING // 2, width, 2)]
        count = (-(-shape.length // 4)) ** 2
    return [*stem, Positions(count, width), *(Block(width) for _ in range(layers)), nn.LayerNorm(width)]


BODIES: dict[str, Callable[[Shape, int, int], list[nn.Module]]] = {
    "cnn": cnn,
    "resnet": resnet,
    "transformer": transformer,
}
