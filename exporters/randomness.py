"""Random numbers drawn in forward, taken out of it: noise becomes inputs of the part.

A draw is a fixed function of standard noise, normal n ~ N(0, 1) or uniform u ~ U[0, 1):

    normal(m, s) = m + s n               uniform(a, b) = a + (b - a) u       randint(a, b) = a + floor((b - a) u)
    bernoulli(p) = [u < p]               dropout(x, p) = x [u >= p] / (1 - p)
    exponential(l) = -log(1 - u) / l     log_normal(m, s) = exp(m + s n)

so that the graph computes the function and whoever runs it hands in the noise, seeded or not as they like.
While the module is called, a TorchFunctionMode answers torch's random functions that way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from edgepack.exporters.outputs import named_shape
from edgepack.exporters.sources.base import TorchPart
from edgepack.exporters.sources.inputs import other_sizes
from edgepack.toolchain.errors import ExportError
from edgepack.toolchain.program import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

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
def _drawing(standard: Standard, where: str) -> Iterator[None]:
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


@dataclass(frozen=True)
class Draw:
    """One draw of noise: its kind and its shape in one call."""

    kind: str
    shape: tuple[int, ...]


class Noisy(torch.nn.Module):
    """A module whose last inputs are the noise that it draws, in the order in which it does.

    Args:
        module: A module that draws.
        count: How many draws a call makes.
        where: The model, for messages.
    """

    def __init__(self, module: torch.nn.Module, count: int, where: str) -> None:
        super().__init__()
        self.module = module
        self._count = count
        self._where = where

    def forward(self, *arguments: torch.Tensor) -> Any:
        """The module's inputs, then its noise; what the module returns."""
        split = len(arguments) - self._count
        noise = iter(arguments[split:])
        with _drawing(lambda _, __: next(noise), self._where):
            return self.module(*arguments[:split])


def draws(module: torch.nn.Module, inputs: Sequence[torch.Tensor], where: str) -> list[Draw]:
    """What one call draws.

    Raises:
        ExportError: A random function that has no formula here.
    """
    found: list[Draw] = []

    def standard(kind: str, shape: Sequence[int]) -> torch.Tensor:
        found.append(Draw(kind, tuple(int(n) for n in shape)))
        make = torch.randn if kind == NORMAL else torch.rand
        return make(tuple(shape), dtype=torch.float32)

    with torch.no_grad(), _drawing(standard, where):
        module(*inputs)
    return found


def noise_inputs(part: TorchPart) -> tuple[TorchPart, list[str]]:
    """The part with the noise that it draws as inputs "noise_0", "noise_1", ...

    Returns:
        The part, the very same when it draws nothing, and a note for every input.

    Raises:
        ExportError: It draws by a function that has no formula here, another number of times for other
            inputs, or in a shape that does not follow from the inputs' sizes.
    """
    sets = [part.sizes, *part.size_sets] if part.size_sets else other_sizes(part.sizes, part.limits)
    seen = []
    for index, sizes in enumerate(sets):
        arrays = part.example(sizes, index)
        seen.append(draws(part.module, [torch.from_numpy(v.copy()) for v in arrays.values()], part.where))
    first = seen[0]
    if not first:
        return part, []
    if any([d.kind for d in one] != [d.kind for d in first] for one in seen):
        raise ExportError(
            f"forward draws random numbers {', '.join(str(len(one)) for one in seen)} times for different inputs",
            where=part.where,
            todo="Draw the same number of times in every call, or hand the noise to forward as an input",
        )
    specs: list[TensorSpec] = []
    for i, draw in enumerate(first):
        name = f"noise_{i}"
        shape = named_shape(name, [one[i].shape for one in seen], sets)
        loose = [dim for dim in shape if isinstance(dim, str) and dim.startswith(f"{name}_")]
        if loose:
            raise ExportError(
                f"forward draws noise ({draw.kind}) in a shape that follows no size of its inputs: "
                f"{', '.join(str(list(one[i].shape)) for one in seen)}",
                where=part.where,
                todo="Draw in the shape of an input, or hand the noise to forward as an input",
            )
        specs.append(TensorSpec(name, "float32", shape))

    def example(sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        rng = np.random.default_rng([seed, len(specs)])
        made = part.example(sizes, seed)
        for spec, draw in zip(specs, first, strict=True):
            shape = spec.resolve(sizes)
            made[spec.name] = (
                rng.standard_normal(shape, np.float32)
                if draw.kind == NORMAL
                else rng.random(shape, np.float32)
            )
        return made

    noisy = Noisy(part.module, len(specs), part.where).eval()
    signature = Signature((*part.signature.inputs, *specs), ())
    notes = [
        f"forward draws random numbers: the input {spec} takes them, {draw.kind}, new ones for every call"
        for spec, draw in zip(specs, first, strict=True)
    ]
    return dataclasses.replace(
        part, module=noisy, reference=None, signature=signature, example=example
    ), notes
