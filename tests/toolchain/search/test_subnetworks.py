"""Width and depth join the search where an architecture declares them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgepack
from edgepack.exporters.architectures.base import architectures
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.search.run import search
from tests.workers import EXPORT, answered_here

NAME = "elastic-digits"


@pytest.fixture(scope="module")
def plugin(pictures, tmp_path_factory) -> Iterator[Path]:
    """A distribution with an elastic architecture, installed for this process and those that it starts."""
    import torch

    folder = tmp_path_factory.mktemp("plugin")
    source = Path(__file__).with_name("elastic_digits.py")
    (folder / source.name).write_text(source.read_text())
    info = folder / "elastic_digits-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elastic-digits\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[edgepack.architectures]\nelastic-digits = elastic_digits\n")
    spec = importlib.util.spec_from_file_location("elastic_digits", folder / source.name)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["elastic_digits"] = module
    spec.loader.exec_module(module)
    x, y = (torch.from_numpy(values) for values in pictures)
    torch.save(module.train(x[:1200], y[:1200]), folder / "weights.pt")
    np.savez(folder / "samples.npz", x=pictures[0][1200:1500, None])
    np.savez(folder / "test.npz", x=pictures[0][1500:], y=pictures[1][1500:])
    (folder / "judge.py").write_text(
        "import pathlib\nimport numpy as np\n"
        "with np.load(pathlib.Path(__file__).with_name('test.npz')) as file:\n"
        "    data = dict(file)\n"
        "def accuracy(model):\n"
        "    return float((model({'x': data['x']})['logits'].argmax(1) == data['y']).mean())\n"
    )
    yield folder
    architectures._members.pop(NAME)
    del sys.modules["elastic_digits"]


@pytest.fixture
def installed(plugin, monkeypatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(plugin))
    monkeypatch.setenv("ELASTIC_WEIGHTS", str(plugin / "weights.pt"))
    return plugin


def test_a_subnetwork_is_a_configuration(installed):
    elastic = architectures.get(NAME)
    assert list(elastic.configs) == ["whole"], "sub-networks are not listed one by one"
    name, config = elastic.config("width=72,depth=1")
    assert (name, config.width, config.depth) == ("width=72,depth=1", 72, 1)
    for text, says in (("width=71,depth=1", "72"), ("widht=72,depth=1", "width")):
        with pytest.raises(UnknownNameError, match=says):
            elastic.config(text)
    with pytest.raises(UsageError, match="depth is missing"):
        elastic.config("width=72")


def test_without_a_metric_nobody_knows_how_good_a_subnetwork_is(installed, tmp_path):
    with pytest.raises(UsageError, match=r"different networks.*--metric"):
        search(f"zoo:{NAME}", out=tmp_path / "s", trials=1)


@pytest.mark.slow
def test_subnetworks_and_precisions_together(installed, tmp_path, monkeypatch):
    metric = f"python:{installed / 'judge.py'}:accuracy"
    options = {"calibration": str(installed / "samples.npz"), "metric": metric, "gate": {"metric": 0.95}}
    with pytest.MonkeyPatch.context() as patch:
        # Every sub-network is exported; the bundle's export below is in a process of its own, as in a run.
        answered_here(patch, [EXPORT])
        results = search(f"zoo:{NAME}", out=tmp_path / "s", trials=4, timing_s=0.05, seed=1, **options)
    assert results.choices == {"width": ["96", "72"], "depth": ["3", "1"]}
    own = [point for point in results.points if point.side != "uniform"]
    assert len({tuple(point.choices.values()) for point in own}) > 1
    whole = results.points[0].measured.parity.metric
    assert whole.value == whole.reference > 0.95
    for point in results.points:
        found = point.measured.parity.metric
        assert found.reference == whole.reference, "every sub-network is held against the whole network"
        assert found.value > 0.9, "sub-networks of a trained network are trained networks"
        if point.choices["depth"] == "1":
            assert point.measured.size_bytes < results.fp32_bytes
    small = next(point for point in own if point.choices != {"width": "96", "depth": "3"})
    assert small.measured.parity.passed == (small.measured.parity.metric.value >= 0.95 * whole.value)

    chosen = next(point for point in results.points if point.label == results.chosen)
    assert f"width={chosen.choices['width']},depth={chosen.choices['depth']}" in results.export_command  # type: ignore[operator]
    name = f"zoo:{NAME}/width={small.choices['width']},depth={small.choices['depth']}"
    bundle = edgepack.export(
        name, targets="cpu:onnxruntime", out=tmp_path / "b", precision="fp32", measure=False
    )
    assert bundle.artifacts[0].parity.passed
