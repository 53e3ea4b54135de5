"""Programs of several parts: one file of weights, typed links, step by step equal to the whole."""

from pathlib import Path

import numpy as np
import pytest

from edgepack.exporters._worker import export_model
from edgepack.exporters.ladder import climb
from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.toolchain.errors import ExportError
from edgepack.toolchain.links import check_links
from edgepack.toolchain.pipeline.judging import GraphJudge
from edgepack.toolchain.program import Program
from tests.exporters import models

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("exports_here")]


def exported(model, folder):
    answer = export_model(model, folder)
    return Program.load(folder), answer


def test_prefill_and_decode_share_one_file_of_weights(tmp_path):
    model = models.decoder()
    program, answer = exported(model, tmp_path)
    assert [told["rung"] for told in answer.values()] == ["dynamo", "dynamo"]
    parameters = sum(p.numel() * 4 for p in model.parts["decode"].module.parameters())
    written = [path for path in tmp_path.iterdir() if path.suffix == ".data"]
    assert len(written) == 1
    # Less than twice: both graphs refer to the same bytes. Alignment costs up to a page a tensor.
    assert written[0].stat().st_size < parameters + 4096 * len(
        list(model.parts["decode"].module.parameters())
    )
    judge = GraphJudge()
    assert all(judge.part(part).passed for part in program)
    check_links(program)
    together = judge.rollout(program)
    assert together.passed
    assert together.inputs_tried == 1 + models.STEPS
    shapes = {s.name: s.shape for s in program.parts["decode"].signature.outputs}
    assert shapes["present_key_0"] == ("batch", models.HEADS, "past+step", models.WIDTH // models.HEADS)


def test_a_state_that_starts_elsewhere_than_at_zero(tmp_path):
    program, _ = exported(models.streaming(), tmp_path)
    assert GraphJudge().rollout(program).passed
    assert program.parts["step"].initial["state"].tolist() == [[0.5, 0.5, 0.5]]
    program.parts["step"].initial = {}
    wrong = GraphJudge().rollout(program)
    assert not wrong.passed
    assert wrong.first_wrong == "out"


def test_crossed_links_are_caught_by_the_rollout_only(tmp_path):
    program, _ = exported(models.decoder(mistake="crossed"), tmp_path)
    judge = GraphJudge()
    assert all(judge.part(part).passed for part in program)
    check_links(program)
    assert not judge.rollout(program).passed


def test_a_link_between_other_shapes_is_refused_by_name(tmp_path):
    program, _ = exported(models.decoder(mistake="shape"), tmp_path)
    with pytest.raises(
        ExportError, match=r"'logits' of part 'prefill' to 'past_key_0' of part 'decode'.*3 and 4 dim"
    ):
        check_links(program)


def test_the_ladder_takes_a_model_of_several_parts(tmp_path):
    factory = f"{Path(models.__file__)}:decoder"
    source = open_source(SourceRequest(factory))
    folder = tmp_path / "out"
    folder.mkdir()
    result = climb(source, folder, GraphJudge(), 300.0)
    assert result.rung == "prefill: dynamo, decode: dynamo"
    case = result.program.parts["decode"].cases[1]
    assert case.inputs["past_key_0"].shape[2] == 0
    assert np.isfinite(case.outputs["logits"]).all()


def test_exits_and_modes_are_parts_over_one_set_of_weights(tmp_path):
    program, _ = exported(models.exits(), tmp_path)
    check_links(program)
    judge = GraphJudge()
    assert all(judge.part(part).passed for part in program)
    # The early answer, the rest from its state, and all in one call: equal answers of one network.
    assert judge.rollout(program).passed
    written = [path for path in tmp_path.iterdir() if path.suffix == ".data"]
    parameters = list(models.Exits().parameters())
    assert len(written) == 1
    assert written[0].stat().st_size < 4 * sum(p.numel() for p in parameters) + 4096 * len(parameters)
