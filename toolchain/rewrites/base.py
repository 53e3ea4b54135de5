"""What a rewrite is, the registry of them, and how a list of them is applied.

A pass (`toolchain.passes`) tidies a graph up for everybody. A rewrite says the same thing in other operators, because
of what one accelerator refuses or computes badly; on a CPU it would only cost time. It takes an `onnx_ir.Model` in
floating point, changes it in place, and returns how often it was applied. What the graph computes stays the same up to
rounding, or up to an approximation whose bound its docstring states; inputs and outputs keep their names and types.

Third parties add one through the entry-point group `edgepack.rewrites`.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgepack.toolchain.results import NodeReason


@dataclass(frozen=True)
class Device:
    """What a rewrite may know of the accelerator and of the form that the graph will be quantized to.

    Attributes:
        activation_bits: Width of activations, 8 or 16.
        wide_products: Whether it multiplies two activations of that width by one another.
        sizes: Size of every named dimension.
        fast_bytes: Memory beside the accelerator for activations; 0 where it is not known.
        has: Standard operators that it computes as they are, and well, at that width: no rewrite of them is wanted
            before they are refused.
        lacks: Standard operators that it does not have, that its compiler fails on, or that it takes and computes
            wrongly, so that no placement names them: what says them in others is wanted from the start.
        element_products: Whether products of two activations are to be computed by elements, which it multiplies in
            more bits than matrices (`products_by_elements`).
        most_padded_stride: Largest step of a convolution that pads its input; 0 where any will do.
        drops_bounds: Whether its compiler works constants into one another whatever bound stands between them.
    """

    activation_bits: int = 8
    wide_products: bool = True
    sizes: Mapping[str, int] = field(default_factory=dict)
    fast_bytes: int = 0
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    element_products: bool = False
    most_padded_stride: int = 0
    drops_bounds: bool = False


@dataclass(frozen=True)
class Cure:
    """What a rewrite is good for: an operator, and a pattern in the words with which it was refused.

    Attributes:
        op: The refused operator's name in the target's own file form ("GELU"); None: any.
        reason: Regular expression that is searched for in the reason.
    """

    op: str | None
    reason: str = ""

    def fits(self, refused: NodeReason) -> bool:
        """Whether this refusal is one of them."""
        return self.op in {None, refused.op} and re.search(self.reason, refused.reason) is not None


@dataclass(frozen=True)
class Rewrite:
    """One member of the registry.

    Attributes:
        name: What it does, in a word or two.
        why: What would go wrong without it, for the report.
        run: Applies it; returns how often.
        cures: Refusals that ask for it.
        first: Whether a device and form want it before anything was refused: because of the numbers.
        trial: Whether it may save time on a device where nothing was refused: tried last, kept where it does.
    """

    name: str
    why: str
    run: Callable[[ir.Model, Device], int]
    cures: tuple[Cure, ...] = ()
    first: Callable[[Device], bool] = field(default=lambda _: False)
    trial: Callable[[Device], bool] = field(default=lambda _: False)

    @property
    def version(self) -> str:
        """Hash over the module that it stands in: a changed rewrite makes what it made stale."""
        source = inspect.getsourcefile(inspect.unwrap(self.run))
        code = Path(source).read_bytes() if source else repr(self.run).encode()
        return hashlib.sha256(code).hexdigest()[:16]


@dataclass(frozen=True)
class Applied:
    """One rewrite that changed a graph."""

    name: str
    count: int
    why: str

    def __str__(self) -> str:
        return f"Rewrote {self.count} x {self.name}: {self.why}"


ORDER = (
    "static shapes",
    "known lookups",
    "cache writes",
    "early casts",
    "additive masks",
    "free scale",
    "layer norm",
    "root mean square norm",
    "gelu",
    "root division",
    "logarithm of a sum",
    "reciprocal",
    "kept bounds",
    "attention heads",
    "padded strides",
    "transposed steps",
    "pixel scores",
    "query blocks",
    "products by elements",
)
"""The built-in ones in the order in which they are applied; others follow by name."""


def _problem(name: str, member: object) -> str | None:
    if not isinstance(member, Rewrite):
        return "is no edgepack.toolchain.rewrites.base.Rewrite: use the decorator `rewrite`"
    return None if member.name == name else f"calls itself '{member.name}'"


rewrites: Registry[Rewrite] = Registry(
    "rewrite", "edgepack.toolchain.rewrites", "edgepack.rewrites", _problem
)

Run = Callable[["ir.Model", Device], int]


def rewrite(
    name: str,
    *,
    why: str,
    cures: Iterable[Cure] = (),
    first: Callable[[Device], bool] = lambda _: False,
    trial: Callable[[Device], bool] = lambda _: False,
) -> Callable[[Run], Run]:
    """Decorator that files a function as a rewrite; arguments as of `Rewrite`."""

    def file(run: Run) -> Run:
        rewrites.register(name)(Rewrite(name, why, run, tuple(cures), first, trial))
        return run

    return file


def in_order() -> list[Rewrite]:
    """All members in the order in which they are applied."""
    names = rewrites.names()
    return [
        rewrites.get(name)
        for name in (*(n for n in ORDER if n in names), *(n for n in names if n not in ORDER))
    ]


def apply(model: ir.Model, names: Sequence[str], device: Device) -> list[Applied]:
    """Apply rewrites in place, in their order, and drop what nothing reads any more.

    Args:
        model: In floating point.
        names: Which ones.
        device: For which accelerator.

    Returns:
        Those that changed anything.

    Raises:
        UnknownNameError: There is no rewrite of one of these names.
    """
    from edgepack.toolchain.passes.clean_up import clean_up

    wanted = {rewrites.get(name).name for name in names}
    found = []
    for member in in_order():
        if member.name not in wanted:
            continue
        count = member.run(model, device)
        if count:
            found.append(Applied(member.name, count, member.why))
            clean_up(model)
    return found


def versions(names: Iterable[str]) -> dict[str, str]:
    """Name -> hash of the code, for the key of a cached result."""
    return {name: rewrites.get(name).version for name in sorted(names)}
