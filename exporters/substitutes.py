"""Functions of torch that torch.export cannot trace, or traces for one size only, computed by others meanwhile.

They are replaced by their names in torch, not by a mode for all functions: a mode would be in the way of control flow
operators.

    istft              fixes the signal's length
    linalg.lstsq       has no shape function; X = A^+ B, which is what its default driver gives for any rank
    cov, corrcoef      compare values for a warning
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from edgepack.exporters.pairs.base import Pair
from edgepack.exporters.pairs.short_time import istft


@contextmanager
def substituted() -> Iterator[None]:
    """Within, the functions above are replaced."""
    covariance = _covariance(torch.cov)
    correlation = _correlation(covariance)
    inverse = _inverse_transform(torch.istft)
    with ExitStack() as stack:
        for owner, name, function in (
            (torch, "istft", inverse),
            (torch.Tensor, "istft", inverse),
            (torch.linalg, "lstsq", _least_squares),
            (torch, "cov", covariance),
            (torch.Tensor, "cov", covariance),
            (torch, "corrcoef", correlation),
            (torch.Tensor, "corrcoef", correlation),
        ):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, function)
        yield


def _inverse_transform(before: Callable[..., Any]) -> Callable[..., Any]:
    def free(input: Any, n_fft: Any, *args: Any, **given: Any) -> Any:  # noqa: A002 - torch's name
        if isinstance(input, torch.Tensor) and input.is_complex():
            named = {"hop" if name == "hop_length" else name: value for name, value in given.items()}
            answer = istft(Pair(input.real, input.imag), n_fft, *args, **named)
            if answer is not NotImplemented:
                return answer
        return before(input, n_fft, *args, **given)

    return free


def _least_squares(
    A: torch.Tensor,  # noqa: N803 - torch's name
    B: torch.Tensor,  # noqa: N803 - torch's name
    rcond: float | None = None,
    *,
    driver: str | None = None,  # noqa: ARG001 - torch's name; all of them solve the same problem
) -> Any:
    """Solution, residuals (where there are more equations than unknowns), rank, and no singular values."""
    vector = A.ndim - 1 == B.ndim and A.shape[:-1] == B.shape
    b = B.unsqueeze(-1) if vector else B
    cut = torch.finfo(A.dtype).eps * max(A.shape[-2:]) if rcond is None else rcond
    solution = torch.linalg.pinv(A, rtol=cut) @ b
    tall = A.shape[-2] > A.shape[-1]
    residuals = (A @ solution - b).square().sum(-2) if tall else A.new_empty(0)
    rank = torch.linalg.matrix_rank(A, rtol=cut)
    solution = solution.squeeze(-1) if vector else solution
    named: Any = torch.return_types
    return named.linalg_lstsq((solution, residuals, rank, A.new_empty(0)))


def _covariance(before: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def covariance(
        input: torch.Tensor,  # noqa: A002 - torch's name
        *,
        correction: int = 1,
        fweights: torch.Tensor | None = None,
        aweights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Of the rows of x, [n, n]; weights are left to torch."""
        if fweights is not None or aweights is not None:
            return before(input, correction=correction, fweights=fweights, aweights=aweights)
        rows = input.reshape(-1, input.shape[-1]) if input.ndim else input.reshape(1, 1)
        rows = rows if rows.is_floating_point() or rows.is_complex() else rows.to(torch.get_default_dtype())
        centred = rows - rows.mean(1, keepdim=True)
        made = centred @ centred.mH / (rows.shape[1] - correction)
        return made.squeeze() if rows.shape[0] == 1 else made

    return covariance


def _correlation(covariance: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def correlation(input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        made = covariance(input)
        if made.ndim == 0:
            return made / made
        deviation = torch.diagonal(made).real.sqrt() if made.is_complex() else torch.diagonal(made).sqrt()
        made = made / deviation.unsqueeze(1) / deviation.unsqueeze(0)
        return made if made.is_complex() else made.clamp(-1, 1)

    return correlation
