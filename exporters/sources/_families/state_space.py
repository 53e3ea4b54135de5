"""State-space layers of transformers without a loop over time in the graph.

Mamba's scan becomes one Scan node (`edgepack.exporters.scans.selective`), that of Mamba-2 products over
chunks (`edgepack.exporters.scans.chunked`). Here their arguments are brought into the order in which the
families' modules give them. Both are verified against the families' own reference code.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from edgepack.exporters.scans.chunked import chunked_scan
from edgepack.exporters.scans.selective import selective_scan


@contextlib.contextmanager
def without_loops(model: torch.nn.Module) -> Iterator[None]:
    """While it lasts, the scans of `model` are one node or matrix products.

    Args:
        model: A transformers model; one without state-space layers is left alone.
    """
    before = [
        (home, name, getattr(home, name)) for home in homes(model) for name in _OWN if hasattr(home, name)
    ]
    try:
        for home, name, _ in before:
            setattr(home, name, _OWN[name])
        yield
    finally:
        for home, name, function in before:
            setattr(home, name, function)


def present(model: torch.nn.Module) -> bool:
    """Whether the model has a scan that is replaced."""
    return any(hasattr(home, name) for home in homes(model) for name in _OWN)


def homes(model: torch.nn.Module) -> list[Any]:
    """The Python modules that hold the classes of `model` and of all its submodules."""
    return list({id(m): m for part in model.modules() if (m := sys.modules[type(part).__module__])}.values())


def selective(  # noqa: PLR0913 - transformers' interface
    hidden_states: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,  # noqa: N803 - the caller's keywords
    B: torch.Tensor,  # noqa: N803
    C: torch.Tensor,  # noqa: N803
    D: torch.Tensor | None = None,  # noqa: N803
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    *,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **_: Any,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Mamba's scan from a zero state, time in the last axis.

    Args:
        hidden_states: x [batch, channels, length].
        dt: Step sizes before bias and softplus [batch, channels, length].
        A: [channels, states], negative.
        B: [batch, states, length].
        C: [batch, states, length].
        D: Skip connection [channels].
        z: Gate [batch, channels, length].
        delta_bias: Added to dt [channels].
        delta_softplus: Apply softplus to dt.
        return_last_state: Return the state after the last step too.

    Returns:
        y [batch, channels, length], and the last state [batch, channels, states].
    """
    sizes = dt if delta_bias is None else dt + delta_bias[:, None]
    if delta_softplus:
        sizes = functional.softplus(sizes)
    x, sizes, b, c = (t.transpose(1, 2) for t in (hidden_states, sizes, B, C))
    y, last = selective_scan(x, sizes, A, b, c, D)
    y = y.transpose(1, 2)
    if z is not None:
        y = y * functional.silu(z)
    return (y, last) if return_last_state else y


def chunked(  # noqa: PLR0913 - transformers' interface
    hidden_states: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,  # noqa: N803 - the caller's keywords
    B: torch.Tensor,  # noqa: N803
    C: torch.Tensor,  # noqa: N803
    chunk_size: int,
    D: torch.Tensor | None = None,  # noqa: N803
    dt_bias: torch.Tensor | None = None,
    initial_states: torch.Tensor | None = None,
    *,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    **_: Any,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Mamba-2's scan by chunks.

    Args:
        hidden_states: x [batch, length, heads, head_dim].
        dt: Step sizes before bias, softplus and limits [batch, length, heads].
        A: [heads], negative.
        B: [batch, length, groups, states].
        C: [batch, length, groups, states].
        chunk_size: Steps a chunk.
        D: Skip connection [heads].
        dt_bias: Added to dt [heads].
        initial_states: State before the first step [batch, heads, head_dim, states]; zeros when None.
        dt_softplus: Apply softplus to dt.
        dt_limit: Smallest and largest step size.
        return_final_states: Return the state after the last step too.

    Returns:
        y [batch, length, heads, head_dim], and the last state [batch, heads, head_dim, states].
    """
    sizes = dt if dt_bias is None else dt + dt_bias
    if dt_softplus:
        sizes = functional.softplus(sizes)
    smallest, largest = dt_limit
    sizes = torch.clamp(sizes, min=smallest, max=None if largest == float("inf") else largest)
    x = hidden_states * sizes[..., None]
    y, last = chunked_scan(x, sizes * A, B, C, initial_states, chunk_size)
    if D is not None:
        y = y + D[:, None] * hidden_states
    return (y, last) if return_final_states else y


_OWN: dict[str, Any] = {"mamba_selective_scan": selective, "mamba2_chunk_scan": chunked}
