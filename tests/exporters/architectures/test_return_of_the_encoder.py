"""Row 04: counts, torch with caches against torch without, and the exported parts against both."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgepack.exporters._worker import export_model
from edgepack.exporters.architectures import return_of_the_encoder as row04
from edgepack.exporters.architectures._return_of_the_encoder_nets import Network
from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.blocks._masks import HIDDEN_SCORE
from edgepack.toolchain.errors import UnknownNameError
from edgepack.toolchain.links import check_links
from edgepack.toolchain.parity import FLOAT_GATE
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.pipeline.judging import GraphJudge, judge_rollout
from edgepack.toolchain.program import Program
from tests.exporters.architectures import playing

TINY = ["encoder-decoder-tiny", "decoder-only-tiny"]


@pytest.mark.parametrize("name", ["encoder-decoder-tiny", "decoder-only-tiny", "encoder-decoder-30m"])
def test_parameters_are_those_of_the_formula(name):
    config = row04.CONFIGS[name]
    assert architectures.get(row04.NAME).counted(name).parameters == config.parameters


@pytest.mark.parametrize(("size", "millions"), [("30m", 30), ("120m", 120)])
def test_both_forms_have_equal_size(size, millions):
    counts = [row04.CONFIGS[f"{form}-{size}"].parameters for form in ("encoder-decoder", "decoder-only")]
    assert abs(counts[0] / counts[1] - 1) < 0.02
    assert all(abs(count / (millions * 1e6) - 1) < 0.03 for count in counts)


def test_two_thirds_of_the_layers_are_in_the_encoder():
    for name, config in row04.CONFIGS.items():
        if name.startswith("encoder"):
            assert config.encoder_layers == 2 * config.decoder_layers


def test_an_unknown_configuration_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'decoder-only-30m'"):
        architectures.get(row04.NAME).config("decoder-only-30")


@pytest.mark.parametrize("name", TINY)
def test_steps_with_caches_equal_the_whole_sequence_in_torch(name):
    model = row04.build(row04.CONFIGS[name])
    difference, calls = playing.worst(model)
    assert calls == 38 + 34 + ("encoder" in model.parts)
    assert difference < 2e-5


@pytest.mark.parametrize("name", TINY)
def test_logits_depend_on_positions_and_on_the_input(name):
    net = Network(row04.CONFIGS[name]).eval()
    ids = torch.tensor([[3, 5, 8, 3, 5, 8]])
    with torch.no_grad():
        memory = net.encode(torch.tensor([[1, 2, 3, 4]])) if "encoder" in name else ()
        other = net.encode(torch.tensor([[2, 1, 3, 4]])) if "encoder" in name else ()
        logits = net.whole(ids, memory)[0]
        # Equal tokens at other positions; without rotations an earlier token's order would not matter.
        swapped = net.whole(torch.tensor([[5, 3, 8, 3, 5, 8]]), memory)[0]
        assert (logits[-1] - swapped[-1]).abs().max() > 1e-3
        if other:
            assert (logits - net.whole(ids, other)[0]).abs().max() > 1e-3


def test_what_is_hidden_weighs_nothing_and_is_no_subnormal_number():
    capacity, spread = 4096, 8.0
    assert np.exp(HIDDEN_SCORE + spread) * capacity < np.finfo(np.float32).eps ** 2
    assert np.exp(HIDDEN_SCORE - spread) / capacity > np.finfo(np.float32).tiny


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_the_exported_parts_equal_torch_step_by_step(name, tmp_path):
    model = row04.build(row04.CONFIGS[name])
    export_model(model, tmp_path)
    program = Program.load(tmp_path)
    judge = GraphJudge()
    check_links(program)
    for part in program:
        assert judge.part(part).passed
        graph = part.model()
        clean_up(graph)
        operators = [node.op_type for node in graph.graph]
        caches = len(program.states("decoder")) - len(model.parts.get("encoder", _NONE).output_names)
        # What must survive: caches are written by scatters, and the decoder holds no encoder layer.
        assert operators.count("ScatterElements") == (caches if part.name == "decoder" else 0)
        layers = row04.CONFIGS[name].decoder_layers
        if part.name == "decoder":
            crossed = layers if "encoder" in program.parts else 0
            assert operators.count("Softmax") == layers + crossed
    together = judge.rollout(program)
    assert together.passed
    assert together.max_abs_error is not None
    assert together.max_abs_error < 1e-4
    _as_far_as_fixed_sizes_go(program)
    first, second = (i for i, link in enumerate(program.links) if link.input in {"key_0", "value_0"})
    links = list(program.links)
    links[first] = replace(links[first], output=program.links[second].output)
    links[second] = replace(links[second], output=program.links[first].output)
    program.links = tuple(links)
    assert not judge.rollout(program).passed


class _NONE:
    output_names = ()


def _as_far_as_fixed_sizes_go(program):
    """Files for one size are played up to the prompt, which has another, and not at all where the first has."""
    sizes = {"batch": 1, "step": 1, "capacity": 64, "source": 16}
    files = {
        part.name: (
            "onnxruntime",
            part.path,
            part.signature.pinned({name: sizes[name] for name in part.sizes}),
        )
        for part in program
    }
    played = judge_rollout(program, files, FLOAT_GATE)
    assert played is not None
    assert played.passed
    assert played.inputs_tried == 38 + len(files) - 1
    assert "the other 34 begin with sizes that the files do not have" in str(played.data)
    wider = {name: (how, path, one.pinned({})) for name, (how, path, one) in files.items()}
    wider["decoder"] = (
        *files["decoder"][:2],
        program.parts["decoder"].signature.pinned(sizes | {"batch": 2}),
    )
    if "encoder" not in files:
        assert judge_rollout(program, wider, FLOAT_GATE) is None
