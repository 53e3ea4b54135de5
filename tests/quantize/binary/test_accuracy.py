"""Every method learns: a small network on 1,500 images of Fashion-MNIST, judged frozen on 1,000 others.

Chance is 10 %.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgepack.quantize.binary import after_step, convert, freeze, methods, progress
from tests.trained import fashion_mnist, training

pytestmark = [pytest.mark.slow, pytest.mark.system(fashion_mnist.PACKAGE)]
IMAGES, JUDGED, BATCH, STEPS = 1500, 1000, 50, 120
FLOOR = 66.0
"""In percent; 71 to 75 when it was set."""


def pictures(split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Halved to 14x14, and their classes."""
    pixels, labels = fashion_mnist.load(split)
    small = nn.functional.avg_pool2d(torch.from_numpy(pixels[:count].copy()), 2)
    return small, torch.from_numpy(labels[:count].copy())


def network() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)),
        *(nn.Conv2d(32, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)),
        *(nn.Conv2d(64, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )


def learned(model: nn.Module) -> nn.Module:
    pixels, labels = pictures("train", IMAGES)
    optimizer = torch.optim.Adam(model.train().parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5e-3, STEPS, pct_start=0.2, cycle_momentum=False
    )
    for step in range(STEPS):
        progress(model, step / (STEPS - 1))
        chosen = torch.randint(IMAGES, (BATCH,))
        loss = nn.functional.cross_entropy(model(pixels[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        after_step(model)
    return model.eval()


@pytest.mark.parametrize("method", methods.names())
def test_a_method_reaches_its_floor(method):
    with training.repeatable():
        model, report = convert(network(), method, example_inputs=(torch.zeros(2, 1, 14, 14),))
        assert report.binary == ("2", "4")
        frozen = freeze(learned(model))
        pixels, labels = pictures("test", JUDGED)
        with torch.no_grad():
            right = 100 * float((frozen(pixels).argmax(1) == labels).float().mean())
    assert right >= FLOOR, f"{right:.1f} %"
