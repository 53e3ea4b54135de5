"""Do two sets of outputs agree? Measures, gates, and the verdict in words.

Measures, over all inputs that were tried (`a` is the reference, `b` what was got):

- `cosine`, `min_cosine`: a.b / (|a| |b|) between the flattened outputs of one call, mean and lowest over
  the calls; of several outputs the worst counts. A reference of zeros (a state after a first call) has no
  direction: b is an error beside what is usual then, R / sqrt(R^2 + |b|^2) with R the root mean square of
  |a| over the calls where it has one, which is the cosine of a usual a and a usual a with such an error
  across it; 0 where there is none.
- `max_abs_error`: the largest |a - b| of any element. Its gate is relative to the output's scale: with
  the limit t every element must satisfy |a - b| <= ATOL + t max|a|, max over the same output and call.
- `top1`: share of rows (everything but the last axis) whose largest value stands at the same place, over
  the first floating-point output with at least two values in a row. A tie in the reference counts for
  either place.
- `neighbours`: share of rows whose nearest other row, by cosine, is the same one, over all rows of the
  first floating-point output of rank 2, all calls taken together.
- `topk:NAME`, `argmax:NAME`: how much of an output of indices is the same (`choices.py`).

Whatever the gate says, NaN and plus infinity fail, and minus infinity anywhere but where the reference
has it (what a model excludes, `finite.py`; it counts in no measure but `top1`), and so does an output
that is missing or has another shape or dtype; integers, booleans and strings must be equal, unless the
gate judges them as choices. Floating-point types of different width may be compared, because sessions
give every float as float32.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgepack.toolchain import choices
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.finite import excluded, unlike
from edgepack.toolchain.results import Parity

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import Case

    Outputs = Case | Mapping[str, np.ndarray]
    Pairs = Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]

ATOL = 1e-6
"""Differences up to this are the noise of float32 around zero, whatever the output's scale."""

AGREEMENT = ("cosine", "min_cosine", "top1", "neighbours")
MEASURES = (*AGREEMENT, "max_abs_error")

FLOAT_GATE: Mapping[str, float] = {"cosine": 0.99999, "min_cosine": 0.9999, "max_abs_error": 5e-4}
"""For float32 against float32: rounding in another order stays two orders of magnitude below it, a
forgotten branch or a frozen length does not."""

QUANTIZED_GATE: Mapping[str, float] = {"cosine": 0.999, "min_cosine": 0.99}
"""For a model that came quantized, against itself run unoptimized: integer kernels round where the file as written
does not, and a value on the edge between two levels moves the result by a whole one."""

_GATES: Mapping[str, Mapping[str, float]] = {
    "fp32": FLOAT_GATE,
    "fp16": {"cosine": 0.999, "min_cosine": 0.99, "max_abs_error": 2e-2},
    "bf16": {"cosine": 0.999, "min_cosine": 0.99, "max_abs_error": 5e-2},
    "int8": {"cosine": 0.99},
    "int4-weights": {"cosine": 0.98},
    "int8-weights": {"cosine": 0.999},
    "fp16-weights": {"cosine": 0.9999},
    "bf16-weights": {"cosine": 0.999},
    "as-given": QUANTIZED_GATE,
    "int8-dynamic": {"cosine": 0.99},
    "int8-static": {"cosine": 0.99},
    "int8-bf16": {"cosine": 0.99},
    "mixed": {"cosine": 0.99},
    "int16x8": {"cosine": 0.99},
    "int16x8-static": {"cosine": 0.99},
    "int16-static": {"cosine": 0.99},
}


def default_gate(precision: str) -> dict[str, float]:
    """The gate of a precision when the recipe names none.

    Raises:
        UnknownNameError: No gate is set for that precision.
    """
    try:
        return dict(_GATES[precision])
    except KeyError:
        raise UnknownNameError("precision", precision, _GATES) from None


def check_gate(gate: Mapping[str, float]) -> None:
    """Raise UnknownNameError for a key that is not a measure; call it before spending time on outputs."""
    for key in gate:
        if key not in MEASURES and not choices.is_measure(key):
            raise UnknownNameError("gate", key, MEASURES)


def widest(gates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Bounds for parts that run one after the other: the widest of every measure that all of them have.

    Measures of rows are left out, for parts have different rows, and those of choices are taken from any part.
    """
    common = set.intersection(*(set(gate) for gate in gates)) - {"top1", "neighbours"}
    chosen = {name for gate in gates for name in gate if choices.is_measure(name)}
    return {
        name: (max if name == "max_abs_error" else min)(gate[name] for gate in gates if name in gate)
        for name in sorted(common | chosen)
    }


@dataclass
class _Tally:
    """What was seen of one output over all calls."""

    cosines: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    beside_zero: dict[int, float] = field(default_factory=dict)
    """Which of the cosines are of a reference of zeros, and how long was what came in its place."""
    worst_abs: float = 0.0
    worst_relative: float = 0.0

    def settle(self) -> None:
        """Give calls with a reference of zeros the cosine that the module's docstring defines."""
        usual = math.sqrt(_mean([norm**2 for norm in self.norms])) if self.norms else 0.0
        for index, error in self.beside_zero.items():
            self.cosines[index] = usual / math.hypot(usual, error)


def compare(
    reference: Sequence[Outputs],
    got: Sequence[Outputs],
    gate: Mapping[str, float] = FLOAT_GATE,
    *,
    also: Collection[str] = (),
    reference_name: str = "source framework",
    data: str = "reference cases",
) -> Parity:
    """Compare outputs call by call and judge them by `gate`.

    Args:
        reference: Outputs by name, one mapping (or `program.Case`) per call.
        got: The same calls' outputs of the thing under test; extra outputs are ignored.
        gate: Measure -> limit; a lower limit for all but `max_abs_error`.
        also: Measures to state without gating ("top1", "neighbours"); the others are always stated.
        reference_name: What made the reference, for the report.
        data: Which inputs these were, for the report.

    Raises:
        UsageError: An unknown measure, or lists of different lengths.
    """
    check_gate(gate)
    check_gate(dict.fromkeys(also, 0.0))
    if len(reference) != len(got):
        raise UsageError(f"{len(reference)} reference calls cannot be compared with {len(got)} calls")
    pairs = [(_outputs(a), _outputs(b)) for a, b in zip(reference, got, strict=True)]
    failed = [] if pairs else ["no inputs were tried"]
    tallies: dict[str, _Tally] = {}
    chosen = choices.outputs(gate)
    for index, (a, b) in enumerate(pairs):
        for name, expected in a.items():
            tally = tallies.setdefault(name, _Tally())
            trouble = _compare_one(expected, b.get(name), tally, chosen=name in chosen)
            if trouble:
                failed.append(f"{name}: {trouble} (input {index + 1} of {len(pairs)})")
    for tally in tallies.values():
        tally.settle()
    sound = not failed
    wanted = {*gate, *also}
    compared = {name: tally for name, tally in tallies.items() if tally.cosines}
    rows = {
        "top1": _top1(pairs) if sound and "top1" in wanted else None,
        "neighbours": _neighbours(pairs) if sound and "neighbours" in wanted else None,
    }
    shares = {
        key: choices.agreement(key, [(a[name], b[name]) for a, b in pairs if name in a])
        for name, key in chosen.items()
        if sound and name in tallies and name not in compared
    }
    if sound:
        failed += _judge(gate, compared, rows, shares)
    return Parity(
        passed=not failed,
        cosine=min((_mean(tally.cosines) for tally in compared.values()), default=None),
        min_cosine=min((min(tally.cosines) for tally in compared.values()), default=None),
        max_abs_error=max((tally.worst_abs for tally in compared.values()), default=None),
        top1_agreement=rows["top1"],
        neighbour_agreement=rows["neighbours"],
        choices=shares,
        inputs_tried=len(pairs),
        gate=dict(gate),
        failed=failed,
        reference=reference_name,
        data=data,
        first_wrong=None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _outputs(item: Outputs) -> Mapping[str, np.ndarray]:
    return item if isinstance(item, Mapping) else item.outputs


def is_float(values: np.ndarray) -> bool:
    """Whether the dtype is a floating-point one, those of ml_dtypes (bfloat16, float8) included."""
    return values.dtype.kind == "f" or values.dtype.name.startswith(("bfloat", "float"))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """a.b / (|a| |b|) of the flattened arrays in float64; 1 if both are zero, 0 if one is."""
    import numpy as np

    x, y = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    norms = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    if norms == 0.0:
        return 1.0 if not x.any() and not y.any() else 0.0
    return float(x @ y) / norms


def _compare_one(expected: np.ndarray, got: np.ndarray | None, tally: _Tally, *, chosen: bool) -> str | None:
    """Add one output of one call to its tally, or say in words why it cannot pass under any gate."""
    import numpy as np

    if got is None:
        return "the output is missing"
    if expected.shape != got.shape:
        return f"shape {list(got.shape)} instead of {list(expected.shape)}"
    if is_float(expected) != is_float(got) or (not is_float(expected) and expected.dtype != got.dtype):
        return f"dtype {got.dtype.name} instead of {expected.dtype.name}"
    if not is_float(expected):
        different = 0 if chosen else int((expected != got).sum())
        return f"{different} of {expected.size} values differ, they must be equal" if different else None
    a, b = expected.astype(np.float64), got.astype(np.float64)
    trouble = unlike(a, b)
    if trouble:
        return trouble
    a, b = a[~excluded(a)], b[~excluded(b)]
    error = float(np.abs(a - b).max()) if a.size else 0.0
    scale = float(np.abs(a).max()) if a.size else 0.0
    if scale > 0:
        tally.norms.append(float(np.linalg.norm(a)))
    elif error > ATOL:
        tally.beside_zero[len(tally.cosines)] = float(np.linalg.norm(b))
    tally.cosines.append(1.0 if error <= ATOL and scale <= ATOL else cosine(a, b))
    tally.worst_abs = max(tally.worst_abs, error)
    if error > ATOL:
        tally.worst_relative = max(tally.worst_relative, (error - ATOL) / scale if scale else float("inf"))
    return None


def _judge(
    gate: Mapping[str, float],
    tallies: Mapping[str, _Tally],
    rows: Mapping[str, float | None],
    shares: Mapping[str, float],
) -> list[str]:
    failed: list[str] = []
    for key, limit in gate.items():
        if key == "max_abs_error":
            failed += [
                f"{name}: differs by {tally.worst_relative:.3g} of its largest value, allowed is {limit:g}"
                for name, tally in tallies.items()
                if not tally.worst_relative <= limit
            ]
        elif key in {"cosine", "min_cosine"}:
            for name, tally in tallies.items():
                value = min(tally.cosines) if key == "min_cosine" else _mean(tally.cosines)
                if not value >= limit:
                    what = "lowest cosine" if key == "min_cosine" else "mean cosine"
                    failed.append(f"{name}: {what} {value:.6g} is below {limit:g}")
        elif choices.is_measure(key):
            if key in shares and not shares[key] >= limit:
                failed.append(f"{key}: {shares[key]:.2%} {choices.words(key)}, below {limit:.2%}")
        else:
            agreement = rows[key]
            what = "largest class" if key == "top1" else "nearest other row"
            if agreement is None:
                failed.append(f"{key}: no output has rows to compare the {what} of")
            elif not agreement >= limit:
                failed.append(f"{key}: the same {what} for {agreement:.2%} of the rows, below {limit:.2%}")
    return failed


def _rows(pairs: Pairs, *, rank_2: bool) -> str | None:
    """Name of the first float output whose last axis holds at least two values (and whose rank is 2)."""
    for name, values in pairs[0][0].items():
        if (
            is_float(values)
            and values.ndim
            and values.shape[-1] > 1
            and (len(values.shape[:-1]) == 1 or not rank_2)
        ):
            return name
    return None


def _top1(pairs: Pairs) -> float | None:
    import numpy as np

    name = _rows(pairs, rank_2=False)
    if name is None:
        return None
    same = total = 0
    for a, b in pairs:
        expected = a[name].astype(np.float64).reshape(-1, a[name].shape[-1])
        choice = b[name].reshape(expected.shape).astype(np.float64).argmax(axis=1)
        same += int((expected[np.arange(len(expected)), choice] == expected.max(axis=1)).sum())
        total += len(expected)
    return same / total if total else None


_BLOCK_ROWS = 1024
_TIE = 1e-6
_FEWEST_ROWS = 3
"""With two rows each one's nearest other row is the other: the measure could not fail."""


def _neighbours(pairs: Pairs) -> float | None:
    import numpy as np

    name = _rows(pairs, rank_2=True)
    if name is None or len({a[name].shape[-1] for a, _ in pairs}) > 1:
        return None
    expected = _unit_rows(np.concatenate([a[name] for a, _ in pairs]))
    got = _unit_rows(np.concatenate([b[name] for _, b in pairs]))
    if len(expected) < _FEWEST_ROWS:
        return None
    same = 0
    for start in range(0, len(expected), _BLOCK_ROWS):
        rows = np.arange(start, min(start + _BLOCK_ROWS, len(expected)))
        here = np.arange(len(rows))
        near_a, near_b = expected[rows] @ expected.T, got[rows] @ got.T
        near_a[here, rows] = near_b[here, rows] = -np.inf
        # Equal sentences have equal rows: any of the reference's nearest will do.
        same += int((near_a[here, near_b.argmax(axis=1)] >= near_a.max(axis=1) - _TIE).sum())
    return same / len(expected)


def _unit_rows(values: np.ndarray) -> np.ndarray:
    import numpy as np

    rows: np.ndarray = np.where(excluded(values), 0.0, values.astype(np.float64))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    return rows
