"""Playing a model's rollout in torch: parts called one after the other, states carried by its links."""

import numpy as np
import torch

from edgepack.exporters.record import record
from edgepack.exporters.sources import TorchModel
from edgepack.toolchain.links import StatefulProgram


def worst(model: TorchModel) -> tuple[float, int]:
    """The largest difference between a call of the rollout and what it must give, and how many calls there were."""
    player = StatefulProgram(
        {name: record(part)[1] for name, part in model.parts.items()},
        model.links,
        lambda part, feed: run(model.parts[part], feed),
    )
    assert model.rollout is not None
    calls = model.rollout()
    differences = [0.0]
    for call in calls:
        got = player.call(call.part, call.inputs)
        assert call.outputs
        differences += [float(np.abs(got[name] - value).max()) for name, value in call.outputs.items()]
    return max(differences), len(calls)


def run(part, feed):
    """Outputs by name."""
    with torch.no_grad():
        made = part.module(*(torch.from_numpy(np.asarray(value)) for value in feed.values()))
    outputs = made if isinstance(made, (tuple, list)) else (made,)
    return {name: value.numpy() for name, value in zip(part.output_names, outputs, strict=True)}
