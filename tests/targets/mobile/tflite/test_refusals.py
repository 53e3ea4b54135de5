"""What cannot become TFLite is refused in a sentence that names the operator, the node and a cure."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgepack.targets.mobile._tflite.base import NotServed, operators
from edgepack.targets.mobile._tflite.unserved import GROUPS, OTHERWISE, reason
from tests.targets.mobile.tflite import harness
from tests.targets.mobile.tflite.harness import Case, axes, given, ints, weight

X = given(1, 4, 9, 8)
REFUSED = {
    "no translation": (Case("Det", (given(2, 3, 3),)), "Det has no.*no such function.*the_Det.*onnxruntime"),
    "by kind": (Case("NonZero", (X,)), "NonZero.*size of its result depends on the data"),
    "computed weights": (Case("Conv", (X, given(6, 4, 3, 3))), "Conv cannot.*weights are computed.*constant"),
    "three dimensions": (Case("Conv", (given(1, 2, 4, 4, 4), weight(3, 2, 2, 2, 2))), "3 spatial dimensions"),
    "groups": (Case("ConvTranspose", (X, weight(4, 1, 3, 3)), {"group": 2}), "groups.*Split it"),
    "dilated": (Case("MaxPool", (X,), {"kernel_shape": [2, 2], "dilations": [2, 2]}), "dilated"),
    "indices": (Case("MaxPool", (X,), {"kernel_shape": [2, 2]}, outputs=2), "indices are read"),
    "alpha": (Case("Elu", (X,), {"alpha": 0.5}), "alpha is 0.5"),
    "fmod": (Case("Mod", (ints(2, 3), np.array([2, 3, 4])), {"fmod": 1}), "fmod"),
    "double": (Case("Add", (harness.Given(np.zeros((2, 3))), harness.Given(np.zeros(3)))), "double.*float32"),
    "wide integers": (Case("Add", (ints(2, 3), np.array([2**40, 1, 2]))), "beyond 32 bits.*constant 'i1'"),
    "computed paddings": (Case("Pad", (given(4), ints(2, high=2))), "not known before|computed while"),
    "dimensions": (Case("Add", (given(1, 2, 1, 2, 1, 2), given(1, 1, 2, 1, 2, 2))), "broadcasts over 6 dimensions"),
    "last of equals": (Case("ArgMax", (X,), {"select_last_index": 1}), "takes the last"),
    "smallest": (Case("TopK", (X, axes(2)), {"largest": 0}, outputs=2), "largest along the last axis"),
    "pad mode": (Case("Pad", (given(4), axes(1, 1)), {"mode": "wrap"}), "its mode is wrap"),
    "lrn": (Case("LRN", (X,), {"size": 4}), "even"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name, tmp_path):
    case, words = REFUSED[name]
    model, _ = harness.build(case)
    with pytest.raises(NotServed, match=words) as caught:
        harness.converted(model, tmp_path / "m.tflite")
    assert caught.value.todo
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_domain_is_named(tmp_path):
    nodes = [helper.make_node("FusedThing", ["x"], ["y"], domain="com.example", name="thing")]
    model = onnx.helper.make_model(
        helper.make_graph(nodes, "g", [harness.value_info("x", np.zeros((2, 3), np.float32))],
                          [harness.value_info("y", np.zeros((2, 3), np.float32))]),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.example", 1)],
    )  # fmt: skip
    with pytest.raises(NotServed, match=r"com\.example\.FusedThing.*domain com\.example.*'thing'"):
        harness.converted(model, tmp_path / "m.tflite")


def test_all_that_is_missing_is_listed(tmp_path):
    nodes = [helper.make_node("Tan", ["x"], ["a"]), helper.make_node("Atan", ["a"], ["b"]),
             helper.make_node("Tan", ["b"], ["y"])]  # fmt: skip
    model = harness.wrap(nodes, {"x": np.zeros((2, 3), np.float32)}, [], ["y"])
    with pytest.raises(NotServed, match=r"Tan has no translation.*also missing: Atan"):
        harness.converted(model, tmp_path / "m.tflite")


def test_reasons_are_of_operators_that_onnx_has_and_nobody_serves():
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    for names in GROUPS.values():
        assert set(names) <= known
        assert not set(names) & set(operators.names())
    assert reason("", "LSTM") == OTHERWISE
