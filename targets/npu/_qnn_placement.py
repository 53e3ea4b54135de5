"""Where every node of a model for the HTP runs, from ONNX Runtime's assignment, and why not there.

QuantizeLinear and DequantizeLinear say how a tensor is stored; on the HTP they are no operators of their own and are
not counted. One that the CPU computes is counted there: it is work. The reasons are the provider's own words, from its
verbose log::

    Validation FAILED for 1 nodes in OrtNodeUnit (Sinh) :
        Operator type: Sinh Node name: sinh Node index: 12
        REASON : Operators of type `Sinh` are not supported by QNN EP. ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.results import NodeReason, Placement, Tool
from edgepack.toolchain.vendors.qnn import PROVIDER, WORKER

NOTATION = frozenset({"QuantizeLinear", "DequantizeLinear"})

_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})

_FAILED = re.compile(r"Validation FAILED for \d+ nodes?\b[^\n]*\n(?P<body>(?:[ \t]+\S[^\n]*\n?)+)")
_NODE = re.compile(r"Node name: (?P<name>.*?) Node index: \d+")
_REASON = re.compile(r"REASON\s*:\s*(?P<why>[^\n]+)")
_ERROR = re.compile(r"\[E:onnxruntime:[^\]]*\]\s*(?P<what>[^\n\x1b]+)")
_TYPE = re.compile(r"of type `\w+` (?:are|is) not supported|no op builder", re.IGNORECASE)
_LONGEST = 400


def read_reasons(log: str) -> dict[str, str]:
    """The provider's reason by name of the node that it refused."""
    found: dict[str, str] = {}
    for block in _FAILED.finditer(log):
        why = _REASON.search(block["body"])
        for node in _NODE.finditer(block["body"]):
            if why is not None:
                found.setdefault(node["name"], " ".join(why["why"].split())[:_LONGEST])
    return found


def first_error(log: str) -> str | None:
    """The first error that the runtime logged, which it may have gone on after."""
    found = _ERROR.search(log)
    return " ".join(found["what"].split())[:_LONGEST] if found else None


def cure(op: str, reason: str) -> str:
    """What would bring an operator onto the HTP."""
    if op in NOTATION:
        return (
            "Nothing to cure: conversions at the ends go to the CPU only when other nodes are there already"
        )
    if op in _LOOKUPS:
        return "Keep it on the host with --host lookups, or quantize the table: --precision int16x8-static"
    if _TYPE.search(reason):
        return f"Replace {op} in the model by operators that the HTP has"
    return "Quantize the node and its neighbours (--precision int16x8-static), or give it constant parameters"


def placed(
    groups: Sequence[Mapping[str, Any]], log: str, tool: Tool, device: str, *, strict: bool
) -> Placement:
    """Placement of a session's nodes.

    Args:
        groups: The assignment as the worker gave it: {"provider": ..., "nodes": [{"name", "op"}]}.
        log: Its verbose log, for the reasons.
        tool: The compiler.
        device: The accelerator's name.
        strict: Whether the session was opened with the CPU forbidden.

    Raises:
        ToolchainFailedError: Nothing is on the HTP, something is on the CPU although that was forbidden, or the
            assignment cannot be read.
    """
    try:
        rows = [(str(g["provider"]), str(n["name"]), str(n["op"])) for g in groups for n in g["nodes"]]
    except (KeyError, TypeError) as error:
        raise WORKER.garbled(str(groups)) from error
    here = [row for row in rows if row[0] == PROVIDER]
    elsewhere = [row for row in rows if row[0] != PROVIDER]
    operators = sum(op not in NOTATION for _, _, op in here)
    if not operators:
        why = first_error(log)
        raise ToolchainFailedError(
            f"ONNX Runtime put none of {len(rows)} nodes on the HTP" + (f": {why}" if why else ""),
            where=device,
            todo="Use --precision int16x8-static or int8-static, or another target",
        )
    if strict and elsewhere:
        raise ToolchainFailedError(
            f"ONNX Runtime gave {len(elsewhere)} nodes to {elsewhere[0][0]} although that was forbidden",
            where=device,
            todo="Report it: the share on the HTP cannot be proved with this version",
        )
    reasons = read_reasons(log)
    return Placement(
        accelerator=operators,
        cpu=len(elsewhere),
        reasons=[_reason(name, op, reasons.get(name)) for _, name, op in elsewhere],
        device=device,
        tool=tool,
    )


def _reason(name: str, op: str, found: str | None) -> NodeReason:
    why = found or "the provider did not take it and gave no reason"
    return NodeReason(node=name, op=op, reason=why, cure=cure(op, why))
