"""What every architecture's `build` ends with: the facts of a network, and a model of one part."""

from __future__ import annotations

from typing import Any

import torch

from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.results import SourceFacts


def facts(name: str, net: torch.nn.Module, task: str) -> SourceFacts:
    """Facts for the report: sizes are those of `net`, tied parameters counted once."""
    return SourceFacts(
        kind="zoo", location=name, fingerprint="", task=task, architecture=name,
        parameters=sum(p.numel() for p in net.parameters()),
        weight_bytes=sum(p.numel() * p.element_size() for p in net.parameters()),
    )  # fmt: skip


def one_part(
    name: str, net: torch.nn.Module, task: str, *inputs: str, outputs: list[str], **more: Any
) -> TorchModel:
    """A model of the single part "main"; `inputs` and `more` as `torch_part` has them."""
    part = torch_part(net.eval(), *inputs, outputs=outputs, where=name, **more)
    return TorchModel({"main": part}, facts(name, net, task))
