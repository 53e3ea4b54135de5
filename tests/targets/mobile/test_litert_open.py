"""Dimensions of a `.tflite` that callers choose: which are open, which are pinned and why, and how they are run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.litert import LitertSession, tensors
from edgepack.targets.base import Context, targets
from edgepack.targets.mobile import _open_sizes
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import EdgepackError, SourceError, TargetError, UnknownNameError, UsageError
from edgepack.toolchain.program import Lowered, Part, Program, Signature, StateLink, TensorSpec
from edgepack.toolchain.results import Calibration

SIZES = {"batch": 2, "length": 6, "past": 3, "step": 1}
STEP = """
    <ir_version: 10, opset_import: ["" : 21]>
    step (float[batch, step, 4] x, float[batch, past, 4] cache)
        => (float[batch, step, 4] y, float[batch, past_step, 4] grown)
    <float[4, 4] w = {1, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1}> {
        k = MatMul(x, w)
        grown = Concat<axis=1>(cache, k)
        turned = Transpose<perm=[0, 2, 1]>(grown)
        scores = MatMul(x, turned)
        shares = Softmax<axis=-1>(scores)
        y = MatMul(shares, grown)
    }
"""


def part(folder: Path, text: str, name: str = "main") -> Part:
    """A part of what ONNX's parser reads; its signature is the graph's."""
    model = onnx.parser.parse_model(text)
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "past_step":
                dim.dim_param = "past+step"

    def specs(values: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                value.name,
                "float32",
                tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim),
            )
            for value in values
        )

    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return Part(name, path, Signature(specs(model.graph.input), specs(model.graph.output)))


def decoder(folder: Path) -> Program:
    links = (StateLink("decode", "grown", "decode", "cache"),)
    return Program({"decode": part(folder, STEP, "decode")}, links, {"kind": "onnx"})


def context(*opened: str, static: bool = False) -> Context:
    options = {"open": opened} if opened else {}
    return Context(source={}, sizes=SIZES, static=static, options=options)


def lower(program: Program, folder: Path, given: Context) -> Lowered:
    (only,) = program
    return targets.get("mobile:litert")().lower(program, only, given, folder / "out")


def feeds(signature: Signature, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {
        spec.name: random.standard_normal(spec.resolve(sizes)).astype(np.float32) for spec in signature.inputs
    }


def test_a_cache_that_grows_from_call_to_call(tmp_path: Path) -> None:
    program = decoder(tmp_path)
    lowered = lower(program, tmp_path, context())
    assert lowered.signature == program.parts["decode"].signature
    assert lowered.notes == ()
    reference = onnxruntime.InferenceSession(str(program.parts["decode"].path))
    with LitertSession(lowered.path, lowered.signature) as session:
        cache = np.zeros((2, 0, 4), np.float32)
        for step in (4, 1, 1, 3, 1):
            given = {"x": feeds(lowered.signature, SIZES | {"step": step})["x"], "cache": cache}
            want = dict(zip(("y", "grown"), reference.run(["y", "grown"], given), strict=True))
            got = session.run(given)
            for name, value in want.items():
                np.testing.assert_allclose(got[name], value, atol=1e-5)
            cache = got["grown"]
    assert cache.shape == (2, 10, 4)


def test_memory_is_planned_anew_only_when_sizes_change(tmp_path: Path) -> None:
    lowered = lower(decoder(tmp_path), tmp_path, context())
    with LitertSession(lowered.path, lowered.signature) as session:
        planned: list[tuple[int, ...]] = []
        own = session._interpreter

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(own, name)

            def allocate_tensors(self) -> None:
                planned.append(own.get_input_details()[1]["shape"])
                own.allocate_tensors()

        session._interpreter = Counting()
        for past in (3, 3, 3, 5, 5, 3):
            got = session.run(feeds(lowered.signature, SIZES | {"past": past}))
            assert got["grown"].shape == (2, past + 1, 4)
    assert len(planned) == 3


def test_inputs_that_contradict_one_another(tmp_path: Path) -> None:
    lowered = lower(decoder(tmp_path), tmp_path, context())
    with LitertSession(lowered.path, lowered.signature) as session:
        good = feeds(lowered.signature, SIZES)
        with pytest.raises(UsageError, match="'cache' must be 2 long along axis 0 as in 'x'"):
            session.run({**good, "cache": good["cache"][:1]})
        with pytest.raises(UsageError, match="must have 3 dimensions"):
            session.run({**good, "cache": good["cache"][0]})
        assert session.run(good)["grown"].shape == (2, 4, 4)


def test_every_tensor_at_a_size(tmp_path: Path) -> None:
    lowered = lower(decoder(tmp_path), tmp_path, context())
    for past in (0, 4):
        shown = tensors(lowered.path, feeds(lowered.signature, SIZES | {"past": past}))
        assert shown["scores"].shape == (2, 1, past + 1)


def test_a_file_that_fixes_what_its_signature_opens(tmp_path: Path) -> None:
    lowered = lower(decoder(tmp_path), tmp_path, context())
    fixed = lowered.signature.pinned(SIZES)
    with pytest.raises(SourceError, match=r"\[-1, -1, 4\] in the file and \[2, 3, 4\]"):
        LitertSession(lowered.path, fixed)


ENCODER = """
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[batch, length, 4] x) => (float[batch, length, 4] y)
    <float[4, 4] w = {1, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1}> {
        t = MatMul(x, w)
        y = Tanh(t)
    }
"""


def encoder(folder: Path) -> Program:
    return Program({"main": part(folder, ENCODER)}, (), {"kind": "onnx"})


@pytest.mark.parametrize(
    ("opened", "shape"),
    [
        ((), (2, 6, 4)),
        (("length",), (2, "length", 4)),
        (("batch", "length"), ("batch", "length", 4)),
        (("all",), ("batch", "length", 4)),
    ],
)
def test_what_is_asked_for_is_open_and_nothing_else(
    opened: tuple[str, ...], shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    lowered = lower(encoder(tmp_path), tmp_path, context(*opened))
    assert {spec.shape for spec in (*lowered.signature.inputs, *lowered.signature.outputs)} == {shape}
    graph = tflite.read(lowered.path).subgraphs[0]
    assert list(graph.tensors[graph.inputs[0]].shape) == [2, 6, 4]  # until a caller says otherwise
    with LitertSession(lowered.path, lowered.signature) as session:
        for length in (6, 9) if opened else (6,):
            given = feeds(lowered.signature, SIZES | {"length": length})
            assert session.run(given)["y"].shape == given["x"].shape


def test_an_operator_that_needs_a_size_gets_it_and_the_report_says_so(tmp_path: Path) -> None:
    text = """
        <ir_version: 10, opset_import: ["" : 21]>
        net (float[batch, 3, height, 8] x) => (float[batch, 2, height, 8] y)
        <float[2, 3, 1, 1] w = {1, 2, 3, 4, 5, 6}> { y = Conv(x, w) }
    """
    program = Program({"main": part(tmp_path, text)}, (), {"kind": "onnx"})
    given = Context(source={}, sizes={"batch": 2, "height": 8}, options={"open": "all"})
    lowered = lower(program, tmp_path, given)
    assert lowered.signature.outputs[0].shape == ("batch", 2, 8, 8)
    (note,) = [note for note in lowered.notes if "pinned" in note]
    assert "'height' is pinned to 8" in note
    assert "Conv" in note
    assert "height and width" in note or "size is open" in note
    with LitertSession(lowered.path, lowered.signature) as session:
        for batch in (1, 5):
            x = np.ones((batch, 3, 8, 8), np.float32)
            np.testing.assert_allclose(session.run({"x": x})["y"][:, 0], 6.0)


def test_an_operator_that_no_size_helps_is_refused_as_ever(tmp_path: Path) -> None:
    program = Program({"main": part(tmp_path, ENCODER.replace("Tanh", "Acos"))}, (), {"kind": "onnx"})
    with pytest.raises(TargetError, match="Acos has no translation"):
        lower(program, tmp_path, context("all"))


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (context("lenght"), UnknownNameError, "Unknown dimension 'lenght'.*Did you mean 'length'"),
        (context("length", static=True), UsageError, "fixed by --static or --buckets.*asked to be open"),
    ],
)
def test_what_cannot_be_asked_for(
    given: Context, kind: type[EdgepackError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words):
        lower(encoder(tmp_path), tmp_path, given)
    assert not (tmp_path / "out").exists()


def test_a_state_that_grows_along_what_is_not_open(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"'cache' grows along 'past'.*open=batch,past"):
        lower(decoder(tmp_path), tmp_path, context("batch"))
    lowered = lower(decoder(tmp_path), tmp_path, context("past"))
    assert [spec.shape for spec in lowered.signature.inputs] == [(2, 1, 4), (2, "past", 4)]


def test_the_fewest_dimensions_are_pinned() -> None:
    from edgepack.targets.mobile._tflite.base import NotServed

    def attempt(refused: set[frozenset[str]]) -> Any:
        def convert(names: tuple[str, ...]) -> tuple[str, ...]:
            if any(together <= set(names) for together in refused):
                raise NotServed(f"no {'+'.join(names)}", where="node 'n'")
            return names

        return convert

    sizes = {"a": 1, "b": 2, "c": 3}
    one = attempt({frozenset("b")})
    assert _open_sizes.fewest_pinned("abc", one, sizes, {}) == (
        ("a", "c"),
        ["The dimension 'b' is pinned to 2: no a+b+c (node 'n')"],
    )
    assert _open_sizes.fewest_pinned("abc", attempt({frozenset("ab")}), sizes, {})[0] == ("b", "c")
    assert _open_sizes.fewest_pinned("abc", attempt({frozenset("ab")}), sizes, {"a": "s"})[0] == ("a", "c")
    assert _open_sizes.fewest_pinned("abc", attempt({frozenset("a"), frozenset("b")}), sizes, {})[0] == ("c",)
    with pytest.raises(NotServed):
        _open_sizes.fewest_pinned("abc", attempt({frozenset("b")}), sizes, {"b": "s"})


@pytest.mark.slow
def test_static_int8_learns_from_samples_of_any_size(tmp_path: Path) -> None:
    lowered = lower(encoder(tmp_path), tmp_path, context("all"))
    samples = [feeds(lowered.signature, {"batch": b, "length": n}) for b, n in ((1, 4), (3, 2), (2, 9))]
    facts = Calibration(kind="user", description="samples of three sizes", samples=3, held_out=0)
    data = CalibrationData(facts, samples, [], "any")
    made = quantizers.get("litert-static")().quantize(lowered, "int8-static", data, tmp_path / "q")
    assert tflite.count_integer(tflite.read(made.path)) > 0
    with (
        LitertSession(lowered.path, lowered.signature) as exact,
        LitertSession(made.path, made.signature) as integers,
    ):
        for sample in samples:
            np.testing.assert_allclose(integers.run(sample)["y"], exact.run(sample)["y"], atol=0.05)
