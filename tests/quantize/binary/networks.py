"""Small networks, and a few steps of training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgepack.quantize.binary import after_step, progress


class Residual(nn.Module):
    """A convolution's norm that two read, and a BatchNorm that one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.norm1, self.norm2, self.norm3 = nn.BatchNorm2d(32), nn.BatchNorm2d(64), nn.BatchNorm1d(30)
        self.conv = nn.Conv2d(32, 64, 3, 2, 1, bias=False)
        self.grouped = nn.Conv2d(64, 64, 3, padding=1, groups=2)
        self.linear = nn.Linear(64 * 9, 30)
        self.last = nn.Linear(30, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.norm1(self.first(images))
        x = self.norm2(self.conv(x))
        x = x + self.grouped(x)
        return self.last(self.norm3(self.linear(x.flatten(1))))


def images(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def residual() -> Residual:
    torch.manual_seed(0)
    return Residual()


def train(model: nn.Module, inputs: torch.Tensor, steps: int = 4) -> list[float]:
    """Losses against random classes, one a step; the model is in eval mode then."""
    optimizer = torch.optim.Adam(model.train().parameters(), 1e-2)
    labels = torch.arange(len(inputs)) % 10
    losses = []
    for step in range(steps):
        progress(model, step / max(steps - 1, 1))
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        after_step(model)
        losses.append(float(loss.detach()))
    model.eval()
    return losses


def layer(model: nn.Module, name: str) -> Any:
    """A submodule, of whose attributes nothing is known."""
    return model.get_submodule(name)
