"""Reading ONNX Runtime's assignment and the QNN provider's reasons; the log's lines are a real run's (2.7.0)."""

from __future__ import annotations

import pytest

from edgepack.targets.npu._qnn_placement import cure, first_error, placed, read_reasons
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.results import Tool

STAMP = "2026-11-22 21:39:56.351788538 [V:onnxruntime:, qnn_execution_provider.cc:1713 LogNodeSupport]"
LOG = (
    f"{STAMP} Validation FAILED for 1 nodes in OrtNodeUnit (QuantizeLinear) :\n"
    "\tOperator type: QuantizeLinear Node name: x_QuantizeLinear Node index: 4\n"
    "\tREASON : QNN EP is configured to not take Q nodes that consume a graph input.\n\n"
    f"{STAMP} Validation PASSED for 2 nodes in OrtNodeUnit (Conv) :\n"
    "\tOperator type: DequantizeLinear Node name: w1_DequantizeLinear Node index: 1\n"
    "\tOperator type: Conv Node name: conv1 Node index: 6\n\n"
    f"{STAMP} Validation FAILED for 1 nodes in OrtNodeUnit (Sinh) :\n"
    "\tOperator type: Sinh Node name: /block 1/sinh Node index: 12\n"
    "\tREASON : Operators of type `Sinh` are not supported by QNN EP.\n\n"
)
TOOL = Tool(name="onnxruntime-qnn", version="2.7.0")


def group(provider: str, *names: str) -> dict[str, object]:
    return {"provider": provider, "nodes": [{"name": name, "op": name.rpartition("_")[2]} for name in names]}


def test_reasons_by_node() -> None:
    assert read_reasons(LOG) == {
        "x_QuantizeLinear": "QNN EP is configured to not take Q nodes that consume a graph input.",
        "/block 1/sinh": "Operators of type `Sinh` are not supported by QNN EP.",
    }
    assert (
        read_reasons("")
        == read_reasons("Validation FAILED for 1 nodes in\n\tNode name: a Node index: 1\n")
        == {}
    )


def test_counts_and_reasons() -> None:
    groups = [
        group("QNN", "a_Conv", "a_DequantizeLinear", "b_MatMul"),
        group("CPUExecutionProvider", "x_QuantizeLinear"),
        group("CPUExecutionProvider", "z_Sinh"),
    ]
    found = placed(groups, LOG, TOOL, "qnn-htp-v75", strict=False)
    assert (found.accelerator, found.cpu) == (2, 2)
    assert [reason.node for reason in found.reasons] == ["x_QuantizeLinear", "z_Sinh"]
    assert "consume a graph input" in found.reasons[0].reason
    assert "gave no reason" in found.reasons[1].reason
    assert all(reason.cure for reason in found.reasons)
    assert "Replace Sinh" in cure("Sinh", read_reasons(LOG)["/block 1/sinh"])


def test_all_on_the_cpu_is_an_error_with_the_first_error_of_the_log() -> None:
    log = (
        "\x1b[1;31m2026 [E:onnxruntime:, a.cc:2290 X] QNN SetupBackend failed: Invalid config values\x1b[m\n"
    )
    assert first_error(log) == "QNN SetupBackend failed: Invalid config values"
    for groups in ([group("CPUExecutionProvider", "a_Conv")], [group("QNN", "a_QuantizeLinear")], []):
        with pytest.raises(ToolchainFailedError, match=r"put none of \d nodes on the HTP: QNN SetupBackend"):
            placed(groups, log, TOOL, "qnn-htp-v75", strict=False)


def test_a_node_on_the_cpu_that_was_forbidden_is_an_error() -> None:
    groups = [group("QNN", "a_Conv"), group("CPUExecutionProvider", "b_Add")]
    with pytest.raises(
        ToolchainFailedError, match="gave 1 nodes to CPUExecutionProvider although that was forbidden"
    ):
        placed(groups, "", TOOL, "qnn-htp-v75", strict=True)


@pytest.mark.parametrize(
    "groups",
    [[{"provider": "QNN"}], [{"nodes": [{"name": "a", "op": "a"}]}], [{"provider": "QNN", "nodes": [1]}]],
)
def test_an_assignment_that_cannot_be_read(groups: list[dict[str, object]]) -> None:
    with pytest.raises(ToolchainFailedError, match="no answer"):
        placed(groups, "", TOOL, "qnn-htp-v75", strict=False)
