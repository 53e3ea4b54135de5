"""Signal functions of torch that fix the length which they are traced with, replaced while a model is traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from edgepack.exporters.pairs.base import Pair
from edgepack.exporters.pairs.short_time import istft


@contextmanager
def free_lengths() -> Iterator[None]:
    """Within, torch.istft is computed with operators that leave the signal's length free.

    By its names in torch, not by a mode for all functions: a mode would be in the way of control flow operators.
    """
    before: Any = torch.istft
    method: Any = torch.Tensor.istft

    def free(input: Any, n_fft: Any, *args: Any, **given: Any) -> Any:  # noqa: A002 - torch's name
        if isinstance(input, torch.Tensor) and input.is_complex():
            named = {"hop" if name == "hop_length" else name: value for name, value in given.items()}
            answer = istft(Pair(input.real, input.imag), n_fft, *args, **named)
            if answer is not NotImplemented:
                return answer
        return before(input, n_fft, *args, **given)

    torch.istft = free
    torch.Tensor.istft = free  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.istft = before
        torch.Tensor.istft = method  # type: ignore[method-assign]
