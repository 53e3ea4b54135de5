"""Corruptions of test images, in five severities, on pixels from 0 to 1.

Kinds and severities are arranged as by Hendrycks and Dietterich 2019 (arXiv:1903.12261): noise, blur, and changes of
light and resolution. The strengths are ours, for images of 28 x 28; so are the zeros around an image that is blurred,
which is what stands around Fashion-MNIST's clothes.

    gaussian-noise   v + s n, n normal                    brightness   v + b
    shot-noise       Poisson(v p) / p, p photons          contrast     mean + c (v - mean), of each image
    impulse-noise    a share of pixels becomes 0 or 1     pixelate     means over blocks, each repeated
    defocus-blur     convolution with a disc              motion-blur  mean over pixels in a row
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[Tensor, int, torch.Generator], Tensor]


def corrupted(name: str, pixels: Tensor, severity: int, seed: int = 0) -> Tensor:
    """Images [n, 1, height, width] from 0 to 1, as they are after a corruption; again from 0 to 1.

    Args:
        name: A key of `CORRUPTIONS`.
        pixels: From 0 to 1.
        severity: 1 to 5.
        seed: Of noise.
    """
    chance = torch.Generator().manual_seed(seed)
    # Who normalizes and takes it back is off by a rounding, below 0 too.
    return CORRUPTIONS[name](pixels.clamp(0, 1), severity - 1, chance).clamp(0, 1)


def _gaussian_noise(pixels: Tensor, level: int, chance: torch.Generator) -> Tensor:
    deviation = (0.04, 0.08, 0.12, 0.18, 0.26)[level]
    return pixels + deviation * torch.randn(pixels.shape, generator=chance)


def _shot_noise(pixels: Tensor, level: int, chance: torch.Generator) -> Tensor:
    photons = (120, 50, 25, 12, 6)[level]
    return torch.poisson(pixels * photons, generator=chance) / photons


def _impulse_noise(pixels: Tensor, level: int, chance: torch.Generator) -> Tensor:
    share = (0.02, 0.05, 0.09, 0.15, 0.25)[level]
    drawn = torch.rand(pixels.shape, generator=chance)
    return torch.where(drawn < share, (drawn < share / 2).float(), pixels)


def _defocus_blur(pixels: Tensor, level: int, _chance: torch.Generator) -> Tensor:
    radius = (1.0, 1.5, 2.0, 2.5, 3.2)[level]
    reach = int(radius)
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    disc = ((places[:, None] ** 2 + places**2) <= radius**2).float()
    return conv2d(pixels, (disc / disc.sum())[None, None], padding=reach)


def _motion_blur(pixels: Tensor, level: int, _chance: torch.Generator) -> Tensor:
    length = (3, 5, 7, 9, 13)[level]
    return conv2d(pixels, torch.full((1, 1, 1, length), 1 / length), padding=(0, length // 2))


def _brightness(pixels: Tensor, level: int, _chance: torch.Generator) -> Tensor:
    return pixels + (0.08, 0.16, 0.24, 0.34, 0.46)[level]


def _contrast(pixels: Tensor, level: int, _chance: torch.Generator) -> Tensor:
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return mean + (0.7, 0.5, 0.35, 0.22, 0.12)[level] * (pixels - mean)


def _pixelate(pixels: Tensor, level: int, _chance: torch.Generator) -> Tensor:
    size = (20, 16, 12, 8, 5)[level]
    return interpolate(
        interpolate(pixels, size=size, mode="area"), size=pixels.shape[-1], mode="nearest-exact"
    )


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian-noise": _gaussian_noise,
    "shot-noise": _shot_noise,
    "impulse-noise": _impulse_noise,
    "defocus-blur": _defocus_blur,
    "motion-blur": _motion_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
}
