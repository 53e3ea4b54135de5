"""Rewrites in a run: one that a gate or a compiler refuses is not tried again, and any can be left out by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from onnx import load, numpy_helper, save

from edgepack.toolchain.errors import (
    NothingPlacedError,
    ToolchainFailedError,
    ToolchainStoppedError,
    UnknownNameError,
    UsageError,
)
from edgepack.toolchain.pipeline import run
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.recipe import make
from edgepack.toolchain.results import NodeReason, Placement
from edgepack.toolchain.rewrites.base import Cure, Device, Rewrite, rewrites
from tests.toolchain.pipeline.conftest import CopyTarget

NAME = "wrong"


@pytest.fixture
def tried(monkeypatch, copy_target):
    """A target that applies a rewrite which changes what is computed; the names of every lowering."""
    found = []
    rewrites.names()
    monkeypatch.setitem(
        rewrites._members, NAME, Rewrite(NAME, "because", lambda _model, _device: 1, first=lambda _: True)
    )

    def lower(self, program, part, context, folder):
        found.append(context.rewrites)
        if NAME not in context.rewrites:
            return CopyTarget.lower(self, program, part, context, folder)
        model = load(part.path)
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(tensor), tensor.name))
        save(model, folder / "main.onnx")
        return Lowered(part.name, "onnx", folder / "main.onnx", part.signature)

    copy_target(
        lower=lower,
        precisions=("fp32", "int8-dynamic"),
        rewrites_for=lambda _self, _precision, _sizes: Device(),
    )
    return found


def exported(model, tmp_path, cache, **options):
    recipe = make(model=str(model), targets=["cpu:copy"], out=str(tmp_path / "out"), measure=False, **options)
    return run(recipe, cache=cache, jobs=1)


def test_a_rewrite_that_fails_its_gate_is_tried_once(model, tmp_path, cache, tried):
    bundle = exported(model, tmp_path, cache)
    assert tried == [(), (NAME,)]
    (warning,) = [text for text in bundle.manifest.warnings if "were left out" in text]
    assert "disagrees with the program" in warning
    assert [c.outcome for c in bundle.manifest.candidates] == ["chosen", "slower"]
    again = exported(model, tmp_path, cache)
    assert tried == [(), (NAME,)]
    assert warning in again.manifest.warnings


def test_a_rewrite_is_left_out_by_name(model, tmp_path, cache, tried):
    bundle = exported(model, tmp_path, cache, without=[NAME])
    assert tried == [()]
    assert not any("were left out" in text for text in bundle.manifest.warnings)
    assert f"--without {NAME}" in bundle.manifest.command
    with pytest.raises(UnknownNameError, match="Did you mean 'attention heads'"):
        make(model=str(model), without=["attention head"])
    with pytest.raises(UsageError, match="is asked for and left out"):
        make(model=str(model), without=[NAME], rewrite=[NAME])


@pytest.fixture
def compiled(monkeypatch, copy_target):
    """A target whose compiler does with a rewritten graph what `error` raises; the notes of all that it was given."""
    found: list[tuple[str, ...]] = []
    rewrites.names()
    member = Rewrite(NAME, "because", lambda _model, _device: 1, cures=(Cure("Relu", "not here"),))
    monkeypatch.setitem(rewrites._members, NAME, member)
    errors: list[Exception] = []

    def lower(self, program, part, context, folder):
        return replace(CopyTarget.lower(self, program, part, context, folder), notes=context.rewrites)

    def compile_(self, lowered, context, folder):
        found.append(lowered.notes)
        if lowered.notes:
            (folder / "debris").mkdir()
            raise errors[0]
        return CopyTarget.compile(self, lowered, context, folder)

    copy_target(lower=lower, compile=compile_, rewrites_for=lambda _self, _precision, _sizes: Device())
    return found, errors


def nothing_placed():
    error = NothingPlacedError("it left every operator off", where="chip")
    reasons = [NodeReason(node="n", op="Relu", reason="nothing here", cure="none")]
    error.placement = Placement(accelerator=0, cpu=9, reasons=reasons)
    return error


@pytest.mark.parametrize(
    ("error", "said", "tries"),
    [
        (ToolchainFailedError("it crashed"), "nothing built with wrong (taken back: it crashed)", 1),
        (nothing_placed(), "9 operators off with wrong (taken back)", 1),
        (
            ToolchainStoppedError("it took too long"),
            "nothing built with wrong (taken back: it took too long)",
            2,
        ),
    ],
)
def test_a_trial_that_the_compiler_refuses_is_not_tried_again(
    model, tmp_path, cache, compiled, error, said, tries
):
    found, errors = compiled
    errors.append(error)
    for _ in range(2):
        (artifact,) = exported(model, tmp_path, cache).artifacts
        assert any(said in note for note in artifact.notes)
    assert found.count((NAME,)) == tries
    assert found.count(()) == 1
