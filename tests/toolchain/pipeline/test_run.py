"""A run's outcomes: what ships, what is rejected, what fails, and what stays on disk."""

import json
import sys

import numpy as np
import pytest

import edgepack
from edgepack.toolchain import errors
from edgepack.toolchain.events import Event
from edgepack.toolchain.journal import journal_path


def run(model, out, cache, **options):
    options = {"measure": False, "calibration_samples": 8, **options}
    return edgepack.export(model, out=out, cache=cache, **options)


def noise():
    return next(m for name, m in sys.modules.items() if name.endswith("pipeline.conftest")).Noise


def test_one_target_gives_a_bundle_that_verifies(model, tmp_path, cache, copy_target):
    bundle = run(model, tmp_path / "out", cache, targets=copy_target())
    artifact = bundle.artifacts[0]
    assert artifact.parity.passed
    assert artifact.parity.inputs_tried >= 3
    assert artifact.files == ["cpu-copy/main.onnx"]
    assert artifact.placement.reasons[0].reason == "not here"
    assert {"manifest.json", "report.json", "report.html", "report.md"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    assert edgepack.verify(tmp_path / "out").ok
    assert not journal_path(tmp_path / "out").exists()


def test_the_manifest_keeps_the_contract(model, tmp_path, cache, copy_target):
    run(model, tmp_path / "out", cache, targets=copy_target())
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    artifact = manifest["artifacts"][0]
    assert {
        "target",
        "part",
        "precision",
        "files",
        "size_bytes",
        "parity",
        "placement",
        "latency",
        "memory",
        "tool",
    } <= set(artifact)
    assert {"passed", "cosine", "max_abs_error", "inputs_tried", "gate"} <= set(artifact["parity"])
    assert {"accelerator", "cpu", "reasons"} <= set(artifact["placement"])
    assert manifest["recipe"]["model"] == str(model)
    assert len(manifest["source"]["fingerprint"]) == 64
    assert all(len(entry["sha256"]) == 64 for entry in manifest["files"].values())
    # Nothing was timed, so nothing is claimed.
    assert artifact["latency"] is None
    assert artifact["memory"] is None


def test_measuring_gives_percentiles_memory_and_operators(model, tmp_path, cache, copy_target):
    artifact = run(model, tmp_path / "out", cache, targets=copy_target(), measure=True).artifacts[0]
    assert artifact.latency.kind == "measured"
    assert 0 < artifact.latency.p50_ms <= artifact.latency.p99_ms
    assert artifact.latency.samples >= 100
    assert artifact.memory.peak_bytes > 1 << 20
    assert {op.op for op in artifact.profile.operators} >= {"MatMul"}


def test_auto_ships_what_passes_and_shows_what_does_not(model, tmp_path, cache, copy_target):
    name = copy_target(precisions=("fp32", "int8-dynamic", "int8-static"))
    bundle = run(model, tmp_path / "out", cache, targets=name, measure=True)
    outcome = {line.precision: line.outcome for line in bundle.manifest.candidates}
    assert outcome["int8-static"] == "failed-gate"
    # The noisy copy does the same work: nobody is faster, so fp32 ships.
    assert bundle.artifacts[0].precision == "fp32" or outcome["int8-dynamic"] == "chosen"
    failed = next(line for line in bundle.manifest.candidates if line.precision == "int8-static")
    assert failed.parity.cosine < 0.99
    assert "cosine" in failed.why
    assert {error.tensor for error in failed.parity.worst} & {"h", "y"}
    assert any("random values" in warning for warning in bundle.manifest.warnings)


def test_a_pass_that_breaks_the_graph_is_caught_and_the_first_wrong_tensor_named(
    model, tmp_path, cache, copy_target, monkeypatch
):
    from edgepack.toolchain.passes.base import passes

    def breaking(graph):
        import onnx_ir as ir

        relu = next((node for node in graph.graph if node.op_type == "Relu"), None)
        if relu is None:
            return 0
        relu.op_type = "Neg"
        assert isinstance(graph, ir.Model)
        return 1

    passes.names()
    monkeypatch.setitem(passes._members, "breaking", breaking)
    with pytest.raises(errors.EdgepackError, match="first wrong tensor: r"):
        run(model, tmp_path / "out", cache, targets=copy_target())


def test_a_failed_gate_is_kept_apart_with_exit_code_3(model, tmp_path, cache, copy_target):
    name = copy_target(precisions=("fp32", "int8-static"))
    with pytest.raises(errors.GateError, match="int8-static failed its gate") as caught:
        run(model, tmp_path / "out", cache, targets=name, precision="int8")
    assert caught.value.exit_code == 3
    bundle = edgepack.load(tmp_path / "out")
    assert bundle.artifacts == []
    assert bundle.rejected[0].files == ["rejected/cpu-copy-int8-static/main.onnx"]
    assert (tmp_path / "out" / bundle.rejected[0].files[0]).is_file()
    assert bundle.rejected[0].parity.worst
    # The first product of the graph: with 90 % noise on its weights nothing after it is right either.
    assert bundle.rejected[0].parity.first_wrong == "h"
    assert bundle.failures[0].exit_code == 3


def test_a_gate_of_the_users_own(model, tmp_path, cache, copy_target):
    name = copy_target(precisions=("fp32", "int8-static"))
    bundle = run(model, tmp_path / "out", cache, targets=name, precision="int8", gate={"cosine": 0.1})
    assert bundle.artifacts[0].precision == "int8-static"
    with pytest.raises(errors.GateError):
        run(model, tmp_path / "out", cache, targets=name, precision="int8", gate={"cosine": 0.99})


def test_a_precision_that_one_target_lacks_does_not_stop_the_others(model, tmp_path, cache, copy_target):
    lacking = copy_target(name="npu:int", precisions=("int8-dynamic",), float_precision=False)
    targets = [copy_target(), lacking]
    bundle = run(model, tmp_path / "out", cache, targets=targets, precision="fp32", check=False)
    assert [artifact.precision for artifact in bundle.artifacts] == ["fp32"]
    assert "no floating-point kernels" in bundle.failures[0].error
    assert bundle.failures[0].exit_code == 4


def test_user_calibration_is_used_and_recorded(model, tmp_path, cache, copy_target):
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(3).standard_normal((30, 8)).astype(np.float32))
    name = copy_target(precisions=("int8-dynamic",))
    bundle = run(model, tmp_path / "out", cache, targets=name, calibration=str(tmp_path / "data.npz"))
    facts = bundle.artifacts[0].calibration
    assert (facts.kind, facts.samples, facts.held_out) == ("user", 8, 8)
    assert bundle.manifest.warnings == []
    assert bundle.artifacts[0].parity.data == "held-out user data"


def broken_compile(error):
    def compile_(self, lowered, context, folder):
        (folder / "half").write_text("half")
        raise error

    return compile_


def test_one_failing_target_does_not_hide_the_others(model, tmp_path, cache, copy_target):
    good = copy_target()
    bad = copy_target(
        name="npu:bad", compile=broken_compile(errors.ToolchainFailedError("vendor failed with signal 11"))
    )
    with pytest.raises(errors.TargetError, match="signal 11"):
        run(model, tmp_path / "out", cache, targets=[good, bad])
    bundle = edgepack.load(tmp_path / "out")
    assert [artifact.target for artifact in bundle.artifacts] == [good]
    assert [(failure.target, failure.exit_code) for failure in bundle.failures] == [(bad, 4)]
    assert edgepack.verify(tmp_path / "out").ok
    again = run(model, tmp_path / "out", cache, targets=[good, bad], check=False)
    assert again.failures


def test_when_every_target_fails_there_is_no_bundle(model, tmp_path, cache, copy_target):
    bad = copy_target(name="npu:bad", compile=broken_compile(errors.ToolchainFailedError("vendor hung")))
    with pytest.raises(errors.ToolchainFailedError, match="vendor hung"):
        run(model, tmp_path / "out", cache, targets=bad)
    assert not (tmp_path / "out").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out.run.json", "cache", "model.onnx"]


def test_a_failed_run_leaves_the_old_bundle(model, tmp_path, cache, copy_target):
    run(model, tmp_path / "out", cache, targets=copy_target())
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    bad = copy_target(name="npu:bad", compile=broken_compile(errors.ToolchainFailedError("vendor hung")))
    with pytest.raises(errors.ToolchainFailedError):
        run(model, tmp_path / "out", cache, targets=bad)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def test_a_lowering_that_lies_is_caught_by_its_gate(model, tmp_path, cache, copy_target):
    from onnx import load, numpy_helper, save

    from edgepack.toolchain.program import Lowered

    def lower(self, program, part, context, folder):
        graph = load(part.path)
        tensor = graph.graph.initializer[0]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.1), tensor.name))
        save(graph, folder / "main.onnx")
        return Lowered(part.name, "onnx", folder / "main.onnx", part.signature)

    with pytest.raises(errors.GateError, match=r"lowered file disagrees.*first wrong tensor: h"):
        run(model, tmp_path / "out", cache, targets=copy_target(lower=lower))


@pytest.mark.parametrize(
    "stage", ["export", "lower", "quantize", "compile", "verify", "measure", "memory", "bundle"]
)
def test_interrupted_in_any_stage_and_resumed(model, tmp_path, cache, copy_target, monkeypatch, stage):
    """Ctrl-C leaves the old bundle and a journal; --resume does only what is missing."""
    from edgepack.runtime import memory, timing
    from edgepack.toolchain import report
    from edgepack.toolchain.pipeline import program_stage, recording

    interrupt = [True]

    def raising(original):
        def wrapped(*args, **options):
            if interrupt[0]:
                raise KeyboardInterrupt
            return original(*args, **options)

        return wrapped

    precisions = ("fp32", "int8-dynamic")
    name = copy_target(precisions=precisions)
    place, attribute = {
        "export": (program_stage, "_build"),
        "lower": (edgepack_target(name), "lower"),
        "quantize": (noise(), "quantize"),
        "compile": (edgepack_target(name), "compile"),
        "verify": (recording, "write"),
        "measure": (timing, "measure_together"),
        "memory": (memory, "peak"),
        "bundle": (report, "write"),
    }[stage]
    monkeypatch.setattr(place, attribute, raising(getattr(place, attribute)))
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path / "out", cache, targets=name, measure=True)
    assert not (tmp_path / "out").exists()
    assert journal_path(tmp_path / "out").exists()
    assert not [
        p for p in tmp_path.iterdir() if p.name not in {"cache", "model.onnx", ".out.run.json", ".out.lock"}
    ]
    interrupt[0] = False
    bundle = edgepack.export("", out=tmp_path / "out", cache=cache, resume=True)
    assert bundle.artifacts
    assert bundle.manifest.recipe["model"] == str(model)
    exported = next(s for s in bundle.manifest.stages if s.name == "export")
    assert exported.cached == (stage != "export")
    assert not journal_path(tmp_path / "out").exists()


def edgepack_target(name):
    from edgepack.targets.base import targets

    return targets.get(name)


def test_nothing_to_resume(tmp_path, cache):
    with pytest.raises(errors.UsageError, match="no unfinished run"):
        edgepack.export("", out=tmp_path / "out", cache=cache, resume=True)


def test_a_second_run_is_from_the_cache_and_equal(model, tmp_path, cache, copy_target):
    name = copy_target(precisions=("fp32", "int8-dynamic", "int8-static"))
    first = run(model, tmp_path / "out", cache, targets=name, measure=True)
    calls = list(noise().calls)
    second = run(model, tmp_path / "out", cache, targets=name, measure=True)
    assert noise().calls == calls
    kept = [s for s in second.manifest.stages if s.name not in {"fingerprint", "calibration data", "bundle"}]
    assert all(stage.cached for stage in kept), [s.name for s in kept if not s.cached]
    assert [a.latency for a in second.artifacts] == [a.latency for a in first.artifacts]
    assert second.manifest.candidates == first.manifest.candidates


def test_a_changed_gate_is_judged_again(model, tmp_path, cache, copy_target):
    """Scores from the cache belong to the gate and data that made them."""
    name = copy_target(precisions=("fp32", "int8-static"))
    run(model, tmp_path / "out", cache, targets=name, precision="int8", gate={"cosine": 0.0001})
    with pytest.raises(errors.GateError):
        run(model, tmp_path / "out", cache, targets=name, precision="int8")


def test_a_changed_model_is_another_model(model, tmp_path, cache, copy_target):
    from onnx import load, numpy_helper, save

    name = copy_target()
    first = run(model, tmp_path / "out", cache, targets=name)
    graph = load(model)
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((8, 16), np.float32), "w1"))
    save(graph, model)
    second = run(model, tmp_path / "out", cache, targets=name)
    assert second.manifest.source.fingerprint != first.manifest.source.fingerprint
    assert not next(s for s in second.manifest.stages if s.name == "export").cached


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(model, tmp_path, cache, copy_target, value):
    from onnx import load, numpy_helper, save

    graph = load(model)
    weight = numpy_helper.to_array(graph.graph.initializer[1]).copy()
    weight[3, 2] = value
    graph.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "w2"))
    save(graph, model)
    with pytest.raises(errors.SourceError, match="w2"):
        run(model, tmp_path / "out", cache, targets=copy_target())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": "npu:etos-u55-128"}, "Did you mean"),
        ({"targets": "cup"}, "Did you mean 'cpu'"),
        ({"precision": "fp23"}, "Did you mean 'fp32'"),
        ({"gate": {"cosin": 1.0}}, "Did you mean 'cosine'"),
        ({"gate": {"cosine": float("nan")}}, "bound on cosine is nan"),
        ({"treads": 2}, "Did you mean 'threads'"),
        ({"threads": 0}, "threads is not valid"),
        ({"sizes": {"batch": 0}}, "positive"),
        ({"calibration_samples": 1}, "calibration_samples"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(model, tmp_path, cache, copy_target, options, said):
    with pytest.raises(errors.UsageError, match=said) as caught:
        run(model, tmp_path / "out", cache, **{"targets": copy_target(), **options})
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_bundle_is_not_replaced(model, tmp_path, cache, copy_target):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(errors.UsageError):
        run(model, out, cache, targets=copy_target())
    assert (out / "thesis.txt").read_text() == "precious"


def test_a_changed_file_fails_verification_and_is_not_run(model, tmp_path, cache, copy_target):
    run(model, tmp_path / "out", cache, targets=copy_target())
    file = tmp_path / "out" / "cpu-copy" / "main.onnx"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    found = edgepack.verify(tmp_path / "out")
    assert not found.ok
    assert [problem.file for problem in found.problems] == ["cpu-copy/main.onnx"]
    assert found.parities == {}


def test_a_manifest_that_does_not_say_what_an_artifact_takes_is_refused(model, tmp_path, cache, copy_target):
    bundle = run(model, tmp_path / "out", cache, targets=copy_target())
    place = bundle.path / "manifest.json"
    manifest = json.loads(place.read_text())
    manifest["artifacts"][0]["run"]["signature"] = {}
    place.write_text(json.dumps(manifest))
    with pytest.raises(errors.BundleError, match="inputs, outputs or states cannot be read"):
        edgepack.verify(bundle.path)


def test_stages_are_told_as_they_come(model, tmp_path, cache, copy_target):
    events: list[Event] = []
    run(model, tmp_path / "out", cache, targets=copy_target(), listener=events.append)
    begun = [event.text for event in events if event.kind == "begin"]
    assert begun[0] == "fingerprint"
    assert "export" in begun
    assert len(begun) == len([event for event in events if event.kind == "end"])
