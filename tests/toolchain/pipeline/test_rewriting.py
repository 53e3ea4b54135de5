"""Rewrites in a run: one that fails its gate is left out and not tried again, and any can be left out by name."""

from __future__ import annotations

import pytest
from onnx import load, numpy_helper, save

from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.pipeline import run
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.recipe import make
from edgepack.toolchain.rewrites.base import Device, Rewrite, rewrites
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
