"""Checks what a caller feeds to a session against the part's signature, before a runtime sees it.

Runtimes answer a wrong input with messages of their own making, or not at all; here every session
answers in the same words: which input, what was expected, what was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import Signature, TensorSpec

_TEXT_DTYPES = frozenset({"object", "str", "string"})


class InputCheck:
    """`check_inputs` for call after call: one of the shapes and dtypes of the call before is accepted at a glance.

    The runtime's own work leaves no Python code in the processor's caches, so that every line between two calls
    costs several times what it seems to.

    Args:
        signature: Of the part.
        where: File or part, for the message.
    """

    def __init__(self, signature: Signature, where: str) -> None:
        self._signature, self._where = signature, where
        self._accepted: dict[str, object] | None = None

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Check the inputs of a call.

        Raises:
            UsageError: As of `check_inputs`.
        """
        try:
            like: dict[str, object] | None = {
                name: (value.dtype, value.shape) for name, value in inputs.items()
            }
        except AttributeError:  # not an array; the check says which
            like = None
        if like is None or like != self._accepted:
            check_inputs(self._signature, inputs, self._where)
            self._accepted = like


def check_inputs(signature: Signature, inputs: Mapping[str, np.ndarray], where: str) -> dict[str, int]:
    """Check names, dtypes, ranks and shapes; dimensions of the same name must agree between inputs.

    Args:
        signature: Of the part.
        inputs: What is about to be run.
        where: File or part, for the message.

    Returns:
        The size of every named dimension of the inputs.

    Raises:
        UsageError: With the input's name, what was expected and what was given.
    """
    expected = [spec.name for spec in signature.inputs]
    for name in expected:
        if name not in inputs:
            raise UsageError(
                f"The input '{name}' is missing",
                where=where,
                todo=f"Give all of: {', '.join(map(str, signature.inputs))}",
            )
    for name in inputs:
        if name not in expected:
            raise UsageError(
                f"There is no input '{name}'",
                where=where,
                todo=f"Give exactly: {', '.join(map(str, signature.inputs)) or 'no inputs'}",
            )
    sizes: dict[str, tuple[int, str]] = {}
    for spec in signature.inputs:
        _check_one(spec, inputs[spec.name], sizes, where)
    return {symbol: size for symbol, (size, _) in sizes.items()}


def _check_one(spec: TensorSpec, value: np.ndarray, sizes: dict[str, tuple[int, str]], where: str) -> None:
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        raise UsageError(
            f"The input '{spec.name}' must be a numpy array, and a {type(value).__name__} was given",
            where=where,
            todo=f"Give {spec}",
        )
    if not _is(dtype, spec.dtype):
        given = dtype.name if dtype.isnative else f"{dtype.name} in foreign byte order"
        raise UsageError(
            f"The input '{spec.name}' must be {spec.dtype}, and {given} was given",
            where=where,
            todo=f"Convert it with .astype('{spec.dtype}')",
        )
    if len(value.shape) != len(spec.shape):
        raise UsageError(
            f"The input '{spec.name}' must have {len(spec.shape)} dimensions, [{_shape(spec.shape)}], "
            f"and an array of shape [{_shape(value.shape)}] was given",
            where=where,
            todo=f"Give {spec}",
        )
    for axis, (dim, size) in enumerate(zip(spec.shape, value.shape, strict=True)):
        wanted, by = (dim, "") if isinstance(dim, int) else sizes.setdefault(dim, (size, spec.name))
        if size != wanted:
            like = f" as in '{by}' ({dim})" if by else ""
            raise UsageError(
                f"The input '{spec.name}' must be {wanted} long along axis {axis}{like}, "
                f"and an array of shape [{_shape(value.shape)}] was given",
                where=where,
                todo=f"Give {spec}",
            )


def _is(dtype: np.dtype, name: str) -> bool:
    """Whether an array's dtype is the named one; a big-endian one has the right name and the wrong bytes."""
    known = _dtype(name)
    if known is not None:
        return dtype == known
    return dtype.kind in "OUST" if name in _TEXT_DTYPES else dtype.name == name and dtype.isnative


@cache
def _dtype(name: str) -> np.dtype | None:
    """Numpy's own dtype of that name, looked up once: asking an array for its dtype's name takes 5 us a call."""
    import numpy as np

    try:
        return None if name in _TEXT_DTYPES else np.dtype(name)
    except TypeError:  # an extension's, such as bfloat16
        return None


def _shape(shape: tuple[int | str, ...]) -> str:
    return ",".join(map(str, shape))
