"""A binary network like a ResNet, trained on all of Fashion-MNIST; the first use trains it, a killed training goes on.

    edgepack export tests/trained/binary.py:network --target cpu:onnxruntime

In float it is a chain of convolutions; `edgepack.quantize.binary` puts a shortcut around each when it becomes binary.
Products are computed in bfloat16 while it learns: signs are exact in it, and it is several times faster where the
processor has it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

# edgepack loads this file by its path, from wherever it is called.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from edgepack.quantize.binary import after_step, convert, freeze, progress
from tests.trained import fashion_mnist, store, training

_LIBRARY = ("_geometry", "_layer", "_method", "_shortcut", "_sign", "_methods/bi_real", "_methods/reactnet")
CODE = (
    "binary.py",
    "fashion_mnist.py",
    "training.py",
    *(f"../../quantize/binary/{name}.py" for name in _LIBRARY),
)
WEIGHTS = "weights.safetensors"
BATCH = 128
_EVERY = 100  # steps between two checkpoints


class Plan(NamedTuple):
    """A network and how long it is trained.

    Attributes:
        method: Of binarization.
        channels: Of the convolutions behind the stem, whose own are the first; where they double the image halves.
        epochs: Times that all training images are seen.
        rate: The largest learning rate.
    """

    method: str
    channels: tuple[int, ...]
    epochs: int
    rate: float

    def network(self) -> nn.Sequential:
        """The float network, for grey images of 28x28."""
        width = self.channels[0]
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for channels in self.channels:
            stride = 2 if channels > width else 1
            layers += [
                nn.Conv2d(width, channels, 3, stride, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            width = channels
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))

    def binary(self) -> nn.Module:
        """The same with binary layers, which is what is trained."""
        return convert(self.network(), self.method)[0]


PLAN = Plan("reactnet", (64, 128, 128, 256, 256), 4, 4e-3)


def network() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The frozen network, and two images."""
    return freeze(trained(PLAN)), examples()


def twin() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The float network of the same sizes, untrained, and two images: for times and sizes."""
    with training.repeatable():
        return PLAN.network().eval(), examples()


def examples() -> tuple[torch.Tensor, ...]:
    """Two training images."""
    return (torch.from_numpy(fashion_mnist.load("train")[0][:2].copy()),)


def trained(plan: Plan) -> nn.Module:
    """The network of a plan with its weights, trained now unless they are there."""
    from safetensors.torch import load_file

    data = [fashion_mnist.FOLDER / name for name in fashion_mnist.FILES["train"]]
    folder = store.trained(CODE, data, plan._asdict(), lambda into: _train(plan, into))
    model = plan.binary()
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()


def _train(plan: Plan, into: Path) -> None:
    from safetensors.torch import save_file

    key = store.syntax("".join(store.source(name) for name in CODE) + repr(tuple(plan)))
    checkpoint = store.ROOT / f"{key}.checkpoint"
    pixels, labels = (torch.from_numpy(values) for values in fashion_mnist.load("train"))
    with training.repeatable():
        model = plan.binary().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        steps = len(pixels) // BATCH * plan.epochs
        optimizer = torch.optim.Adam(model.parameters(), plan.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, plan.rate, steps, pct_start=0.2, cycle_momentum=False
        )
        state: Any = (model, optimizer, schedule)
        first = _resume(checkpoint, state)
        for step, chosen in enumerate(_rows(len(pixels), steps)):
            if step < first:
                continue
            progress(model.train(), step / (steps - 1))
            images = pixels[chosen].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images)
            loss = nn.functional.cross_entropy(logits.float(), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            after_step(model)
            if step % _EVERY == _EVERY - 1:
                _keep(checkpoint, step + 1, state)
                print(f"step {step + 1} of {steps}: loss {float(loss.detach()):.3f}")  # noqa: T201 - it takes minutes
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, into / WEIGHTS)
    checkpoint.unlink(missing_ok=True)


def _rows(count: int, steps: int) -> Iterator[torch.Tensor]:
    """Full batches of row numbers, in a new order each time around."""
    chance = torch.Generator().manual_seed(0)
    made = 0
    while made < steps:
        for rows in torch.randperm(count, generator=chance).split(BATCH)[: min(count // BATCH, steps - made)]:
            made += 1
            yield rows


def _keep(path: Path, step: int, state: Any) -> None:
    """Written aside and renamed: a killed training leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    torch.save({"step": step, "states": [one.state_dict() for one in state]}, aside)
    aside.replace(path)


def _resume(path: Path, state: Any) -> int:
    """The step to go on with."""
    if not path.is_file():
        return 0
    kept = torch.load(path, weights_only=True)
    for one, values in zip(state, kept["states"], strict=True):
        one.load_state_dict(values)
    return int(kept["step"])
