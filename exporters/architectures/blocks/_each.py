"""The modules of a list by their type, which `torch.nn.ModuleList` does not say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch

M = TypeVar("M", bound=torch.nn.Module)


def each(modules: torch.nn.ModuleList, kind: type[M]) -> Iterator[M]:
    """Every module of the list, all of which are of `kind`."""
    for module in modules:
        assert isinstance(module, kind)  # noqa: S101 - tells type checkers
        yield module
