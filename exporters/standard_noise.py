"""torch's random functions as functions of standard noise.

A draw is a fixed function of standard noise, normal n ~ N(0, 1) or uniform u ~ U[0, 1):

    normal(m, s) = m + s n               uniform(a, b) = a + (b - a) u       randint(a, b) = a + floor((b - a) u)
    bernoulli(p) = [u < p]               dropout(x, p) = x [u >= p] / (1 - p)
    exponential(l) = -log(1 - u) / l     log_normal(m, s) = exp(m + s n)

While a module is called, a TorchFunctionMode answers torch's random functions that way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from edgepack.toolchain.errors import ExportError

if TYPE_CHECKING:
    Standard = Callable[[str, Sequence[int]], torch.Tensor]

NORMAL, UNIFORM = "standard normal", "uniform [0, 1)"

# Random functions without such a formula here; drawing from them is refused by name.
_REFUSED = {
    "multinomial", "poisson", "_standard_gamma", "_sample_dirichlet", "binomial", "randperm", "random_",
    "cauchy_", "geometric_", "rrelu", "rrelu_", "alpha_dropout", "alpha_dropout_", "feature_alpha_dropout",
    "feature_alpha_dropout_", "native_dropout", "fractional_max_pool2d", "fractional_max_pool3d",
}  # fmt: skip


class Draws(TorchFunctionMode):
    """Answers torch's random functions from standard noise.

    Args:
        standard: Gives noise of a kind (NORMAL or UNIFORM) and shape, float32.
        where: The model, for messages.
    """

    def __init__(self, standard: Standard, where: str) -> None:
        super().__init__()
        self._standard = standard
        self._where = where

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The function itself, or its formula where it draws.

        Raises:
            ExportError: A random function that has no formula here.
        """
        del types
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        formula = _FORMULAS.get(name)
        if formula is not None:
            given.pop("generator", None)
            return formula(self._standard, *args, **given)
        if name in _REFUSED and _draws(name, args, given):
            raise self._refusal(name)
        if name == "scaled_dot_product_attention" and _argument(args, given, 4, "dropout_p", 0.0):
            raise self._refusal("scaled_dot_product_attention with dropout_p")
        return func(*args, **given)

    def _refusal(self, name: str) -> ExportError:
        return ExportError(
            f"forward draws random numbers with {name}, which cannot be made a function of a noise input",
            where=self._where,
            todo="Draw them outside and hand them to forward as an input, or put the model in eval mode",
        )


def _draws(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of a function that has a mode without drawing does draw."""
    if "dropout" in name:
        return bool(_argument(args, kwargs, 2, "train", default=False)) or name == "native_dropout"
    if name in {"rrelu", "rrelu_"}:
        return bool(_argument(args, kwargs, 3, "training", default=False))
    return True


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], index: int, name: str, default: Any) -> Any:
    return args[index] if len(args) > index else kwargs.get(name, default)


def _size(size: Sequence[Any]) -> tuple[int, ...]:
    """randn(2, 3) and randn((2, 3)) alike."""
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)


def _typed(value: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return value.to(dtype or torch.get_default_dtype())


def _filled(kind: str) -> Callable[..., torch.Tensor]:
    def make(
        standard: Standard, *size: Any, dtype: torch.dtype | None = None, out: Any = None, **named: Any
    ) -> torch.Tensor:
        made = _typed(standard(kind, _size(size or (named["size"],))), dtype)
        return made if out is None else out.copy_(made)

    return make


def _like(kind: str) -> Callable[..., torch.Tensor]:
    def make(
        standard: Standard, x: torch.Tensor, *, dtype: torch.dtype | None = None, **_: object
    ) -> torch.Tensor:
        return standard(kind, x.shape).to(dtype or x.dtype)

    return make


def _normal(
    standard: Standard, mean: Any, std: Any = 1.0, size: Any = None, *, dtype: Any = None, **_: object
) -> torch.Tensor:
    if size is None:
        size = (mean + std).shape
    noise = standard(NORMAL, size)
    kept = next((v.dtype for v in (mean, std) if isinstance(v, torch.Tensor)), dtype)
    return _typed(mean + std * noise, kept)


def _normal_(standard: Standard, x: torch.Tensor, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
    return x.copy_(mean + std * standard(NORMAL, x.shape))


def _log_normal_(standard: Standard, x: torch.Tensor, mean: float = 1.0, std: float = 2.0) -> torch.Tensor:
    return x.copy_((mean + std * standard(NORMAL, x.shape)).exp())


def _uniform_(
    standard: Standard, x: torch.Tensor, a: float = 0.0, b: float = 1.0, **named: float
) -> torch.Tensor:
    a, b = named.get("from", a), named.get("to", b)
    return x.copy_(a + (b - a) * standard(UNIFORM, x.shape))


def _exponential_(standard: Standard, x: torch.Tensor, lambd: float = 1.0) -> torch.Tensor:
    return x.copy_(-torch.log1p(-standard(UNIFORM, x.shape)) / lambd)


def _bernoulli(standard: Standard, x: torch.Tensor, p: float | None = None, **_: object) -> torch.Tensor:
    return (standard(UNIFORM, x.shape) < (x if p is None else p)).to(x.dtype)


def _bernoulli_(standard: Standard, x: torch.Tensor, p: Any = 0.5) -> torch.Tensor:
    return x.copy_((standard(UNIFORM, x.shape) < p).to(x.dtype))


def _dropout(
    standard: Standard, x: torch.Tensor, p: float = 0.5, *train: bool, **named: bool
) -> torch.Tensor:
    if p == 0.0 or not _active(train, named):
        return x
    return _dropped(standard, x, p, x.shape)


def _feature_dropout(
    standard: Standard, x: torch.Tensor, p: float = 0.5, *train: bool, **named: bool
) -> torch.Tensor:
    if p == 0.0 or not _active(train, named):
        return x
    return _dropped(standard, x, p, (*x.shape[:2], *(1 for _ in x.shape[2:])))


def _active(train: Sequence[bool], named: Mapping[str, bool]) -> bool:
    return train[0] if train else named.get("train", named.get("training", True))


def _dropped(standard: Standard, x: torch.Tensor, p: float, shape: Sequence[int]) -> torch.Tensor:
    if p == 1.0:
        return x * 0.0
    return x * (standard(UNIFORM, shape) >= p).to(x.dtype) / (1.0 - p)


def _in_place(formula: Callable[..., Any]) -> Callable[..., Any]:
    def make(standard: Standard, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return x.copy_(formula(standard, x, *args, **kwargs))

    return make


def _randint(standard: Standard, *args: Any, dtype: torch.dtype | None = None, **named: Any) -> torch.Tensor:
    # randint(high, size) or randint(low, high, size)
    size = named["size"] if "size" in named else args[-1]
    bounds = [v for v in args if not isinstance(v, (tuple, list))]
    bounds += [named[key] for key in ("low", "high") if key in named]
    low, high = (0, bounds[0]) if len(bounds) == 1 else bounds[:2]
    return _integers(standard, low, high, size, dtype or torch.int64)


def _randint_like(
    standard: Standard, x: torch.Tensor, *bounds: int, dtype: torch.dtype | None = None, **named: Any
) -> torch.Tensor:
    given = [*bounds, *(named[key] for key in ("low", "high") if key in named)]
    low, high = (0, given[0]) if len(given) == 1 else given[:2]
    return _integers(standard, low, high, x.shape, dtype or x.dtype)


def _integers(
    standard: Standard, low: int, high: int, size: Sequence[int], dtype: torch.dtype
) -> torch.Tensor:
    # u < 1, and the product may round up to its end.
    steps = torch.floor(standard(UNIFORM, size) * (high - low)).clamp(max=high - low - 1)
    return (steps + low).to(dtype)


_FORMULAS: Mapping[str, Callable[..., Any]] = {
    "randn": _filled(NORMAL), "rand": _filled(UNIFORM), "randn_like": _like(NORMAL), "rand_like": _like(UNIFORM),
    "normal": _normal, "normal_": _normal_, "log_normal_": _log_normal_, "uniform_": _uniform_,
    "exponential_": _exponential_, "bernoulli": _bernoulli, "bernoulli_": _bernoulli_, "dropout": _dropout,
    "dropout_": _in_place(_dropout), "feature_dropout": _feature_dropout,
    "feature_dropout_": _in_place(_feature_dropout), "randint": _randint, "randint_like": _randint_like,
}  # fmt: skip


@contextmanager
def drawing(standard: Standard, where: str) -> Iterator[None]:
    """Within, torch's random functions take their noise from `standard`."""
    functional: Any = torch.nn.functional
    names = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    before = {name: getattr(functional, name) for name in names}
    # A function written in Python would be handed to the mode as a whole, and what it draws inside would
    # be out of its sight: have it run, so that the mode sees the functions that it is made of.
    for name in names:
        setattr(functional, name, lambda *_: False)
    try:
        with Draws(standard, where):
            yield
    finally:
        for name, function in before.items():
            setattr(functional, name, function)
