"""Every family of Hugging Face that docs/families.md names, from a tiny random model to verified graphs."""

import pytest

from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.opsets import TARGET
from edgepack.toolchain.program import terms
from tests.exporters.families.registry import FAMILIES
from tests.exporters.families.running import run

pytestmark = [pytest.mark.slow, pytest.mark.by_parameter, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_exported_and_equals_its_source(name, tmp_path):
    family = FAMILIES[name]
    if family.fails:
        # Strict: what works must be taken off the list.
        with pytest.raises(EdgepackError, match=family.fails):
            run(family, tmp_path)
        return
    result = run(family, tmp_path)
    program = result.program
    assert tuple(program.parts) == family.parts
    assert set(result.rungs.values()) <= {"dynamo", "dynamo-strict"}, result.rungs
    for part, parity in result.parity.items():
        assert parity.passed, (part, parity.failed)
        assert parity.inputs_tried >= 3
    first = program.parts[family.parts[0]]
    assert set(first.signature.symbols) == set(family.dynamic)
    assert result.operators[first.name]["Scan"] == family.scan
    assert result.operators[first.name]["Loop"] == 0
    assert all(version >= TARGET for version in result.opsets.values())
    if len(family.parts) > 1:
        steps(program, result)


def steps(program, result):
    assert result.rollout is not None
    assert result.rollout.passed, result.rollout.failed
    assert result.rollout.inputs_tried >= 33
    last = list(program.parts.values())[-1]
    assert "batch" in last.signature.symbols
    grown = [s for s in last.signature.inputs if s.name.startswith("past.") and s.name.endswith("key")]
    assert all("past" in spec.shape for spec in grown)
    if grown:
        assert any(case.inputs[grown[0].name].shape[2] == 0 for case in last.cases)
        outputs = [s for s in last.signature.outputs if s.name.endswith("key")]
        assert all("past" in terms(spec.shape[2]) or spec.shape[2] == f"{spec.name}_2" for spec in outputs)
    carried = {link.input for link in program.links if link.to_part == last.name}
    assert carried == {s.name for s in last.signature.inputs if s.name.startswith(("past.", "cross."))}


def test_the_graph_routes_as_its_inputs_do(tmp_path):
    """Experts chosen while tracing would be right for the traced input only."""
    import numpy as np
    import torch

    from edgepack.exporters.sources import SourceRequest, open_source

    folder = FAMILIES["mixtral"].save(tmp_path / "model")
    part = open_source(SourceRequest(str(folder))).open_torch().parts["prefill"]
    assert part.reference is not None
    chosen: list[np.ndarray] = []
    for layer in (m for m in part.module.modules() if type(m).__name__ == "MixtralTopKRouter"):
        layer.register_forward_hook(lambda _, __, out: chosen.append(out[-1].numpy().copy()))
    for seed in range(2):
        ids = part.example(part.sizes, seed)
        with torch.no_grad():
            part.reference(*(torch.from_numpy(value) for value in ids.values()))
    half = len(chosen) // 2
    assert half == 2
    assert any(not np.array_equal(a, b) for a, b in zip(chosen[:half], chosen[half:], strict=True))
