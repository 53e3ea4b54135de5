"""The main job on real models: a pretrained model in, verified artifacts for three kinds of device out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgepack
from edgepack.toolchain import environments
from edgepack.toolchain.bundle import Bundle

pytestmark = pytest.mark.slow

# A third of the usual samples: the outcome is the same, and the reference kernels take half a second a call.
SAMPLES = "32"


def cli(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    # Without the vendors' environments: what they simulate takes seconds a call, and has tests of its own.
    apart = os.environ | {environments.ROOT_VARIABLE: str(Path(__file__).parent / "no-environments")}
    done = subprocess.run(
        [sys.executable, "-m", "edgepack", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=850,
        env=apart,
    )
    assert done.returncode == expect, done.stderr[-3000:] + done.stdout[-1000:]
    return done


@pytest.fixture(scope="module")
def encoder(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, dict[str, object]]:
    out = tmp_path_factory.mktemp("bundles") / "minilm"
    done = cli(
        "export",
        str(minilm),
        "--target",
        "cpu,npu,mobile:litert",
        "--out",
        str(out),
        "--calibration-samples",
        SAMPLES,
        "--json",
    )
    return edgepack.load(out), json.loads(done.stdout)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundles") / "lite0"
    example = Path(__file__).parent.parent / "examples" / "efficientnet_lite0.py"
    cli(
        "export", f"{example}:model", "--target", "cpu,npu,mobile:litert", "--out", str(out),
        "--calibration", f"{example}:photos", "--calibration-samples", "64", "--gate", "top1=0.9",
    )  # fmt: skip
    return edgepack.load(out)


def test_the_encoder_gets_an_artifact_for_every_family(encoder):
    bundle, printed = encoder
    targets = {artifact.target for artifact in bundle.artifacts}
    assert {
        "cpu:onnxruntime",
        "cpu:openvino",
        "mobile:litert",
        "npu:ethos-u55-128",
        "npu:ethos-u65-512",
        "npu:ethos-u85-512",
    } == targets
    assert bundle.failures == []
    assert {entry["target"] for entry in printed["artifacts"]} == targets
    for artifact in bundle.artifacts:
        assert artifact.parity.passed
        assert artifact.parity.cosine is not None
        assert artifact.parity.cosine >= 0.99, artifact.target
        assert all((bundle.path / name).stat().st_size for name in artifact.files)


def test_the_encoders_int8_artifacts_are_faster_than_fp32(encoder):
    bundle, _ = encoder
    for target in ("cpu:onnxruntime", "mobile:litert"):
        artifact = next(a for a in bundle.artifacts if a.target == target)
        assert artifact.precision == "int8-dynamic"
        assert artifact.latency.kind == "measured"
        assert artifact.comparison.verdict == "faster"
        assert artifact.comparison.baseline == "fp32"
        assert artifact.memory.peak_bytes > artifact.memory.baseline_bytes


def test_plain_int8_is_rejected_on_the_npu_and_sixteen_bits_pass(encoder):
    bundle, _ = encoder
    for target in ("npu:ethos-u55-128", "npu:ethos-u65-512", "npu:ethos-u85-512"):
        lines = {line.precision: line for line in bundle.manifest.candidates if line.target == target}
        assert lines["int8-static"].outcome == "failed-gate"
        assert lines["int8-static"].parity.cosine < 0.9
        assert lines["int8-static"].parity.worst
        assert lines["int16x8-static"].outcome == "chosen"
        artifact = next(a for a in bundle.artifacts if a.target == target)
        placement = artifact.placement
        share = placement.accelerator / (placement.accelerator + placement.cpu)
        assert share >= 0.84
        # Everything left on the CPU is named, with Vela's reason and a cure.
        assert len(placement.reasons) == placement.cpu
        assert all(reason.reason and reason.cure for reason in placement.reasons)
        assert artifact.latency.kind == "vendor-estimate"
        assert artifact.latency.p99_ms is None
        assert "CPU" in artifact.latency.note
        assert {metric.name.lower() for metric in artifact.metrics}
        assert artifact.memory is None


def test_the_bundle_verifies_and_the_command_line_shows_it(encoder):
    bundle, _ = encoder
    assert "The bundle holds." in cli("verify", str(bundle.path)).stdout
    shown = cli("report", str(bundle.path)).stdout
    assert "cpu:onnxruntime" in shown
    assert "vendor-estimate" in shown


def test_the_same_command_again_comes_from_the_cache(encoder, minilm, tmp_path):
    bundle, _ = encoder
    words = ["export", str(minilm), "--target", "cpu,npu,mobile:litert", "--calibration-samples", SAMPLES]
    cli(*words, "--out", str(tmp_path / "again"))
    again = edgepack.load(tmp_path / "again")
    fresh = [stage.name for stage in again.manifest.stages if not stage.cached]
    assert set(fresh) == {"fingerprint", "calibration data", "bundle"}
    assert [a.latency for a in again.artifacts] == [a.latency for a in bundle.artifacts]


@pytest.mark.system("chromium")
def test_the_real_report_renders(encoder, chromium):
    from playwright.sync_api import sync_playwright

    bundle, _ = encoder
    seen: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page()
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on(
            "request",
            lambda request: seen.append(request.url) if not request.url.startswith("file:") else None,
        )
        page.goto((bundle.path / "report.html").as_uri())
        page.wait_for_selector("svg.main-svg")
        text = page.inner_text("body")
        browser.close()
    assert seen == []
    assert "int16x8-static" in text
    assert "vendor-estimate" in text


def test_the_classifier_gets_int8_that_agrees_and_is_faster(classifier):
    assert classifier.failures == []
    chosen = {artifact.target: artifact for artifact in classifier.artifacts}
    for target in ("cpu:onnxruntime", "mobile:litert"):
        assert chosen[target].precision == "int8-static"
        assert chosen[target].comparison.verdict == "faster"
    for target, artifact in chosen.items():
        assert artifact.parity.top1_agreement >= 0.9, target
        assert artifact.calibration.kind == "user"
    lines = {(line.target, line.precision): line for line in classifier.manifest.candidates}
    for target in ("cpu:onnxruntime", "mobile:litert"):
        assert lines[target, "int8-dynamic"].outcome == "not-built"
        assert "convolution" in lines[target, "int8-dynamic"].why.lower()


def test_the_classifier_runs_on_the_npu_as_a_whole(classifier):
    for target in ("npu:ethos-u55-128", "npu:ethos-u65-512", "npu:ethos-u85-512"):
        artifact = next(a for a in classifier.artifacts if a.target == target)
        assert artifact.precision == "int8-static"
        placement = artifact.placement
        assert placement.accelerator / (placement.accelerator + placement.cpu) > 0.97


def test_an_onnx_source_is_served_on_every_target(encoder, tmp_path):
    """The program that was exported, given back as .onnx: the same embeddings, by LiteRT without torch."""
    from edgepack.toolchain.cache import Cache

    del encoder
    cache = Cache(Path(os.environ["EDGEPACK_CACHE"]))
    # The exported program's own graph: quantized ones lie in other entries under the same name.
    programs = (cache.root / "v1" / "entries").glob("*/files/program.json")
    program = next(
        p for p in programs if json.loads(p.read_text())["source"]["task"] == "sentence-similarity"
    )
    onnx = program.with_name("main.onnx")
    words = ["--target", "cpu,mobile:litert", "--precision", "fp32", "--no-measure"]
    cli("export", str(onnx), *words, "--out", str(tmp_path / "o"))
    bundle = edgepack.load(tmp_path / "o")
    assert [artifact.target for artifact in bundle.artifacts] == [
        "cpu:onnxruntime",
        "cpu:openvino",
        "mobile:litert",
    ]
    assert not bundle.failures
    assert all(artifact.parity.passed for artifact in bundle.artifacts)
