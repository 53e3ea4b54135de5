"""Where does an error begin? Tensors of two graphs side by side, in the order in which they are computed.

The error of a tensor is judged as an output's is (`parity`): |a - b| <= ATOL + tolerance max|a| for
floats, equality for everything else. Tensors are ranked by the signal-to-quantization-noise ratio,
SQNR = 10 log10(|a|^2 / |a - b|^2) in dB, with norms over the whole tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.toolchain.parity import ATOL, FLOAT_GATE, cosine, is_float
from edgepack.toolchain.results import TensorError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    Arrays = Mapping[str, np.ndarray]
    Tensors = Callable[[Path, Arrays, Sequence[str]], Arrays]

TOLERANCE = FLOAT_GATE["max_abs_error"]


@dataclass(frozen=True)
class Located:
    """What `between` found.

    Attributes:
        first_wrong: The first tensor beyond the tolerance, in the order of the second graph; None if none is.
        worst: Tensors with the lowest SQNR, worst first.
        compared: How many tensors both graphs have.
    """

    first_wrong: TensorError | None
    worst: list[TensorError] = field(default_factory=list)
    compared: int = 0


def tensor_error(name: str, reference: np.ndarray, got: np.ndarray, op: str | None = None) -> TensorError:
    """How far `got` is from `reference`; measures are None if shapes differ or values are not finite."""
    import numpy as np

    nothing = TensorError(tensor=name, op=op, sqnr_db=None)
    if reference.shape != got.shape or not _numeric(reference) or not _numeric(got):
        return nothing
    a, b = reference.astype(np.float64), got.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return nothing
    noise = float(np.square(a - b).sum())
    signal = float(np.square(a).sum())
    sqnr = None
    if noise > 0.0:
        # A signal of zero has no ratio and minus infinity no JSON: it is given the lowest figure of all.
        sqnr = 10.0 * math.log10(signal / noise) if signal > 0.0 else _NO_SIGNAL_DB
    return TensorError(
        tensor=name,
        op=op,
        cosine=cosine(a, b),
        max_abs_error=float(np.abs(a - b).max()) if a.size else 0.0,
        sqnr_db=sqnr,
    )


_NO_SIGNAL_DB = -300.0


def is_wrong(reference: np.ndarray, got: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Whether a tensor is beyond the tolerance; equal infinities and NaNs inside a graph are not errors."""
    import numpy as np

    if reference.shape != got.shape:
        return True
    if not (is_float(reference) and is_float(got)):
        return bool(reference.dtype.kind != got.dtype.kind or (reference != got).any())
    a, b = reference.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return True
    a, b = a[finite], b[finite]
    return bool(a.size and np.abs(a - b).max() > ATOL + tolerance * np.abs(a).max())


def first_wrong(
    reference: Arrays,
    got: Arrays,
    order: Iterable[str],
    tolerance: float = TOLERANCE,
    *,
    ops: Mapping[str, str] | None = None,
) -> TensorError | None:
    """The first tensor of `order`, among those that both sides have, that is beyond the tolerance.

    Args:
        reference: Tensors of the graph that is right, by name.
        got: Tensors of the graph under test.
        order: Names in the order in which they are computed.
        tolerance: Share of the tensor's largest value by which an element may differ.
        ops: Operator that makes a tensor, for the report.
    """
    for name in order:
        if name in reference and name in got and is_wrong(reference[name], got[name], tolerance):
            return tensor_error(name, reference[name], got[name], (ops or {}).get(name))
    return None


def first_below(reference: Arrays, got: Arrays, cosine_limit: float) -> str | None:
    """The first tensor of `got`, in its order, whose cosine with the reference is below the limit.

    The measure of quantized graphs, in which every tensor is off by some rounding: with the gate's own
    limit it names the place from which on the outputs could no longer pass.
    """
    for name in got:
        error = tensor_error(name, reference[name], got[name]) if name in reference else None
        if error is not None and error.cosine is not None and error.cosine < cosine_limit:
            return name
    return None


def worst(
    reference: Arrays, got: Arrays, *, count: int = 5, ops: Mapping[str, str] | None = None
) -> list[TensorError]:
    """The tensors with the lowest SQNR, worst first; equal tensors are left out.

    Tensors that have no SQNR because shapes differ or values are not finite come before all others.
    """
    ranked: list[tuple[float, TensorError]] = []
    for name in reference:
        if name in got and is_wrong(reference[name], got[name], 0.0):
            error = tensor_error(name, reference[name], got[name], (ops or {}).get(name))
            ranked.append((error.sqnr_db if error.sqnr_db is not None else -math.inf, error))
    ranked.sort(key=lambda pair: pair[0])
    return [error for _, error in ranked[:count]]


def between(
    onnx_a: Path,
    onnx_b: Path,
    inputs: Arrays,
    tensors: Tensors,
    *,
    tolerance: float = TOLERANCE,
    count: int = 5,
    batch: int = 256,
) -> Located:
    """Run two ONNX files on the same inputs and compare every tensor whose name both graphs know.

    Args:
        onnx_a: The graph that is right.
        onnx_b: The graph under test.
        inputs: One call's inputs by name.
        tensors: Runs a file and gives the named tensors: `tensors(path, inputs, names) -> arrays by name`.
        tolerance: As for `first_wrong`.
        count: How many of the worst to return.
        batch: How many tensors are asked for, and held in memory, at a time.

    Raises:
        OSError: A file cannot be read.
    """
    import onnx

    graph_a = onnx.load(onnx_a, load_external_data=False).graph
    graph_b = onnx.load(onnx_b, load_external_data=False).graph
    known = set(_computed(graph_a))
    ops = {name: op for name, op in _computed(graph_b).items() if name in known}
    order = list(ops)
    found: TensorError | None = None
    ranked: list[TensorError] = []
    for start in range(0, len(order), batch):
        names = order[start : start + batch]
        a, b = tensors(onnx_a, inputs, names), tensors(onnx_b, inputs, names)
        found = found or first_wrong(a, b, names, tolerance, ops=ops)
        ranked += worst(a, b, count=count, ops=ops)
    ranked.sort(key=lambda error: error.sqnr_db if error.sqnr_db is not None else -math.inf)
    return Located(found, ranked[:count], len(order))


def _computed(graph: onnx.GraphProto) -> dict[str, str]:
    """Tensors that the graph's own nodes make, in order, with the operator; no sequences or optionals."""
    return {
        name: node.op_type
        for node in graph.node
        if not node.op_type.startswith(("Sequence", "Optional", "SplitToSequence"))
        for name in node.output
        if name
    }


def _numeric(values: np.ndarray) -> bool:
    return is_float(values) or values.dtype.kind in "iub"
