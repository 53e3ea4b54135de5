"""--target-option: what is refused before anything is built, and what becomes of the rest."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgepack.targets.base import targets
from edgepack.toolchain.errors import TargetError, UnknownNameError, UsageError
from edgepack.toolchain.pipeline import assembling, run
from edgepack.toolchain.pipeline.told import check_told, settled, told
from edgepack.toolchain.recipe import make

ROOT = Path(__file__).resolve().parents[3]
U55, U65 = "npu:ethos-u55-128", "npu:ethos-u65-512"


def named(*names):
    return [targets.get(name)() for name in names]


def recipe(**options):
    return make(model="m", target_options=options)


def test_each_target_gets_what_it_has():
    asked = recipe(memory_mode="Sram_Only")
    ethos, litert = named(U55, "mobile:litert")
    check_told(asked, [ethos, litert])
    assert told(asked, ethos) == {"memory_mode": "Sram_Only"}
    assert told(asked, litert) == {}
    assert settled(asked, ethos)["system_config"] == "Ethos_U55_High_End_Embedded"
    assert settled(asked, litert) == {}
    options = {"open": "batch, sequence"}
    named_open = asked.model_copy(update={"target_options": options})
    assert settled(named_open, litert) == {"open": "batch,sequence"}
    assert "--target-option memory_mode=Sram_Only" in assembling.command(asked)


@pytest.mark.parametrize(
    ("options", "names", "error", "said"),
    [
        ({"memory": "x"}, [U55], UnknownNameError, r"target option 'memory'.*Did you mean 'memory_mode'"),
        ({"memory_mode": "Sram_Only"}, ["mobile:litert"], UnknownNameError, "--target-option, mobile:litert"),
        ({"memory_mode": "Sram"}, [U55], UnknownNameError, "'memory_mode' of npu:ethos-u55-128 'Sram'"),
        ({"memory_mode": 3}, [U55], UsageError, "'memory_mode' of npu:ethos-u55-128 cannot be 3"),
        ({"memory_mode": "Dedicated_Sram"}, [U55], TargetError, "has flash there"),
    ],
)
def test_what_is_wrong_is_said_at_once(options, names, error, said):
    with pytest.raises(error, match=said):
        check_told(recipe(**options), named(*names))


def test_what_one_target_cannot_do_leaves_the_others():
    asked = recipe(memory_mode="Dedicated_Sram")
    check_told(asked, named(U55, U65))
    assert told(asked, targets.get(U65)()) == {"memory_mode": "Dedicated_Sram"}


def test_the_docs_table_is_the_code_s():
    path = ROOT / "tools" / "target_options_table.py"
    spec = importlib.util.spec_from_file_location("target_options_table", path)
    assert spec is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.table() in (ROOT / "docs" / "targets.md").read_text(), "run: make docs"


def network(path):
    """A convolution, y = relu(w * x)."""
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        net (float[1, 3, 8, 8] x) => (float[1, 8, 8, 8] y) { c = Conv<pads = [1, 1, 1, 1]>(x, w)  y = Relu(c) }
    """)
    w = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(w, "w"))
    onnx.save(model, path)
    return str(path)


@pytest.mark.slow
def test_options_are_facts_of_the_artifact_and_of_the_cache(tmp_path):
    model = network(tmp_path / "net.onnx")
    stages: list[bool] = []
    shown: list[float | None] = []
    for mode in ("Shared_Sram", "Sram_Only", "Shared_Sram"):
        asked = make(
            model=model, out=str(tmp_path / f"out{len(stages)}"), targets=[U55, U65], precision="int8-static",
            measure=False, target_options={"memory_mode": mode, "system_config": "Ethos_U55_Deep_Embedded"},
        )  # fmt: skip
        bundle = run(asked)
        (artifact,) = bundle.artifacts
        assert artifact.options == {"system_config": "Ethos_U55_Deep_Embedded", "memory_mode": mode}
        assert bundle.manifest.recipe["target_options"]["memory_mode"] == mode
        (failure,) = bundle.failures
        assert (failure.target, failure.exit_code) == (U65, TargetError.exit_code)
        assert "is not one of an ethos-u65-512" in failure.error
        # Compiled while rewrites are looked for, and taken from the cache when that is what ships.
        compiled = [s for s in bundle.manifest.stages if (s.target, s.name) == (U55, "compile")]
        stages.append(all(stage.cached for stage in compiled))
        shown.append({metric.name: metric.value for metric in artifact.metrics}.get("sram"))
    assert stages == [False, False, True]
    assert shown[0] == shown[2]
