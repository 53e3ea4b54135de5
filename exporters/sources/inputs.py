"""Input specifications, "name:dtype[1,seq=128]", and example inputs made from them.

A dimension is a number, which is fixed, or `name=size`, which may vary and is `size` in the first
example, or a name that has its size elsewhere, or the sum of two such names, "past+step".
The example values are random from a seed: integers within the range the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import SourceError, UnknownNameError, UsageError
from edgepack.toolchain.program import TensorSpec, terms

if TYPE_CHECKING:
    import numpy as np
    import torch

DTYPES = (
    "float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool",
    "complex64", "complex128",
)  # fmt: skip
_SPEC = re.compile(r"^(?P<name>[^:\s]+):(?P<dtype>\w+)\[(?P<dims>[^\]]*)\]$")
_NAMES = re.compile(r"^[A-Za-z_]\w*(\+[A-Za-z_]\w*)?$")
_DIM = re.compile(r"^(?:(?P<symbol>[A-Za-z_]\w*)=)?(?P<size>\d+)$")


def parse(texts: Iterable[str]) -> tuple[tuple[TensorSpec, ...], dict[str, int]]:
    """Read input specifications.

    Returns:
        The specs in order, and the size of every named dimension.

    Raises:
        UsageError: A text is not of the form, or one dimension is given two sizes.
    """
    specs: list[TensorSpec] = []
    sizes: dict[str, int] = {}
    for text in texts:
        match = _SPEC.match(text.strip())
        if not match:
            raise UsageError(
                f"The input specification '{text}' is not of the form name:dtype[dims]",
                where="--inputs",
                todo='Write it like "ids:int64[1,seq=128]"',
            )
        if match["dtype"] not in DTYPES:
            raise UnknownNameError("dtype", match["dtype"], DTYPES, where="--inputs")
        words = filter(None, (part.strip() for part in match["dims"].split(",")))
        shape = [_sorted(word) if _NAMES.match(word) else _dimension(word, text, sizes) for word in words]
        if any(spec.name == match["name"] for spec in specs):
            raise UsageError(f"The input '{match['name']}' is specified twice", where="--inputs")
        specs.append(TensorSpec(match["name"], match["dtype"], tuple(shape)))
    _check_names(specs, sizes)
    return tuple(specs), sizes


def _sorted(names: str) -> str:
    """A sum in the one order in which it is written everywhere."""
    return "+".join(sorted(names.split("+")))


def _dimension(word: str, text: str, sizes: dict[str, int]) -> int | str:
    """A number, or a name whose size is added to `sizes`."""
    dim = _DIM.match(word)
    if not dim or int(dim["size"]) < 1:
        raise UsageError(
            f"The dimension '{word}' of '{text}' is neither a positive number nor name=number",
            where="--inputs",
            todo='Write it like "ids:int64[1,seq=128]"',
        )
    if not dim["symbol"]:
        return int(dim["size"])
    if sizes.setdefault(dim["symbol"], int(dim["size"])) != int(dim["size"]):
        raise UsageError(
            f"The dimension '{dim['symbol']}' is given two sizes, {sizes[dim['symbol']]} and {dim['size']}",
            where="--inputs",
            todo="Give it one size, or two names",
        )
    return dim["symbol"]


def _check_names(specs: Iterable[TensorSpec], sizes: Mapping[str, int]) -> None:
    for spec in specs:
        unknown = [name for dim in spec.shape for name in terms(dim) if name not in sizes]
        if unknown:
            raise UsageError(
                f"'{spec}' names the dimension '{unknown[0]}', which has no size",
                where="--inputs",
                todo=f"Write the dimension as a number or as {unknown[0]}=number",
            )


def random_inputs(
    specs: Iterable[TensorSpec],
    sizes: Mapping[str, int],
    seed: int,
    upper: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Random values for `specs`: standard normal floats and parts of complex numbers, integers in [0, upper), booleans.

    Args:
        specs: What to make.
        sizes: Sizes of the named dimensions.
        seed: The same seed gives the same values.
        upper: Exclusive upper bound of an integer input by name (2 where none is given, which
            suits masks and is safe for indices).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for spec in specs:
        shape = spec.resolve(sizes)
        if spec.dtype == "bool":
            made[spec.name] = rng.integers(0, 2, shape).astype(bool)
        elif spec.dtype.startswith(("int", "uint")):
            made[spec.name] = rng.integers(0, (upper or {}).get(spec.name, 2), shape).astype(spec.dtype)
        elif spec.dtype.startswith("complex"):
            both = rng.standard_normal((*shape, 2))
            made[spec.name] = (both[..., 0] + 1j * both[..., 1]).astype(spec.dtype)
        else:
            made[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
    return made


def other_sizes(sizes: Mapping[str, int], limits: Mapping[str, int] | None = None) -> list[dict[str, int]]:
    """Three sets of sizes for reference cases: the first as given, the others smaller and larger.

    Sizes that cannot vary stay; the sizes of different dimensions change by different steps, so that
    two dimensions that were confused do not stay equal by chance.
    """
    limits = limits or {}
    smaller = {name: max(1, size // 2 - 1 - i) for i, (name, size) in enumerate(sizes.items())}
    larger = {
        name: min(size + 3 + 2 * i, limits.get(name, size + 3 + 2 * i))
        for i, (name, size) in enumerate(sizes.items())
    }
    return [dict(sizes), smaller, larger]


def check_numpy(value: torch.Tensor, what: str, where: str) -> None:
    """Raise unless numpy, and with it every runtime's Python interface, has the tensor's dtype.

    Args:
        value: An input or output of a model.
        what: The same in words.
        where: The model.

    Raises:
        SourceError: bfloat16 or an 8-bit float.
    """
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype == "bfloat16" or dtype.startswith("float8"):
        raise SourceError(
            f"The {what} is {dtype}, which numpy's arrays do not have",
            where=where,
            todo="Give the model in float32: call model.float() in the factory, and precisions are chosen on export",
        )
