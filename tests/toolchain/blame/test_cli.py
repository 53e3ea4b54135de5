"""`edgepack bisect` as it is typed: what it prints, writes and refuses."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import edgepack
from edgepack.toolchain.cli import app


@pytest.fixture
def run(cache, monkeypatch):
    monkeypatch.setenv("EDGEPACK_CACHE", str(cache.root))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        return CliRunner().invoke(app, ["bisect", *map(str, words)])

    return call


def test_it_prints_the_layers_and_the_fix_and_writes_a_page_beside_the_bundle(run, rejected):
    done = run(rejected.path, "--samples", 8, "--top", 2)
    assert done.exit_code == 0, done.output
    assert "down2 (MatMul) adds most noise" in done.output
    assert "edgepack export" in done.output
    assert "--keep down2" in done.output
    folder = rejected.path.with_name("bundle-blame")
    assert b"down2" in (folder / "blame.html").read_bytes()
    assert json.loads((folder / "blame.json").read_text())["order"][0] == "down2"
    assert edgepack.verify(rejected.path).ok, "the bundle is as it was"


def test_it_applies_and_says_before_and_after(run, rejected, tmp_path):
    done = run(
        rejected.path, "--samples", 4, "--top", 1, "--apply", 1, "--out", tmp_path / "one", "--report",
        tmp_path / "report", "--json",
    )  # fmt: skip
    found = json.loads(done.stdout)
    applied = found["applied"]
    assert done.exit_code == (0 if applied["passed"] else 3)
    assert applied["kept"] == 1
    assert applied["after"]["parity"]["cosine"] > applied["before"]["parity"]["cosine"]
    assert edgepack.load(tmp_path / "one").manifest.recipe["keep"] == ["down2"]
    assert (tmp_path / "report" / "blame.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "There is no such folder"),
        (["BUNDLE", "--target", "cpu:plane"], "Did you mean 'cpu:plain'"),
        (["BUNDLE", "--precision", "int9-static"], "Did you mean 'int8-static'"),
        (["BUNDLE", "--report", "BUNDLE/blame"], "nothing else"),
        (["BUNDLE", "--top", "1", "--samples", "4", "--apply", "99"], "99 layers cannot be kept"),
    ],
)
def test_refusals(run, rejected, words, said):
    done = run(*(word.replace("BUNDLE", str(rejected.path)) for word in words))
    assert done.exit_code == 2
    assert said in done.output
    assert done.output.strip().splitlines()[-1].startswith("Error: ")
