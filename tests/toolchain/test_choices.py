"""Indices that a model chooses by comparing its scores: found in the graph, and judged by how many are the same."""

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

import edgepack
from edgepack.toolchain import choices
from edgepack.toolchain.errors import GateError
from edgepack.toolchain.parity import compare, widest

SCORES = "float[batch,10] x"
BEST = np.array([[4, 2, 9], [1, 0, 5]])


def measures(outputs, nodes):
    text = f'<ir_version: 8, opset_import: ["" : 17]> agraph ({SCORES}) => ({outputs}) {nodes}'
    return choices.measures(ir.from_proto(onnx.parser.parse_model(text)))


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ("y = ArgMax <axis = 1> (x)", ["argmax:y"]),
        ("best = ArgMin <axis = 1, keepdims = 0> (x) y = Cast <to = 6> (best)", ["argmax:y"]),
        ("k = Constant <value_ints = [3]> () scores, y = TopK (x, k)", ["topk:y"]),
        ("k = Constant <value_ints = [3]> () scores, y = TopK <axis = 1> (x, k)", ["topk:y"]),
        ("k = Constant <value_ints = [1]> () scores, y = TopK <axis = 0> (x, k)", ["argmax:y"]),
        ("k = Constant <value_ints = [3]> () scores, i = TopK (x, k) y = Transpose (i)", ["argmax:y"]),
        ("y = Shape (x)", []),
        ("i = ArgMax <axis = 1> (x) y = Add (i, i)", []),
        ("k = Constant <value_ints = [3]> () s, i = TopK (x, k) y = Cast <to = 7> (s)", []),
    ],
)
def test_what_the_graph_chooses_is_found(nodes, found):
    assert measures("int64[batch,n] y", f"{{ {nodes} }}") == found


def test_an_index_into_a_table_is_the_choice_still():
    nodes = "<int64[3] table = {7, 8, 9}> { i = ArgMax <axis = 1> (x) y = Gather (table, i) }"
    assert measures("int64[batch,1] y", nodes) == ["argmax:y"]


def test_order_counts_only_where_there_is_one_best():
    other = np.array([[2, 4, 9], [1, 0, 6]])
    assert choices.agreement("topk:y", [(BEST, other)]) == pytest.approx(5 / 6)
    assert choices.agreement("argmax:y", [(BEST, other)]) == pytest.approx(3 / 6)
    assert choices.agreement("argmax:y", [(np.array(3), np.array(3)), (np.array(3), np.array(4))]) == 0.5
    assert choices.agreement("topk:y", [(BEST[:0], other[:0])]) == 1.0


def test_a_gate_without_the_measure_asks_for_equal_numbers():
    call, other = {"y": BEST}, {"y": BEST[:, ::-1]}
    assert not compare([call], [other]).passed
    assert compare([call], [other], {"topk:y": 1.0}).choices == {"topk:y": 1.0}
    low = compare([call], [other], {"argmax:y": 0.5})
    assert low.failed == ["argmax:y: 33.33% equal indices, below 50.00%"]


@pytest.mark.parametrize("got", [BEST[:1], BEST.astype(np.int32), BEST.astype(np.float32)])
def test_shape_and_dtype_are_asked_for_all_the_same(got):
    assert not compare([{"y": BEST}], [{"y": got}], {"topk:y": 0.0}).passed


def test_calls_of_parts_that_do_not_choose_are_left_out():
    calls = [{"x": np.ones(3, np.float32)}, {"y": BEST}]
    gate = widest([{"cosine": 0.99, "top1": 0.9}, {"cosine": 0.9, "topk:y": 0.8, "argmax:z": 0.7}])
    assert gate == {"cosine": 0.9, "topk:y": 0.8, "argmax:z": 0.7}
    verdict = compare(calls, calls, gate)
    assert verdict.passed
    assert verdict.choices == {"topk:y": 1.0}


MODEL = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Linear(32, 50)

    def forward(self, x):
        scores, best = self.scores(x).topk(5)
        return {"scores": scores, "best": best}

def make():
    torch.manual_seed(0)
    return Net(), (torch.randn(4, 32),)
"""


@pytest.mark.usefixtures("exports_here")
def test_a_quantized_artifact_is_judged_by_its_choices(tmp_path):
    (tmp_path / "net.py").write_text(MODEL)

    def export(bound):
        return edgepack.export(
            f"{tmp_path}/net.py:make", targets=["cpu:onnxruntime"], out=tmp_path / f"{bound}",
            precision="int8-static", gate={"topk:best": bound}, measure=False,
        )  # fmt: skip

    bundle = export(0.8)
    (artifact,) = bundle.artifacts
    assert artifact.parity.gate["topk:best"] == 0.8
    assert 0.8 <= artifact.parity.choices["topk:best"] < 1.0
    assert edgepack.verify(bundle.path).ok
    with pytest.raises(GateError, match="topk:best"):
        export(1.0)
