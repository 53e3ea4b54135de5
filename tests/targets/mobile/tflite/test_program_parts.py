"""Parts of language models and of encoder-decoders, at fixed sizes and at any: as their graphs come from torch."""

import numpy as np
import pytest

from edgepack.exporters import SourceRequest
from edgepack.targets.mobile._tflite.convert import convert
from tests.exported import exported
from tests.exporters.families.registry import FAMILIES
from tests.targets.mobile.tflite import harness

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("name", "parts"), [("gpt2", "prefill decode"), ("whisper", "encoder decoder")])
def test_every_part_converts(name, parts, tmp_path):
    family = FAMILIES[name]
    source = SourceRequest(str(family.save(tmp_path / "model")), task=family.task or None)
    program = exported(source, tmp_path / "program")
    assert list(program.parts) == parts.split()
    for part in program:
        path = tmp_path / f"{part.name}.tflite"
        made = convert(part.model(), path, sizes=part.example_sizes(), channels_last=False)
        (case, *_) = part.cases
        names = [spec.name for spec in part.signature.outputs]
        assert all(dim > 0 for shape in made.outputs.values() for dim in shape)
        for output, got in zip(names, harness.run(path, case.inputs, names), strict=True):
            np.testing.assert_allclose(got, case.outputs[output], rtol=1e-4, atol=1e-5)
        opened = tmp_path / f"{part.name}-open.tflite"
        if name == "gpt2":  # an empty cache, one step, several, and several sequences at once
            made = convert(part.model(), opened, examples=part.example_sizes(), channels_last=False)
            assert any(shape.count(-1) > 1 for shape in made.outputs.values())
            assert len({str(spec.shape) for case in part.cases for spec in case.inputs.values()}) > 2
            for case in part.cases:
                for output, got in zip(names, harness.run(opened, case.inputs, names), strict=True):
                    np.testing.assert_allclose(got, case.outputs[output], rtol=1e-4, atol=1e-5)
