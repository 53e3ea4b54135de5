from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.parity import FLOAT_GATE, compare, default_gate
from edgepack.toolchain.program import Case


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def outputs(rng):
    return [{"y": rng.standard_normal((2, 5)).astype(np.float32)} for _ in range(3)]


def changed(outputs, **values):
    """The same outputs with a function applied to some of them, in every call."""
    return [{name: values.get(name, lambda v: v)(value) for name, value in call.items()} for call in outputs]


def test_equal_outputs_pass_with_every_number(outputs):
    parity = compare(outputs, outputs, reference_name="fp32", data="held-out")
    assert parity.passed
    assert (parity.cosine, parity.min_cosine) == pytest.approx((1.0, 1.0), abs=1e-12)
    assert parity.max_abs_error == 0.0
    assert parity.top1_agreement is None
    assert parity.neighbour_agreement is None
    assert (parity.inputs_tried, parity.gate, parity.failed) == (3, dict(FLOAT_GATE), [])
    assert (parity.reference, parity.data) == ("fp32", "held-out")


def test_cases_of_a_program_are_accepted(outputs):
    cases = [Case("first", {}, call) for call in outputs]
    assert compare(cases, outputs).passed


def test_rounding_passes_and_a_small_slip_does_not(outputs):
    assert compare(outputs, changed(outputs, y=lambda y: y * np.float32(1 + 3e-7))).passed
    slip = [*outputs[:2], {"y": outputs[2]["y"] + np.eye(2, 5, dtype=np.float32) * 0.02}]
    parity = compare(outputs, slip)
    assert not parity.passed
    assert parity.max_abs_error == pytest.approx(0.02, rel=1e-4)
    assert any(line.startswith("y: differs by 0.0") and "allowed is 0.0005" in line for line in parity.failed)


def test_cosine_is_the_mean_and_the_lowest_over_inputs():
    a = np.array([[1.0, 0.0]], np.float32)
    b = np.array([[0.6, 0.8]], np.float32)  # cosine 0.6
    parity = compare([{"y": a}, {"y": a}], [{"y": a}, {"y": b}], {"cosine": 0.9, "min_cosine": 0.5})
    assert parity.cosine == pytest.approx(0.8)
    assert parity.min_cosine == pytest.approx(0.6)
    assert parity.failed == ["y: mean cosine 0.8 is below 0.9"]
    assert compare([{"y": a}, {"y": a}], [{"y": a}, {"y": b}], {"min_cosine": 0.7}).failed == [
        "y: lowest cosine 0.6 is below 0.7"
    ]


def test_error_is_relative_to_the_scale_of_each_output():
    large, small = np.array([1000.0, 1.0], np.float32), np.array([1e-3, 0.5e-3], np.float32)
    gate = {"max_abs_error": 1e-3}
    assert compare([{"y": large}], [{"y": large + np.float32(0.5)}], gate).passed
    assert not compare([{"y": small}], [{"y": small + np.float32(1e-4)}], gate).passed


def test_the_worst_output_counts_and_is_named(outputs, rng):
    two = [call | {"z": rng.standard_normal(4).astype(np.float32)} for call in outputs]
    parity = compare(two, changed(two, z=lambda z: -z), {"cosine": 0.99})
    assert parity.cosine == pytest.approx(-1.0)
    assert parity.failed == ["z: mean cosine -1 is below 0.99"]


def test_zeros_agree_with_zeros_and_with_nothing_else():
    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert compare([{"y": zero}], [{"y": zero}]).passed
    assert compare([{"y": zero}], [{"y": zero + np.float32(1e-7)}]).passed
    assert not compare([{"y": zero}], [{"y": one}], {"cosine": 0.5}).passed
    assert not compare([{"y": zero}], [{"y": one}], {"max_abs_error": 0.5}).passed
    assert not compare([{"y": one}], [{"y": zero}], {"cosine": 0.5}).passed


@pytest.mark.parametrize(("error", "lowest"), [(0.01, 0.99995), (1.0, 0.70711), (100.0, 0.01)])
def test_beside_zeros_an_error_is_measured_by_what_is_usual(error, lowest):
    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    reference = [{"y": zero}, {"y": one}, {"y": -one}]
    found = compare(reference, [{"y": one * np.float32(error)}, *reference[1:]], {"min_cosine": 0.99})
    assert found.min_cosine == pytest.approx(lowest, abs=1e-5)
    assert found.passed == (error < 0.1)
    assert not compare(
        reference, [{"y": one * np.float32(error)}, *reference[1:]], {"max_abs_error": 0.5}
    ).passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("gate", [{}, {"cosine": -1.0}, FLOAT_GATE], ids=str)
def test_nan_and_plus_infinity_always_fail(outputs, value, gate):
    got = [
        *outputs[:1],
        {"y": np.where(np.eye(2, 5) > 0, value, outputs[1]["y"]).astype(np.float32)},
        outputs[2],
    ]
    parity = compare(outputs, got, gate)
    assert parity.failed == ["y: 2 of 10 values of the result are NaN or infinite (input 2 of 3)"]
    assert not parity.passed
    assert "of the reference" in compare(got, outputs, gate).failed[0]


def test_shape_dtype_and_absence_fail_with_the_name(outputs):
    def line(got):
        return compare(outputs[:1], got, {}).failed

    y = outputs[0]["y"]
    assert line([{"y": y[:1]}]) == ["y: shape [1, 5] instead of [2, 5] (input 1 of 1)"]
    assert line([{"y": y.astype(np.int64)}]) == ["y: dtype int64 instead of float32 (input 1 of 1)"]
    assert line([{"z": y}]) == ["y: the output is missing (input 1 of 1)"]
    ints = [{"y": np.arange(3)}]
    assert compare(ints, [{"y": np.arange(3, dtype=np.int32)}], {}).failed == [
        "y: dtype int32 instead of int64 (input 1 of 1)"
    ]


def test_floats_of_other_widths_are_compared():
    y = np.array([1.0, 2.0, 3.0], ml_dtypes.bfloat16)
    assert compare([{"y": y}], [{"y": y.astype(np.float32)}]).passed
    assert compare([{"y": y.astype(np.float16)}], [{"y": y.astype(np.float64)}]).passed


@pytest.mark.parametrize("values", [np.arange(4), np.array([True, False]), np.array(["a", "b"])], ids=str)
def test_everything_but_floats_must_be_equal(values):
    other = values[::-1]
    assert compare([{"y": values}], [{"y": values}]).passed
    parity = compare([{"y": values}], [{"y": other}], {"cosine": 0.0})
    assert parity.failed[0].endswith("values differ, they must be equal (input 1 of 1)")
    assert parity.cosine is None


def test_top1_counts_rows_and_ties_count_for_either():
    reference = np.array([[1, 2, 0], [3, 0, 1], [5, 5, 0], [0, 0, 9]], np.float32)
    got = np.array([[0, 2, 1], [0, 3, 1], [4, 5, 0], [0, 0, 9]], np.float32)
    parity = compare([{"y": reference}], [{"y": got}], {"top1": 0.75})
    assert parity.top1_agreement == 0.75
    assert parity.passed
    assert compare([{"y": reference}], [{"y": got}], {"top1": 0.8}).failed == [
        "top1: the same largest class for 75.00% of the rows, below 80.00%"
    ]
    assert compare([{"y": reference}], [{"y": got}], {}, also=["top1"]).top1_agreement == 0.75


def test_neighbours_over_all_inputs_together(rng):
    rows = rng.standard_normal((1500, 16)).astype(np.float32)
    reference = [{"y": rows[i : i + 100]} for i in range(0, 1500, 100)]
    assert compare(reference, reference, {"neighbours": 1.0}).neighbour_agreement == 1.0
    noisy = changed(reference, y=lambda y: y + rng.standard_normal(y.shape).astype(np.float32))
    parity = compare(reference, noisy, {"neighbours": 0.9})
    unit = [
        r / np.linalg.norm(r, axis=1, keepdims=True) for r in (rows, np.concatenate([c["y"] for c in noisy]))
    ]
    nearest = [(u @ u.T - 9 * np.eye(1500)).argmax(axis=1) for u in unit]
    assert parity.neighbour_agreement == pytest.approx((nearest[0] == nearest[1]).mean(), abs=1e-3)
    assert not parity.passed


def test_twins_may_be_each_others_neighbours(rng):
    rows = rng.standard_normal((5, 8)).astype(np.float32)
    rows = np.concatenate([rows, rows, rows])
    got = rows * (1 + 1e-4 * rng.standard_normal((15, 1)).astype(np.float32))
    assert compare([{"y": rows}], [{"y": got}], {"neighbours": 1.0}).passed


@pytest.mark.parametrize("key", ["top1", "neighbours"])
def test_a_measure_that_cannot_be_taken_fails_its_gate(key):
    vector = [{"y": np.ones((4, 1), np.float32)}]
    parity = compare(vector, vector, {key: 0.1})
    assert not parity.passed
    assert parity.failed[0].startswith(f"{key}: no output has rows")


def test_nothing_tried_is_not_passed():
    assert compare([], []).failed == ["no inputs were tried"]


def test_wrong_use(outputs):
    with pytest.raises(UnknownNameError, match=r"Unknown gate 'cosin'.*Did you mean 'cosine'"):
        compare(outputs, outputs, {"cosin": 0.9})
    with pytest.raises(UsageError, match="3 reference calls cannot be compared with 2"):
        compare(outputs, outputs[:2])
    with pytest.raises(UnknownNameError, match="'int7'"):
        default_gate("int7")


def test_default_gates():
    assert default_gate("fp32") == dict(FLOAT_GATE)
    assert default_gate("int8-dynamic")["cosine"] == default_gate("int16x8-static")["cosine"] == 0.99
    assert default_gate("fp32") is not default_gate("fp32")


def test_minus_infinity_excludes_and_must_do_so_in_the_same_places():
    banned = np.array([[1.0, -np.inf, 2.0], [-np.inf, 3.0, 4.0], [0.5, 0.25, -np.inf]], np.float32)
    near = banned + np.float32(1e-7)
    measures = ("top1", "neighbours")
    parity = compare([{"y": banned}], [{"y": near}], also=measures)
    assert parity.passed
    assert (parity.top1_agreement, parity.neighbour_agreement) == (1.0, 1.0)
    assert parity.max_abs_error is not None
    assert parity.max_abs_error < 1e-6
    clipped = np.maximum(banned, -1e9)
    assert compare([{"y": banned}], [{"y": clipped}]).failed == [
        "y: 3 of 9 values are minus infinity in one and not in the other (input 1 of 1)"
    ]
    assert not compare([{"y": -banned}], [{"y": -banned}]).passed
