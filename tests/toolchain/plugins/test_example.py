"""The package that docs/plugins.md shows: built as a wheel, installed, listed, exported with."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.qnn_models import network
from tests.toolchain.plugins.packages import edgepack, example, installed, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="no pip in this environment"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    return installed(write(folder / "source", *example()), folder / "site")


def test_it_is_listed(site: Path, tmp_path: Path) -> None:
    done = edgepack(site, "targets", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line.split(maxsplit=1) for line in done.stdout.splitlines() if "ort-format" in line]
    assert line == ["mobile:ort-format", "ONNX Runtime's .ort files on a mobile CPU  [installed]"]
    assert done.stderr == ""


def test_it_exports_side_by_side_with_one_of_edgepacks_own(site: Path, tmp_path: Path) -> None:
    model = network(tmp_path / "model").path
    names = "mobile:ort-format,cpu:onnxruntime"
    options = ("--no-measure", "--precision", "fp32", "--no-cache", "--jobs", "2", "--json")
    done = edgepack(site, "export", model, "--target", names, "--out", "out", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    by_target = {artifact["target"]: artifact for artifact in found["artifacts"]}
    assert by_target.keys() == set(names.split(","))
    artifact = by_target["mobile:ort-format"]
    assert artifact["files"] == ["mobile-ort-format/main.ort"]
    # The identifier that a flatbuffer of ONNX Runtime's has after its first offset.
    assert (tmp_path / "out" / artifact["files"][0]).read_bytes()[4:8] == b"ORTM"
    assert artifact["parity"]["passed"]
    assert artifact["parity"]["cosine"] > 0.9999
    assert any(stage["name"] == "targets side by side" for stage in found["stages"])
    verified = edgepack(site, "verify", "out", cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout
