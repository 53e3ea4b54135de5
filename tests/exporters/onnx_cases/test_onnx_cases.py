"""Every case that onnx ships goes the whole way or is in `expected.json`, with the class of its reason.

The table is strict both ways. After a change that was meant: `python tools/onnx_cases_table.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.exporters.onnx_cases import harness

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text())
CHUNKS = 8


@pytest.fixture(scope="module")
def node_cases():
    return list(harness.cases("node"))


def check(cases, folder):
    wrong = []
    for case in cases:
        message = harness.outcome(case, folder)
        got = harness.reason(message) if message else None
        listed = EXPECTED.get(case.group, {}).get(case.name)
        if listed and not got:
            wrong.append(f"{case.group}/{case.name}: newly passing, take it off the list")
        elif got != listed:
            wrong.append(f"{case.group}/{case.name}: {message} (listed as {listed})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("group", [group for group in harness.GROUPS if group != "node"])
def test_cases_with_files(group, tmp_path):
    check(harness.cases(group), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_node_cases(chunk, node_cases, tmp_path):
    check(node_cases[chunk::CHUNKS], tmp_path)


def test_the_list_names_cases_with_known_reasons_only():
    # A result that edgepack changed is a bug, and must not be listed.
    assert {reason for group in EXPECTED.values() for reason in group.values()} <= harness.WORDS.keys()
    assert EXPECTED.keys() <= set(harness.GROUPS)


@pytest.mark.slow
def test_the_list_names_no_case_that_is_gone(node_cases):
    names = {"node": {case.name for case in node_cases}}
    for group in EXPECTED:
        there = names.get(group) or {case.name for case in harness.cases(group)}
        assert EXPECTED[group].keys() <= there


def test_a_wrong_result_would_be_seen(tmp_path):
    # The harness itself must be able to fail: the expected output of one case is changed.
    case = next(iter(harness.cases("pytorch-operator")))
    assert harness.outcome(case, tmp_path) is None
    (inputs, outputs) = case.data[0]
    wrong = harness.OnnxCase(
        case.group, case.name, case.model, [(inputs, [outputs[0] + 1])], case.rtol, case.atol
    )
    assert harness.reason(harness.outcome(wrong, tmp_path) or "") == "runtime-differs"
