"""The short-time Fourier transform as a convolution, and its inverse as a transposed one.

    X_k(t) = sum_j w_j x_(t h + j) exp(-2 pi i jk / n):  kernels w_j cos and -w_j sin, stride h
    x = (sum_t w irfft(X(t)) shifted by t h) / (sum_t w^2 shifted by t h)

The length of the signal may vary; that of the window, n, is known. torch's own check that the envelope
below is not zero anywhere is a look at values and left out: there x is infinite or NaN.
Source: Griffin and Lim, Signal Estimation from Modified Short-Time Fourier Transform, 1984, equation 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.exporters.pairs.base import Pair, rules
from edgepack.exporters.pairs.fourier import matrix

if TYPE_CHECKING:
    import torch


@rules.register("aten.stft.center")
def centred(  # noqa: PLR0913 - torch's schema
    x: Any,
    n: int,
    hop: int | None = None,
    length: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,  # noqa: FBT001, FBT002
    pad_mode: str = "reflect",
    normalized: bool = False,  # noqa: FBT001, FBT002
    onesided: bool | None = None,  # noqa: FBT001
    return_complex: bool | None = None,  # noqa: FBT001
    align_to_window: bool | None = None,  # noqa: FBT001
) -> Any:
    """The transform of a signal [..., length] that is padded by half a window on both sides."""
    import torch

    if isinstance(x, Pair):
        return NotImplemented
    if center:
        flat = x.reshape(1, *x.shape) if x.ndim == 1 else x.unsqueeze(1)
        padded = torch.nn.functional.pad(flat, [n // 2, n // 2], mode=pad_mode)
        x = padded.reshape(-1) if x.ndim == 1 else padded.squeeze(1)
    return stft(x, n, hop, length, window, normalized, onesided, return_complex, align_to_window)


@rules.register("aten.stft.default")
def stft(  # noqa: PLR0913 - torch's schema
    x: Any,
    n: int,
    hop: int | None = None,
    length: int | None = None,
    window: torch.Tensor | None = None,
    normalized: bool = False,  # noqa: FBT001, FBT002
    onesided: bool | None = None,  # noqa: FBT001
    return_complex: bool | None = None,  # noqa: ARG001, FBT001
    align_to_window: bool | None = None,  # noqa: FBT001
) -> Any:
    """The transform [..., bins, frames] of a real signal [..., length]."""
    import torch

    if isinstance(x, Pair) or isinstance(window, Pair) or align_to_window or not isinstance(n, int):
        return NotImplemented
    hop = hop or n // 4
    bins = n if onesided is False else n // 2 + 1
    c, s = (part.mT for part in matrix(n, bins, n, x, 1.0))
    kernels = torch.cat([c, s], 0)
    shape = _window(window, length, n, x)
    if shape is not None:
        kernels = kernels * shape
    if normalized:
        kernels = kernels * n**-0.5
    both = torch.nn.functional.conv1d(x.reshape(-1, 1, x.shape[-1]), kernels.unsqueeze(1), stride=hop)
    if x.ndim == 1:
        both = both.squeeze(0)
    return Pair(both.narrow(-2, 0, bins), both.narrow(-2, bins, bins))


@rules.register("aten.istft.default")
def istft(  # noqa: PLR0913 - torch's schema
    z: Any,
    n: int,
    hop: int | None = None,
    win_length: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,  # noqa: FBT001, FBT002
    normalized: bool = False,  # noqa: FBT001, FBT002
    onesided: bool | None = None,  # noqa: FBT001
    length: Any = None,
    return_complex: bool = False,  # noqa: FBT001, FBT002
) -> Any:
    """The signal [..., length] of a transform [..., bins, frames]."""
    import torch

    bins = n // 2 + 1
    if not isinstance(z, Pair) or onesided is False or return_complex or not isinstance(n, int):
        return NotImplemented
    hop = hop or n // 4
    c, s = matrix(bins, n, n, z.re, -1.0)
    k = torch.arange(bins)
    weight = torch.where((k == 0) | (2 * k == n), 1.0, 2.0).to(z.re.dtype).unsqueeze(1)
    weight = weight * (n**-0.5 if normalized else 1.0 / n)
    kernels = torch.cat([c * weight, -s * weight], 0)
    shape = _window(window, win_length, n, z.re)
    shape = torch.ones(n, dtype=z.re.dtype) if shape is None else shape
    frames = torch.cat([z.re, z.im], -2)
    frames = frames.unsqueeze(0) if z.ndim == 2 else frames  # noqa: PLR2004
    transposed = torch.nn.functional.conv_transpose1d
    signal = transposed(frames, (kernels * shape).unsqueeze(1), stride=hop)
    ones = torch.ones_like(frames[:1, :1])
    signal = signal / transposed(ones, shape.square().reshape(1, 1, -1), stride=hop)
    start = n // 2 if center else 0
    signal = signal[:, 0, start:]
    if length is None:
        signal = signal[..., : signal.shape[-1] - start]
    else:
        # As long as was asked for: zeros behind what there is.
        signal = torch.nn.functional.pad(signal[..., :length], [0, n])[..., :length]
    return signal.squeeze(0) if z.ndim == 2 else signal  # noqa: PLR2004


def _window(window: Any, length: int | None, n: int, like: torch.Tensor) -> torch.Tensor | None:
    """The window in the middle of n places, or None for ones."""
    import torch

    length = length or n
    if window is None:
        if length == n:
            return None
        window = torch.ones(length, dtype=like.dtype)
    before = (n - length) // 2
    padded: torch.Tensor = torch.nn.functional.pad(window, [before, n - length - before])
    return padded
