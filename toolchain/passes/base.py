"""What a clean-up pass is, the registry of passes, and their order.

A pass takes an `onnx_ir.Model`, changes it in place and returns how many things it changed. It never
changes what the model computes (but for rounding where weights are multiplied out), the names and order
of its inputs and outputs, or their named dimensions, and it never copies a weight: weights stay where
they are mapped from.

The built-in passes run in the order of `ORDER`, which is the order in which they help one another:

0. `exporter-traces`: stack traces of the exporting machine are taken out;
1. `initializer-inputs`: weights that a legacy file lists as inputs become constants;
2. `constant-nodes`: Constant nodes become initializers, where the other passes see them;
3. `shapes`: what is known of shapes is spread, so that Shape and Reshape can be folded;
4. `constants`: what depends on constants only is computed;
5. `identities`: nodes that hand their input on are removed;
6. `duplicate-initializers`, then 7. `common-subexpressions`: of equal things one is kept;
8. `transposed-weights`: Transpose of a weight becomes a weight, computed when it is written;
9. `pads`, 10. `batch-norms`: what a convolution can do by itself goes into it;
11. `binary-chains`: between layers of one bit the activations stay bits;
12. passes of other distributions (entry-point group `edgepack.passes`), by name;
13. `dead-code`: what nothing uses any more is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepack.toolchain.registry import Registry

if TYPE_CHECKING:
    import onnx_ir as ir

Pass = Callable[["ir.Model"], int]

ORDER = (
    "exporter-traces",
    "initializer-inputs",
    "constant-nodes",
    "shapes",
    "constants",
    "identities",
    "duplicate-initializers",
    "common-subexpressions",
    "transposed-weights",
    "pads",
    "batch-norms",
    "binary-chains",
)
LAST = ("dead-code",)

MAX_ROUNDS = 8
"""Rounds after which clean-up stops even if passes still find something to do."""

SMALL_BYTES = 1024
"""Constants up to this size are held in memory and stored inside the graph file."""

FOLD_ELEMENTS = 8192
"""Constant folding reads no input and stores no result of more elements than this."""

passes: Registry[Pass] = Registry("pass", "edgepack.toolchain.passes", "edgepack.passes")


def in_order() -> list[str]:
    """Names of all registered passes in the order in which a round runs them."""
    names = passes.names()
    others = [name for name in names if name not in ORDER and name not in LAST]
    return [name for name in (*ORDER, *others, *LAST) if name in names]
