r"""Networks over time in two forms with one set of weights: over a clip, and one step at a time.

A convolution over time gives y_t = sum_k W_k x_(t - k). Sliding a clip over a stream computes every W_k x again and
again; a continual network computes them once, when x comes, and keeps the sums that later steps complete:

    conv     z_k = W_k x_t for all k;   y_t = z_0 + s_1;   s'_j = z_j + s_(j+1)         (state: K - 1 partial sums)
    delay    x_(t - d), for a residual beside a branch that is d steps late              (state: d inputs)
    mean     of the last n steps, summed anew, so that nothing drifts                    (state: n - 1 inputs)

L. Hedegaard and A. Iosifidis, Continual 3D Convolutional Neural Networks, arXiv:2106.00050, section 3. `clip` takes
[batch, channels, time, height, width] and pads space, not time; `step` takes an image [batch, channels, height, width]
and a `Past`, and equals `clip` once as many steps have come as `clip` needs. A step has 2-D convolutions only, over
states of four dimensions whose channels are the steps' one after the other: no accelerator has 3-D convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Activation = Callable[[torch.Tensor], torch.Tensor]


class Past:
    """States of a step, in the order in which layers ask for them.

    Args:
        states: As the last step left them; None for zeros, with which a stream begins.

    Attributes:
        after: States for the next step.
    """

    def __init__(self, states: Sequence[torch.Tensor] | None = None) -> None:
        self._states = states
        self.after: list[torch.Tensor] = []

    def last(self, shape: Sequence[int]) -> torch.Tensor:
        """The state that the next `keep` replaces."""
        return torch.zeros(tuple(shape)) if self._states is None else self._states[len(self.after)]

    def keep(self, state: torch.Tensor) -> None:
        """For the next step."""
        self.after.append(state)


class ContinualConv(torch.nn.Module):
    """Convolution over time and space, batch normalization, activation.

    Args:
        channels: In.
        width: Out.
        kernel: In time and in space.
        stride: In space.
        depthwise: Every channel by itself.
        bias: Of the convolution.
        activation: Of the normalized output.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: tuple[int, int] = (1, 1),
        *,
        stride: int = 1,
        depthwise: bool = False,
        bias: bool = False,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        self.kernel, self.width, self.stride = kernel[0], width, stride
        self.padding, self.groups = kernel[1] // 2, channels if depthwise else 1
        shape = (kernel[0], kernel[1], kernel[1])
        space = (self.padding, self.padding)
        self.conv = torch.nn.Conv3d(
            channels, width, shape, (1, stride, stride), (0, *space), groups=self.groups, bias=bias
        )
        self.norm = torch.nn.BatchNorm3d(width)
        self.activation = activation

    def clip(self, x: torch.Tensor) -> torch.Tensor:
        """Over a clip, which gets `kernel - 1` steps shorter."""
        y = self.norm(self.conv(x))
        return y if self.activation is None else self.activation(y)

    def prepare(self) -> None:
        """Makes the 2-D kernels of `step`, the newest step's first, with the normalization in them."""
        mean, variance = self.norm.get_buffer("running_mean"), self.norm.get_buffer("running_var")
        with torch.no_grad():
            gain = self.norm.weight / torch.sqrt(variance + self.norm.eps)
            taps = (self.conv.weight * gain[:, None, None, None, None]).flip(2).unbind(2)
            shift = -mean if self.conv.bias is None else self.conv.bias - mean
            bias = shift * gain + self.norm.bias
        if self.groups == 1:  # One product for all taps.
            rest = torch.zeros((self.kernel - 1) * self.width)
            self.register_buffer("tap_0", torch.cat(taps), persistent=False)
            self.register_buffer("tap_bias", torch.cat([bias, rest]), persistent=False)
        else:
            for index, tap in enumerate(taps):
                self.register_buffer(f"tap_{index}", tap.contiguous(), persistent=False)
            self.register_buffer("tap_bias", bias, persistent=False)

    def step(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """One step."""
        count = 1 if self.groups == 1 else self.kernel
        z = [
            torch.nn.functional.conv2d(
                x, self.get_buffer(f"tap_{i}"), self.get_buffer("tap_bias") if i == 0 else None,
                self.stride, self.padding, groups=self.groups,
            )
            for i in range(count)
        ]  # fmt: skip
        y = z[0][:, : self.width] if self.kernel > 1 and self.groups == 1 else z[0]
        if self.kernel > 1:
            later = z[0][:, self.width :] if self.groups == 1 else torch.cat(z[1:], 1)
            sums = past.last(later.shape)
            y = y + sums[:, : self.width]
            rest = later[:, : -self.width] + sums[:, self.width :]
            past.keep(torch.cat([rest, later[:, -self.width :]], 1) if self.kernel > 2 else later)  # noqa: PLR2004
        return y if self.activation is None else self.activation(y)


def crop(x: torch.Tensor, kernel: int) -> torch.Tensor:
    """The middle of a clip, as much of it as a convolution of that kernel leaves."""
    side = kernel // 2
    return x[:, :, side : x.shape[2] - side] if side else x


def delay(x: torch.Tensor, steps: int, past: Past) -> torch.Tensor:
    """What came `steps` steps ago."""
    if not steps:
        return x
    shape = (x.shape[0], steps * x.shape[1], *x.shape[2:])
    window = torch.cat([past.last(shape), x], 1)
    past.keep(window[:, x.shape[1] :])
    return window[:, : x.shape[1]]


def mean(x: torch.Tensor, steps: int, past: Past) -> torch.Tensor:
    """Of the last `steps` vectors [batch, channels]."""
    window = torch.cat([past.last((x.shape[0], steps - 1, x.shape[1])), x[:, None]], 1)
    past.keep(window[:, 1:])
    return window.mean(1)


def prepare(net: torch.nn.Module) -> None:
    """`ContinualConv.prepare` of all of a network's convolutions."""
    for module in net.modules():
        if isinstance(module, ContinualConv):
            module.prepare()
