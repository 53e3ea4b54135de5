"""A manifest with one of everything, built from parts that a test can change."""

from __future__ import annotations

import pytest

from edgepack.toolchain.results import (
    ArtifactResult,
    Calibration,
    CandidateResult,
    Comparison,
    Environment,
    Failure,
    FileEntry,
    Latency,
    Manifest,
    Measurement,
    Memory,
    MetricResult,
    NodeReason,
    OperatorTime,
    Parity,
    Placement,
    Profile,
    RuntimeEntry,
    RuntimesResult,
    SourceFacts,
    StageRecord,
    TensorError,
    Tool,
)

ORT = Tool(name="onnxruntime", version="1.24.1")
VELA = Tool(name="ethos-u-vela", version="5.0.0")
LITERT = Tool(name="ai-edge-litert", version="2.1.0")
MIB = 2**20
SHAPES = {"input_ids": [1, 128], "attention_mask": [1, 128]}


def measured(p50: float, **more: object) -> Latency:
    """A latency with every field set."""
    fields: dict[str, object] = {
        "kind": "measured",
        "p50_ms": p50,
        "p90_ms": p50 * 1.04,
        "p99_ms": p50 * 1.2,
        "ci_low_ms": p50 * 0.98,
        "ci_high_ms": p50 * 1.03,
        "samples": 214,
        "first_run_ms": p50 * 2,
        "load_ms": 48.0,
        "warmup_runs": 12,
        "steady": True,
        "threads": 1,
        "shapes": SHAPES,
    }
    return Latency(**(fields | more))


def passed(cosine: float, **more: object) -> Parity:
    """A parity whose gate held."""
    fields: dict[str, object] = {
        "passed": True,
        "cosine": cosine,
        "min_cosine": cosine - 0.01,
        "max_abs_error": 0.031,
        "neighbour_agreement": 0.915,
        "inputs_tried": 600,
        "gate": {"cosine": 0.99, "neighbour_agreement": 0.9},
        "data": "600 held-out sentences",
        "metric": MetricResult(
            name="python:quality.py:recall", value=0.8912, reference=0.8954, better="higher", limit=0.99
        ),
    }
    return Parity(**(fields | more))


def missed(cosine: float) -> Parity:
    """A parity whose gate did not hold, with its worst tensors."""
    worst = [
        TensorError(
            tensor=f"encoder.layer.{i}/attention/softmax",
            op="SOFTMAX",
            cosine=0.5 + i / 20,
            max_abs_error=3.0 / (i + 1),
            sqnr_db=1.5 * i,
        )
        for i in range(6)
    ]
    return passed(
        cosine,
        passed=False,
        failed=[f"mean cosine {cosine} is below 0.99"],
        worst=worst,
        first_wrong="encoder.layer.0/attention/softmax",
    )


def vela_placement(accelerator: int, cpu: int) -> Placement:
    """A placement in which many nodes share a reason."""
    reasons = [
        NodeReason(
            node=f"layer.{i}/erf",
            op="ERF",
            reason="Erf has no int16 kernel on Ethos-U",
            cure="Use --gelu tanh, which becomes a table",
        )
        for i in range(cpu - 1)
    ]
    reasons.append(
        NodeReason(
            node="embeddings/gather",
            op="GATHER",
            reason="The indices are not constant",
            cure="None: embeddings are looked up on the CPU",
        )
    )
    return Placement(accelerator=accelerator, cpu=cpu, reasons=reasons, device="Ethos-U55", tool=VELA)


def profile() -> Profile:
    """Per-operator times, unsorted."""
    names = ["Softmax", "DynamicQuantizeMatMul", "LayerNormalization", "Gelu", "Add", "Transpose", "Gather"]
    times = [0.4, 5.1, 0.8, 1.1, 0.3, 0.2, 0.05]
    return Profile(
        operators=[
            OperatorTime(op=name, calls=6 * (i + 1), time_ms=time, share=time / sum(times))
            for i, (name, time) in enumerate(zip(names, times, strict=True))
        ],
        tool=ORT,
    )


def artifacts() -> list[ArtifactResult]:
    """One to ship for each family."""
    return [
        ArtifactResult(
            target="cpu:onnxruntime",
            part="main",
            precision="int8-dynamic",
            files=["cpu-onnxruntime/main.onnx"],
            size_bytes=23 * MIB,
            parity=passed(0.99312),
            placement=Placement(accelerator=0, cpu=312),
            latency=measured(7.91),
            memory=Memory(
                kind="measured", peak_bytes=142 * MIB, load_bytes=120 * MIB, baseline_bytes=61 * MIB
            ),
            tool=ORT,
            profile=profile(),
            changed_nodes=37,
            comparison=Comparison(
                baseline="fp32", ratio=2.441, ci_low=2.40, ci_high=2.47, rounds=40, verdict="faster"
            ),
        ),
        ArtifactResult(
            target="npu:ethos-u55-128",
            part="main",
            precision="int16x8-static",
            files=["npu-ethos-u55-128/main_vela.tflite"],
            size_bytes=24 * MIB,
            parity=passed(0.9982, neighbour_agreement=None),
            placement=vela_placement(172, 28),
            latency=Latency(
                kind="vendor-estimate",
                p50_ms=412.5,
                shapes=SHAPES,
                note="leaves out the 28 operators that stay on the CPU",
            ),
            tool=VELA,
            profile=Profile(missing="Vela estimates the whole network only"),
            metrics=[
                Measurement(
                    name="npu_cycles", value=2.0625e8, unit="cycles", kind="vendor-estimate", tool=VELA
                ),
                Measurement(name="sram", value=1.5, unit="MiB", kind="vendor-estimate", tool=VELA),
            ],
            calibration=Calibration(kind="synthetic", description="random token ids", samples=32, held_out=0),
        ),
        ArtifactResult(
            target="mobile:litert",
            part="main",
            precision="int8-dynamic",
            files=["mobile-litert/main.tflite"],
            size_bytes=22 * MIB,
            parity=passed(0.9921),
            latency=measured(11.3),
            placement=Placement(accelerator=190, cpu=0, device="XNNPACK"),
            tool=LITERT,
            memory=Memory(kind="measured", peak_bytes=98 * MIB),
            profile=profile(),
            calibration=Calibration(kind="user", description="sentences.npz", samples=64, held_out=600),
            comparison=Comparison(
                baseline="fp32", ratio=1.02, ci_low=0.97, ci_high=1.06, rounds=40, verdict="can't tell"
            ),
        ),
    ]


def candidates() -> list[CandidateResult]:
    """The planner's table, losers included."""
    return [
        CandidateResult(
            target="cpu:onnxruntime",
            part="main",
            precision="int8-dynamic",
            outcome="chosen",
            why="fastest that passed its gate",
            latency=measured(7.91),
            parity=passed(0.99312),
        ),
        CandidateResult(
            target="cpu:onnxruntime",
            part="main",
            precision="fp32",
            outcome="slower",
            why="2.44 times slower than int8-dynamic",
            size_bytes=90 * MIB,
            latency=measured(19.3),
            parity=passed(0.9999999),
        ),
        CandidateResult(
            target="cpu:onnxruntime",
            part="main",
            precision="int8-static",
            outcome="failed-gate",
            why="mean cosine 0.84 is below 0.99",
            latency=measured(9.2),
            parity=missed(0.84),
        ),
        CandidateResult(
            target="npu:ethos-u55-128",
            part="main",
            precision="int8-static",
            outcome="failed-gate",
            why="mean cosine 0.80 is below 0.99",
            parity=missed(0.80),
            placement=vela_placement(180, 20),
        ),
        CandidateResult(
            target="mobile:litert",
            part="main",
            precision="int8-static",
            outcome="not-built",
            why="attention needs more than 8 bits",
        ),
        CandidateResult(
            target="mobile:litert",
            part="main",
            precision="fp32",
            outcome="slower",
            why="can't tell",
            latency=measured(11.5),
            parity=passed(1.0),
        ),
    ]


def stages() -> list[StageRecord]:
    """Stages with and without parity, cached and not."""
    return [
        StageRecord(name="export", seconds=4.81, detail="torch.export, strict", parity=passed(0.9999997)),
        StageRecord(
            name="clean-up",
            part="main",
            seconds=0.42,
            parity=passed(0.9999997),
            changes={"fold_constants": 41, "drop_identities": 12, "share_initializers": 0},
        ),
        StageRecord(name="lower", target="npu:ethos-u55-128", part="main", seconds=21.5, cached=True),
        StageRecord(
            name="quantize",
            target="npu:ethos-u55-128",
            part="main",
            precision="int8-static",
            seconds=33.1,
            parity=missed(0.80),
        ),
        StageRecord(
            name="compile", target="npu:ethos-u55-128", part="main", precision="int16x8-static", seconds=9.0
        ),
    ]


def environment() -> Environment:
    """A machine that does not expose everything."""
    return Environment(
        cpu_model="Example CPU @ 2.60GHz",
        cpu_features=["avx2", "avx512_vnni"],
        cores=8,
        threads=1,
        spinning=False,
        load_average=0.31,
        memory_bytes=16 * 2**30,
        os="Linux 6.8",
        python="3.11.7",
        packages={
            "onnxruntime": "1.24.1",
            "torch": "2.13.0",
            "ethos-u-vela": "5.0.0",
            "ai-edge-litert": "2.1.0",
        },
    )


def runtimes() -> RuntimesResult:
    """Two runtimes that were timed together."""
    entries = [
        RuntimeEntry(
            target=target,
            precision="int8-dynamic",
            latency=measured(p50),
            comparison=Comparison(
                baseline="fp32 on ONNX Runtime", ratio=19.3 / p50, ci_low=19.0 / p50, ci_high=19.6 / p50,
                rounds=30, verdict="faster",
            ),
        )
        for target, p50 in (("mobile:litert", 5.21), ("cpu:onnxruntime", 7.93))
    ]  # fmt: skip
    return RuntimesResult(part="main", baseline="fp32 on ONNX Runtime", entries=entries)


def build() -> Manifest:
    """One of everything."""
    lost = artifacts()[1]
    rejected = lost.model_copy(
        update={
            "precision": "int8-static",
            "files": ["rejected/npu-ethos-u55-128/main_vela.tflite"],
            "parity": missed(0.80),
            "placement": vela_placement(180, 20),
            "latency": Latency(kind="vendor-estimate", p50_ms=201.0),
        }
    )
    return Manifest(
        edgepack="0.1.0",
        bundle="minilm",
        created="2026-01-05T10:00:00Z",
        command="edgepack export models/minilm --target cpu,npu,mobile --out build/minilm",
        source=SourceFacts(
            kind="huggingface",
            location="models/minilm",
            fingerprint="ab" * 32,
            task="feature-extraction",
            architecture="bert",
            parameters=22_713_216,
        ),
        recipe={"target": ["cpu", "npu", "mobile"], "precision": "auto"},
        artifacts=artifacts(),
        rejected=[rejected],
        candidates=candidates(),
        runtimes=[runtimes()],
        stages=stages(),
        failures=[Failure(target="npu:ethos-u85-512", error="Vela failed with signal 11.", exit_code=4)],
        environment=environment(),
        warnings=["The load average was above 2 while timing."],
        files={"cpu-onnxruntime/main.onnx": FileEntry(sha256="0" * 64, size_bytes=23 * MIB)},
    )


@pytest.fixture
def manifest() -> Manifest:
    """One of everything."""
    return build()


@pytest.fixture(scope="module")
def whole_manifest() -> Manifest:
    """One of everything, for tests that share what they make of it and change nothing."""
    return build()


@pytest.fixture
def bare() -> Manifest:
    """A run that came to nothing: every list empty, every optional field None."""
    return Manifest(
        edgepack="0.1.0",
        bundle="empty",
        created="2026-01-05T10:00:00Z",
        command="edgepack export x",
        source=SourceFacts(kind="onnx", location="x.onnx", fingerprint="0" * 64),
        recipe={},
        environment=Environment(
            cpu_model="cpu",
            cpu_features=[],
            cores=1,
            threads=1,
            spinning=False,
            memory_bytes=0,
            os="Linux",
            python="3.11",
            packages={},
        ),
    )
