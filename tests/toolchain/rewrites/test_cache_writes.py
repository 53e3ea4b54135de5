"""`cache writes`: every form against ONNX Runtime's own scatter, and what is left alone."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgepack.toolchain.rewrites.base import Device, apply, rewrites
from tests.toolchain.rewrites.test_rewrites import build, run

DEVICES = {
    "choosing": Device(16, has=("Where",)),
    "multiplying": Device(16),
    "in 8 bits": Device(8, lacks=("ScatterElements", "ScatterND")),
    "without comparisons": Device(16, has=("Where",), lacks=("Equal",)),
    "arithmetic": Device(16, lacks=("Equal",)),
}
SCATTERS = {"ScatterElements", "ScatterND", "GatherND"}


def check(model: ir.Model, device: Device, feeds: dict[str, np.ndarray], count: int = 1) -> list[str]:
    """Apply it, and compare, exactly where a device chooses; the operators that it made."""
    before = run(model, feeds)
    exact = "Where" in device.has
    (done,) = apply(model, ["cache writes"], device)
    assert done.count == count
    np.testing.assert_allclose(run(model, feeds), before, rtol=0, atol=0 if exact else 1e-6)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    made = [node.op_type for node in model.graph]
    assert not SCATTERS & set(made)
    return made


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("places", [[4], [2, 6, 3]])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_places_that_are_computed(device: Device, places: list[int], axis: int) -> None:
    shape, step = [2, 3, 5, 4], [2, 3, 5, 4]
    shape[axis], step[axis] = 7, len(places)
    line = [1] * 4
    line[axis] = len(places)
    model = build(
        f"g (float[{','.join(map(str, shape))}] x, float[{','.join(map(str, step))}] u, int64[{len(places)}] p)"
        f" => (float[{','.join(map(str, shape))}] y)"
        f"{{ i = Reshape(p, line) r = Expand(i, step) y = ScatterElements<axis={axis}>(x, r, u) }}",
        line=np.array(line),
        step=np.array(step),
    )
    made = check(model, device, {"x": numbers(*shape), "u": numbers(*step), "p": np.array(places)})
    assert ("Equal" in made) == ("Equal" not in device.lacks)
    assert ("Where" in made) == ("Where" in device.has)
    assert ("MatMul" in made) == (len(places) > 1)


def test_two_caches_share_the_comparison() -> None:
    model = build(
        "g (float[1,2,9,4] x, float[1,2,9,4] z, float[1,2,1,4] u, int64[1] p) => (float[1,2,9,4] y)"
        "{ i = Reshape(p, line) r = Expand(i, step) a = ScatterElements<axis=2>(x, r, u)"
        "  b = ScatterElements<axis=-2>(z, r, u) y = Mul(a, b) }",
        line=np.array([1, 1, 1, 1]),
        step=np.array([1, 2, 1, 4]),
    )
    feeds = {"x": numbers(1, 2, 9, 4), "z": 2 * numbers(1, 2, 9, 4), "u": numbers(1, 2, 1, 4)}
    made = check(model, DEVICES["choosing"], {**feeds, "p": np.array([8])}, count=2)
    assert (made.count("Equal"), made.count("Where")) == (1, 2)


@pytest.mark.parametrize(
    ("places", "operators"),
    [([0, 1], {"Slice", "Concat"}), ([2, 3], {"Slice", "Concat"}), ([0, -1], {"MatMul"})],
)
def test_known_places_that_follow_one_another_are_cut(places: list[int], operators: set[str]) -> None:
    index = np.broadcast_to(np.array(places)[:, None], (1, 2, 2, 3)).copy()
    model = build(
        "g (float[1,2,5,3] x, float[1,2,2,3] u) => (float[1,2,5,3] y) { y = ScatterElements<axis=2>(x, i, u) }",
        i=index,
    )
    made = check(model, DEVICES["choosing"], {"x": numbers(1, 2, 5, 3), "u": numbers(1, 2, 2, 3)})
    assert operators <= set(made)


def test_slices_by_number() -> None:
    model = build(
        "g (float[6,2,3] x, float[2,2,3] u, int64[2,1] p) => (float[6,2,3] y) { y = ScatterND(x, p, u) }"
    )
    feeds = {"x": numbers(6, 2, 3), "u": numbers(2, 2, 3), "p": np.array([[5], [0]])}
    check(model, DEVICES["arithmetic"], feeds)
    whole = build("g (int64[6] x, int64[1] u, int64[1,1] p) => (int64[6] y) { y = ScatterND(x, p, u) }")
    check(
        whole, DEVICES["choosing"], {"x": np.arange(6), "u": np.array([-7]), "p": np.array([[3]])}
    )  # tokens
    rows = build("g (float[6,3] x, int64[2,4,1] p) => (float[2,4,3] y) { y = GatherND(x, p) }")
    picked = np.random.default_rng(3).integers(-6, 6, (2, 4, 1))
    assert check(rows, DEVICES["choosing"], {"x": numbers(6, 3), "p": picked}) == ["Reshape", "Gather"]


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2,5] x, float[2,1] u, int64[2,1] p) => (float[2,5] y) { y = ScatterElements<axis=1>(x, p, u) }",
        "g (float[2,5] x, float[1,1] u, int64[1,1] p) => (float[2,5] y) { y = ScatterElements<axis=1>(x, p, u) }",
        'g (int64[5] x, int64[1] u, int64[1] p) => (int64[5] y) { y = ScatterElements<reduction="add">(x, p, u) }',
        "g (float[1,n] x, float[1,1] u, int64[1,1] p) => (float[1,n] y) { y = ScatterElements<axis=1>(x, p, u) }",
        "g (float[2,5] x, float[3] u, int64[3,2] p) => (float[2,5] y) { y = ScatterND(x, p, u) }",
        "g (int64[1,5] x, int64[1,2] u, int64[1,2] p) => (int64[1,5] y) { y = ScatterElements<axis=1>(x, p, u) }",
        "g (float[2,5] x, int64[3,2] p) => (float[3] y) { y = GatherND(x, p) }",
        "g (float[2,5,3] x, int64[2,1] p) => (float[2,3] y) { y = GatherND<batch_dims=1>(x, p) }",
    ],
    ids=["places differ", "a prefix", "a sum", "open", "elements", "integers", "elements read", "by batch"],
)
def test_others_stay(text: str) -> None:
    assert apply(build(text), ["cache writes"], DEVICES["choosing"]) == []


@pytest.mark.parametrize("first", [0, 2, 3, -3])
def test_known_slices_are_put_between_pieces_of_a_constant(first: int) -> None:
    places = np.broadcast_to(np.arange(first, first + 3)[None, :, None], (1, 3, 4))
    text = "g (float[1,3,4] u) => (float[1,6,4] y) { y = ScatterElements<axis=1>(x, i, u) }"
    model = build(text, i=np.ascontiguousarray(places), x=numbers(1, 6, 4))
    assert check(model, DEVICES["multiplying"], {"u": numbers(1, 3, 4)}) == ["Concat"]


def test_what_is_not_written_stays_to_the_bit() -> None:
    text = """g (float[1,6,4] x, float[1,1,4] u, int64[1,1,1] p) => (float[1,6,4] y) {
      i = Expand(p, s)
      y = ScatterElements<axis=1>(x, i, u)
    }"""
    model = build(text, s=np.array([1, 1, 4]))
    feeds = {"x": 1e6 * numbers(1, 6, 4), "u": numbers(1, 1, 4), "p": np.array([[[2]]])}
    assert sorted(check(model, Device(16), {**feeds, "x": numbers(1, 6, 4)})) == [
        *("Add", "Cast", "Equal", "Mul", "Reshape", "Sub")
    ]
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(run(model, feeds)[:, others], feeds["x"][:, others])


def test_what_rounding_would_spoil_is_left_to_the_cpu() -> None:
    several = "g (float[6,4] x, float[2,4] u, int64[2,1] p) => (float[6,4] y) { y = ScatterND(x, p, u) }"
    one = several.replace("float[2,4] u, int64[2,1] p", "float[1,4] u, int64[1,1] p")
    assert apply(build(one), ["cache writes"], Device(8)) == []
    assert apply(build(several), ["cache writes"], Device(16, wide_products=False)) == []
    assert apply(build(one), ["cache writes"], Device(16, wide_products=False))[0].count == 1


def test_a_device_that_lacks_scatters_wants_it_first() -> None:
    member = rewrites.get("cache writes")
    assert member.first(Device(16, lacks=("ScatterElements",)))
    assert not member.first(Device(16))
