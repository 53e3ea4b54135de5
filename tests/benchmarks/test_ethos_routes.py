"""Two ways to an Ethos-U: edgepack's TFLite through Vela, and ExecuTorch's delegate (TOSA) through Vela.

Both get the same network, calibration and memories. Compared are Vela's own estimates, what stays on the CPU, and the
agreement of the quantized network with the float one; nothing here runs an Ethos-U.
"""

import json
import os
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from edgepack.exporters import SourceRequest
from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.runtime.sessions.litert import LitertSession
from edgepack.targets.base import Context, targets
from edgepack.targets.npu.vela_report import read_summary
from edgepack.toolchain.environments import IsolatedEnvironment
from edgepack.toolchain.errors import ToolchainFailedError
from edgepack.toolchain.results import Calibration
from edgepack.toolchain.subprocesses import run_tool
from tests.exported import exported

pytestmark = pytest.mark.benchmark
HERE = Path(__file__).parent
ENVIRONMENT = IsolatedEnvironment(
    "benchmark-ethos-routes",
    HERE / "ethos_routes_requirements.txt",
    (10, 13),
    left_out=("numpy", "flatbuffers", "jsonschema", "semver"),  # edgepack's, which the delegate works with
)
TARGETS = ("npu:ethos-u55-128", "npu:ethos-u85-512")
ENDS = {"int16": "int16", "float": None}
TITLES = {"int16": "ends in 16 bits", "float": "8 bits throughout"}
SMALL = """
import torch

def make():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 16, 3, stride=2, padding=1), torch.nn.ReLU6()]
    for _ in range(3):
        layers += [torch.nn.Conv2d(16, 16, 3, groups=16, padding=1), torch.nn.ReLU6(), torch.nn.Conv2d(16, 16, 1)]
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 10)]
    return torch.nn.Sequential(*layers).eval(), (torch.randn(2, 3, 32, 32),)
"""


@pytest.fixture(scope="module")
def path():
    """What the delegate's worker finds before edgepack's own packages."""
    try:
        ENVIRONMENT.set_up()
    except ToolchainFailedError as error:
        pytest.skip(f"the delegate's tools cannot be had: {error}")
    (site,) = ENVIRONMENT.folder.glob("lib/python3.*/site-packages")
    return site


def cosine(one, other):
    return float(np.sum(one * other) / np.linalg.norm(one) / np.linalg.norm(other))


def inputs(shape, photos):
    """Crops of photographs, normalised to -1 to 1, and their split: most calibrate, the rest judge."""
    random, made = np.random.default_rng(0), []
    for _ in range(24):
        photo = photos[random.integers(len(photos))]
        y, x = (random.integers(edge - shape[2] + 1) for edge in photo.shape[:2])
        crop = photo[y : y + shape[2], x : x + shape[3]].astype(np.float32) / 127.5 - 1
        made.append(np.ascontiguousarray(crop.transpose(2, 0, 1)[None]))
    return np.stack(made[:16]), np.stack(made[16:])


def test_the_own_route_is_as_good(path, photos, tmp_path, capsys):
    import onnxruntime

    (tmp_path / "small.py").write_text(SMALL)
    source, sizes = SourceRequest(f"{tmp_path / 'small.py'}:make"), {"batch": 1}
    program = exported(source, tmp_path / "program")
    part = program.parts["main"]
    context = Context(source=source.to_json(), sizes=sizes, threads=1)
    (spec,) = part.signature.inputs
    calibrating, judging = inputs(spec.resolve(sizes), photos)
    reference = onnxruntime.InferenceSession(part.path, providers=["CPUExecutionProvider"])
    wanted = np.stack([reference.run(None, {spec.name: sample})[0] for sample in judging])
    samples = tmp_path / "samples.npz"
    np.savez(samples, calibrating=calibrating, judging=judging)
    facts = Calibration(kind="user", description="photographs", samples=16, held_out=8)
    data = CalibrationData(facts, [{spec.name: sample} for sample in calibrating], (), "f")
    with capsys.disabled():
        print(
            f"\nVela {distribution('ethos-u-vela').version}, the delegate's {ENVIRONMENT.version('ethos-u-vela')}"
        )
    lowered, forms = None, {}
    for target_name in TARGETS:
        target = targets.get(target_name)()
        if lowered is None:
            lowered = target.lower(program, part, context, tmp_path / "lowered")
            offer = target.offers(lowered)[0]
            for ends in ("int16", "float"):
                quantized = quantizers.get(offer.quantizer)().quantize(
                    lowered, offer.precision, data, tmp_path / ends, **{**offer.options, "ends": ENDS[ends]}
                )
                forms[ends] = quantized, cosine(outputs_of(quantized, judging), wanted)
        slug = target_name.partition(":")[2]
        other, theirs = delegate(target, source, sizes, samples, path, tmp_path / f"{slug}-delegate")
        outside = f"{len(other['outside'])} outside ({', '.join(sorted(set(other['outside']))) or 'none'})"
        with capsys.disabled():
            print(f"{slug}, delegate: {outside}, cosine {cosine(theirs, wanted):.5f}")
        for ends, (quantized, near) in forms.items():
            compiled = target.compile(quantized, context, tmp_path / f"{slug}-{ends}")
            own = {metric.name: metric.value for metric in compiled.metrics}
            off_chip = own.get("flash", 0.0) + own.get("dram", 0.0)
            placed = compiled.placement
            with capsys.disabled():
                print(
                    f"{slug}, own with {TITLES[ends]}: {placed.cpu} of {placed.accelerator + placed.cpu} on "
                    f"the CPU, cosine {near:.5f}; own / delegate: "
                    f"time {compiled.estimate.p50_ms / 1e3 / other['seconds']:.2f}, SRAM "
                    f"{own['sram'] / other['sram']:.2f}, flash and DRAM {off_chip / other['off_chip']:.2f}"
                )
            assert placed.cpu <= len(other["outside"])
            assert near >= cosine(theirs, wanted) - 0.01


def outputs_of(quantized, samples):
    """Of every sample, by LiteRT."""
    (given,), (made,) = quantized.signature.inputs, quantized.signature.outputs
    with LitertSession(quantized.path, quantized.signature) as session:
        return np.stack([session.run({given.name: sample})[made.name] for sample in samples])


def delegate(target, source, sizes, samples, path, folder):
    """ExecuTorch's route for one target: what its worker says, Vela's sums over the subgraphs, and the outputs."""
    folder.mkdir()
    memories = target.told({})
    request = {
        "source": source.to_json(), "part": "main", "sizes": sizes, "samples": str(samples), "folder": str(folder),
        "config": target.accelerator.config, "system": memories.system_config, "memory": memories.memory_mode,
    }  # fmt: skip
    (folder / "request.json").write_text(json.dumps(request))
    places = [str(path), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    run_tool(
        "ExecuTorch's delegate",
        [sys.executable, str(HERE / "ethos_route_worker.py"), str(folder / "request.json")],
        time_limit_s=1500,
        cwd=folder,
        expect=[folder / "answer.json", folder / "outputs.npy"],
        env={"PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    summaries = [read_summary(file) for file in sorted(folder.glob("summary-*.csv"))]
    found = json.loads((folder / "answer.json").read_text()) | {
        "seconds": sum(one.seconds for one in summaries),
        "sram": max((one.sram_kib or 0.0) for one in summaries) * 1024,
        "off_chip": sum((one.flash_kib or 0.0) + (one.dram_kib or 0.0) for one in summaries) * 1024,
    }
    return found, np.load(folder / "outputs.npy")
