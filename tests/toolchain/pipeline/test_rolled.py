"""Samples of parts with states: where the states come from, by programs whose states can be computed by hand."""

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from edgepack.toolchain.pipeline.played import played
from edgepack.toolchain.program import Call, Case, Part, Program, Signature, StateLink, TensorSpec

FADING = np.float32(0.9)
START = np.full((1, 3), 0.5, np.float32)
RNG_STATES = 100.0  # random states that could not be mistaken for any that calls lead to


def graph(path, nodes, inputs, outputs):
    def infos(specs):
        return [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, list(s.shape)) for s in specs]

    fading = helper.make_tensor("fading", TensorProto.FLOAT, [], [FADING])
    made = helper.make_graph(nodes, "g", infos(inputs), infos(outputs), [fading])
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return Signature(tuple(inputs), tuple(outputs))


def floats(name, *shape):
    return TensorSpec(name, "float32", shape)


def fading_sum(folder, *, calls):
    """state' = 0.9 state + frame, from 0.5; its reference cases have states of 100."""
    path = folder / "step.onnx"
    signature = graph(
        path,
        [
            helper.make_node("Mul", ["state", "fading"], ["kept"]),
            helper.make_node("Add", ["kept", "frame"], ["next_state"]),
        ],
        [floats("frame", 1, 3), floats("state", 1, 3)],
        [floats("next_state", 1, 3)],
    )
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((calls + 3, 1, 3)).astype(np.float32)
    far = np.full((1, 3), RNG_STATES, np.float32)
    cases = [Case(str(i), {"frame": frames[calls + i], "state": far}, {}) for i in range(3)]
    part = Part("step", path, signature, cases, initial={"state": START})
    link = StateLink("step", "next_state", "step", "state")
    rollout = [Call("step", {"frame": frame}, {}) for frame in frames[:calls]]
    return Program({"step": part}, (link,), rollout=rollout)


def states_of(frames):
    """The state before each frame, and after the last."""
    states = [START]
    for frame in frames:
        states.append(states[-1] * FADING + frame)
    return states


def sampled(program, part, samples):
    data = played(program, program.parts[part], samples)
    both = [None] * (len(data.samples) + len(data.held_out))
    both[::2], both[1::2] = list(data.samples), list(data.held_out)
    return data.facts, both


def test_a_long_rollout_gives_early_and_late_calls_with_their_own_states(tmp_path):
    program = fading_sum(tmp_path, calls=40)
    facts, samples = sampled(program, "step", 8)
    assert facts.description == (
        "16 calls of the model's own rollout on random inputs, with the states that came of them"
    )
    assert (facts.samples, facts.held_out) == (8, 8)
    frames = [call.inputs["frame"] for call in program.rollout]
    states = states_of(frames)
    for at, sample in enumerate(samples):
        index = at * 40 // 16
        np.testing.assert_array_equal(sample["frame"], frames[index])
        np.testing.assert_allclose(sample["state"], states[index], rtol=1e-5, atol=1e-5)


def test_without_a_rollout_every_reference_input_is_played_in_a_row(tmp_path):
    program = fading_sum(tmp_path, calls=0)
    facts, samples = sampled(program, "step", 48)
    assert "12 of random inputs, each played in a row from the first state" in facts.description
    assert "no call led to" not in facts.description
    for case, begin in zip(program.parts["step"].cases, (0, 4, 8), strict=True):
        for sample, state in zip(
            samples[begin : begin + 4], states_of([case.inputs["frame"]] * 4), strict=False
        ):
            np.testing.assert_allclose(sample["state"], state, rtol=1e-5)


def test_a_short_rollout_is_filled_up_and_nothing_random_is_added(tmp_path):
    facts, samples = sampled(fading_sum(tmp_path, calls=5), "step", 4)
    assert facts.description.startswith(
        "5 calls of the model's own rollout on random inputs; 3 of random inputs"
    )
    assert len(samples) == 8
    assert max(float(np.abs(sample["state"]).max()) for sample in samples) < RNG_STATES / 2


def test_a_state_that_another_part_gives_is_played_once_for_each_input(tmp_path):
    program = fading_sum(tmp_path, calls=0)
    signature = graph(
        tmp_path / "read.onnx",
        [helper.make_node("Mul", ["sum", "fading"], ["out"])],
        [floats("sum", 1, 3)],
        [floats("out", 1, 3)],
    )
    far = np.full((1, 3), RNG_STATES, np.float32)
    read = Part("read", tmp_path / "read.onnx", signature, [Case(str(i), {"sum": far}, {}) for i in range(3)])
    link = StateLink("step", "next_state", "read", "sum")
    program = Program({**program.parts, "read": read}, (*program.links, link))
    facts, samples = sampled(program, "read", 48)
    assert facts.description == (
        "3 of random inputs, each played in a row from the first state, with the states that came of them; "
        "3 reference inputs with states that no call led to"
    )
    for case, sample in zip(program.parts["step"].cases, samples, strict=False):
        np.testing.assert_allclose(sample["sum"], states_of([case.inputs["frame"]])[1], rtol=1e-5)


@pytest.mark.parametrize(("mask", "taken"), [(5, 0), (1, 1)])
def test_a_cache_that_grows_beside_a_mask_of_one_length_is_not_played_on(tmp_path, mask, taken):
    """A mask of the reference case's length fits one cache; the runtime itself would broadcast one of 1."""
    signature = graph(
        tmp_path / "decode.onnx",
        [
            helper.make_node("Concat", ["past", "token"], ["all"], axis=0),
            helper.make_node("Mul", ["all", "mask"], ["present"]),
        ],
        [floats("token", 1, 1), floats("mask", "past+step", 1), floats("past", "past", 1)],
        [floats("present", "past+step", 1)],
    )
    inputs = {
        "token": np.ones((1, 1), np.float32),
        "mask": np.ones((mask, 1), np.float32),
        "past": np.full((mask - 1, 1), RNG_STATES, np.float32),
    }
    signature = Signature(
        (TensorSpec("token", "float32", ("step", 1)), *signature.inputs[1:]), signature.outputs
    )
    part = Part("decode", tmp_path / "decode.onnx", signature, [Case("one", inputs, {})])
    program = Program({"decode": part}, (StateLink("decode", "present", "decode", "past"),))
    facts, samples = sampled(program, "decode", 4)
    assert len(samples) == taken + 1
    assert facts.description.endswith("1 reference input with states that no call led to")
    assert ("in a row" in facts.description) == bool(taken)
