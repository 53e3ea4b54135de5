"""npu:ethos-u*: the real Vela on small models, and every way in which a Vela can let us down."""

from __future__ import annotations

import runpy
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.base import Context, Target, targets
from edgepack.targets.npu.ethos_u import ACCELERATORS, EthosU
from edgepack.targets.npu.vela_report import cure, read_reasons, read_summary
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import TargetError, ToolchainFailedError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.results import Calibration

NAMES = [f"npu:{accelerator.config}" for accelerator in ACCELERATORS]
CONTEXT = Context(source={}, sizes={}, time_limit_s=120)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lowered]:
    """The block as int16x8 for an Ethos-U55, the network as int8, and the float network."""
    script = Path(__file__).parents[2] / "tflite_models.py"
    models: dict[str, Lowered] = runpy.run_path(str(script))["write"](tmp_path_factory.mktemp("models"))
    random = np.random.default_rng(5)
    samples: dict[str, list[dict[str, np.ndarray]]] = {
        "cnn": [{"image": random.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(8)],
        "block": [{"ids": random.integers(0, 32, (1, 16))} for _ in range(8)],
    }
    made = {"float": models["cnn"], "attention": models["block"]}
    narrow, wide = targets.get("npu:ethos-u55-128")().offers(models["cnn"])
    for name, offer in (("cnn", narrow), ("block", wide)):
        assert offer.quantizer is not None
        facts = Calibration(kind="user", description="test", samples=8, held_out=0)
        made[name] = quantizers.get(offer.quantizer)().quantize(
            models[name],
            offer.precision,
            CalibrationData(facts, samples[name], [], ""),
            tmp_path_factory.mktemp(name),
            **offer.options,
        )
    return made


def vela(tmp_path: Path, code: str) -> Target:
    """A target whose Vela is the given Python code; `out` is where it shall write."""
    script = tmp_path / "vela.py"
    script.write_text(
        "import sys, pathlib, time, os\n"
        "network = pathlib.Path(sys.argv[1])\n"
        "out = next(pathlib.Path(a.split('=')[1]) for a in sys.argv if a.startswith('--output-dir'))\n" + code
    )
    target = targets.get("npu:ethos-u55-128")()
    assert isinstance(target, EthosU)
    target.vela = (sys.executable, str(script))
    return target


def test_registered_and_light() -> None:
    code = (
        "import sys; from edgepack.targets.base import targets; names = targets.names();"
        f"assert set({NAMES!r}) <= set(names), names;"
        "sys.exit(any(n in sys.modules for n in ('torch', 'numpy', 'ethosu', 'ai_edge_litert')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_facts(name: str, quantized: dict[str, Lowered]) -> None:
    target = targets.get(name)()
    assert (target.family, target.runs_here, target.float_precision) == ("npu", False, False)
    assert target.lower_key() == targets.get("mobile:litert")().lower_key()
    assert [offer.precision for offer in target.offers(quantized["float"])] == [
        "int8-static",
        "int16x8-static",
    ]
    last = target.offers(quantized["attention"])[2:]
    narrow = not name.startswith("npu:ethos-u85")  # of two activations each
    assert [(offer.precision, offer.fallback) for offer in last] == [("int16-static", True)] * narrow
    assert target.rewrites_for("int16-static", {}).element_products is True
    assert target.rewrites_for("int16x8-static", {}).element_products is False
    assert not target.missing()
    assert {r.distribution for r in target.requirements()} >= {"ethos-u-vela", "ai-edge-quantizer"}


def test_the_configurations_are_velas_own() -> None:
    parser = ConfigParser()
    parser.read(str(distribution("ethos-u-vela").locate_file("ethosu/config_files/Arm/vela.ini")))
    for accelerator in ACCELERATORS:
        assert f"System_Config.{accelerator.system}" in parser.sections()
        assert f"Memory_Mode.{accelerator.memory}" in parser.sections()


@pytest.mark.parametrize("name", NAMES)
def test_compiles_a_network_wholly_onto_the_npu(
    name: str, quantized: dict[str, Lowered], tmp_path: Path
) -> None:
    compiled = targets.get(name)().compile(quantized["cnn"], CONTEXT, tmp_path)
    assert compiled.placement.cpu == 0
    assert compiled.placement.accelerator == len(
        list(tflite.operators(tflite.read(tmp_path / compiled.run_file)))
    )
    assert compiled.placement.device == name.removeprefix("npu:")
    assert compiled.estimate is not None
    assert compiled.estimate.kind == "vendor-estimate"
    assert 0 < compiled.estimate.p50_ms < 10
    assert compiled.estimate.p90_ms is None
    metrics = {metric.name: metric for metric in compiled.metrics}
    assert metrics["cycles"].value > 0
    assert metrics["sram"].value > 0
    # Vela estimates; how many multiplications it placed is counted from its answer.
    counted = {name for name, metric in metrics.items() if metric.kind == "counted"}
    assert counted == {"macs on the npu"}
    assert {metric.kind for name, metric in metrics.items() if name not in counted} == {"vendor-estimate"}
    # cycles / clock = time
    expected = metrics["cycles"].value / metrics["core_clock"].value * 1e3
    assert compiled.estimate.p50_ms == pytest.approx(expected, rel=1e-3)
    assert compiled.tool.version == distribution("ethos-u-vela").version
    kinds = [operator.op for operator in tflite.operators(tflite.read(tmp_path / compiled.files[0]))]
    assert kinds == ["ethos-u"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({*compiled.files, compiled.run_file})
    lowered = quantized["cnn"]
    with LitertSession(tmp_path / compiled.run_file, lowered.signature) as session:
        assert session.run({"image": np.ones((1, 3, 8, 8), np.float32)})["logits"].shape == (1, 5)


def test_what_stays_on_the_cpu_has_velas_reason_and_a_cure(
    quantized: dict[str, Lowered], tmp_path: Path
) -> None:
    compiled = targets.get("npu:ethos-u55-128")().compile(quantized["block"], CONTEXT, tmp_path)
    placement = compiled.placement
    assert {reason.op for reason in placement.reasons} == {"GATHER"}  # of integers: nothing to quantize
    assert placement.cpu == len(placement.reasons) < placement.accelerator
    lookup = next(reason for reason in placement.reasons if reason.op == "GATHER")
    assert lookup.node.startswith("embedded")
    assert lookup.reason == "Unsupported opType"
    assert "--host lookups" in lookup.cure
    assert "leaves out" in compiled.notes[0]
    assert compiled.estimate is not None
    assert "CPU" in str(compiled.estimate.note)


def test_a_float_model_is_refused(quantized: dict[str, Lowered], tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="integers only"):
        targets.get(NAMES[0])().compile(quantized["float"], CONTEXT, tmp_path)


def test_a_model_left_wholly_on_the_cpu_is_an_error(quantized: dict[str, Lowered], tmp_path: Path) -> None:
    # Vela itself exits with 0 for it.
    pretended = quantized["float"].quantized(quantized["float"].path, "int8-static", 1)
    with pytest.raises(ToolchainFailedError, match="left every operator on the CPU: 0 of 4"):
        targets.get(NAMES[0])().compile(pretended, CONTEXT, tmp_path)
    assert list(tmp_path.iterdir()) == []


WRITE = "(out / (network.stem + '_vela.tflite')).write_bytes({0})\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit('cannot map operator 7')", "Vela failed with exit code 1.*cannot map operator 7"),
        ("os.abort()", "Vela failed with signal 6"),
        ("pass", "did not write main_vela.tflite"),
        (WRITE.format("b''"), "did not write main_vela.tflite"),
        (WRITE.format("b'garbage'"), "cannot be read"),
        (WRITE.format("network.read_bytes()"), "left every operator on the CPU"),
    ],
)
def test_a_vela_that_fails(code: str, message: str, quantized: dict[str, Lowered], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ToolchainFailedError, match=message):
        vela(tmp_path, code).compile(quantized["cnn"], CONTEXT, out)
    assert list(out.iterdir()) == []


def test_a_vela_that_hangs_is_stopped(quantized: dict[str, Lowered], tmp_path: Path) -> None:
    target = vela(tmp_path, "time.sleep(600)")
    with pytest.raises(ToolchainFailedError, match=r"did not finish within 0\.5 s"):
        target.compile(quantized["cnn"], Context(source={}, sizes={}, time_limit_s=0.5), tmp_path / "out")


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (None, "wrote no summary"),
        ("", "it has no row"),
        ("inference_time\n", "it has no row"),
        ("inference_time\nsoon\n", "inference_time is 'soon'"),
        ("inference_time\n0\n", "inference_time is '0'"),
        ("inference_time\nnan\n", "inference_time is 'nan'"),
        ("\x00\x01\x02\nx\n", "cannot be used"),
    ],
)
def test_a_vela_that_writes_a_bad_summary(
    summary: str | None, message: str, quantized: dict[str, Lowered], tmp_path: Path
) -> None:
    real = targets.get("npu:ethos-u55-128")().compile(quantized["cnn"], CONTEXT, tmp_path / "real")
    model = tmp_path / "real" / real.files[0]
    code = WRITE.format(f"pathlib.Path({str(model)!r}).read_bytes()")
    if summary is not None:
        code += f"(out / 'main_summary_x.csv').write_text({summary!r})\n"
    with pytest.raises(ToolchainFailedError, match=message):
        vela(tmp_path, code).compile(quantized["cnn"], CONTEXT, tmp_path / "out")


def test_summary_leaves_out_what_it_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("inference_time,cycles_total,sram_memory_used,off_chip_flash_memory_used\n0.25,-1,2.5,\n")
    summary = read_summary(path)
    assert summary.latency().p50_ms == 250
    assert (summary.cycles, summary.sram_kib, summary.flash_kib, summary.macs) == (None, 2.5, None, None)


def test_reasons_of_several_lines() -> None:
    text = (
        "\nWarning (supported operators) operator: GELU, ofm: 'a;b'\n"
        "Reason: Unsupported IFM type: Int16\nIFM and OFM datatypes must match, and must be Int8 or UInt8\n\n"
        "Warning (supported operators) operator: DIV, ofm: 'it's'\nReason: Unsupported opType\n\n#### end"
    )
    assert read_reasons(text) == {
        "a;b": (
            "GELU",
            "Unsupported IFM type: Int16 IFM and OFM datatypes must match, and must be Int8 or UInt8",
        ),
        "it's": ("DIV", "Unsupported opType"),
    }
    assert "sigmoid" in cure("GELU", read_reasons(text)["a;b"][1])
    assert "supported-ops-report" in cure("ANYTHING", "a reason nobody has heard of")
