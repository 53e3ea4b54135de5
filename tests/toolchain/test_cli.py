"""The command line as a user meets it: in processes of their own, by what they print and return."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def edgepack(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "edgepack", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=300, cwd=cwd,
    )  # fmt: skip


def paragraph(done):
    """Standard error of a refused command: one paragraph that starts with Error."""
    assert done.stderr.startswith("Error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_help_names_every_command():
    text = edgepack("--help").stdout
    words = (
        "export",
        "report",
        "verify",
        "targets",
        "doctor",
        "cache",
        "claims",
        "bisect",
        "search",
        "bibench",
        "setup",
        "zoo",
        "version",
    )
    assert all(word in text for word in words)


def test_help_imports_nothing_heavy():
    code = "import sys; import edgepack.toolchain.cli; print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert loaded.isdisjoint(
        {"torch", "numpy", "onnx", "onnxruntime", "rich", "pydantic", "transformers", "jinja2"}
    )


def test_listing_targets_imports_no_toolchain():
    code = "import sys; from edgepack.toolchain.api import list_targets; list_targets(); print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert loaded.isdisjoint({"torch", "numpy", "onnx", "onnxruntime", "ai_edge_litert", "jax", "ethosu"})


DEFAULT = ("cpu:onnxruntime", "mobile:litert", "npu:ethos-u55-128", "npu:ethos-u65-512", "npu:ethos-u85-512")


def test_targets_as_json():
    listed = json.loads(edgepack("targets", "--json").stdout)["targets"]
    installed = {target["name"]: target["installed"] for target in listed}
    assert all(installed[name] for name in DEFAULT)
    isolated = [target for target in listed if target["isolated"] is not None]
    assert len(isolated) > 5
    assert all(target["installed"] == (target["isolated"] == "ready") for target in isolated)
    assert all(target["installed"] or target["command"] for target in listed)


def test_the_zoo_and_the_claims_are_listed():
    listed = json.loads(edgepack("zoo", "list", "--json").stdout)["architectures"]
    (one,) = (entry for entry in listed if entry["name"] == "return-of-the-encoder")
    assert "decoder-only-30m" in one["configurations"]
    assert "47 % lower" in edgepack("claims").stdout
    assert paragraph(edgepack("zoo", "show", "return-of-the-decoder")).count("return-of-the-encoder")


def test_doctor_finds_the_default_installation_whole():
    done = edgepack("doctor", "--json")
    assert done.returncode == 0, done.stdout
    findings = json.loads(done.stdout)["findings"]
    found = {finding["subject"]: finding["status"] for finding in findings}
    assert {found[name] for name in ("python", "torch", "cache", *DEFAULT)} <= {"ok", "warning"}
    # Whoever wants the others installs an extra, or runs edgepack setup.
    wanted = {
        found[name] for name in ("mobile:mnn", "mobile:ncnn", "npu:qnn-htp-v75", "npu:rk3588", "npu:coreml")
    }
    assert wanted <= {"ok", "optional"}
    assert "missing" not in found.values()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["export"], 2, "No model was named"),
        (["export", "nowhere"], 5, "There is no model at 'nowhere'"),
        (["export", "m.onnx", "--target", "npu:etos-u55-128"], 2, "Did you mean 'npu:ethos-u55-128'"),
        (["export", "m.onnx", "--precision", "int9"], 2, "Did you mean 'int8'"),
        (["export", "m.onnx", "--gate", "cosine"], 2, "not of the form name=number"),
        (["export", "m.onnx", "--size", "batch=x"], 2, "not of the form name=number"),
        (["export", "m.onnx", "--recipe", "no.yaml"], 2, "recipe cannot be read"),
        (["export", "--resume", "--out", "fresh"], 2, "no unfinished run"),
        (["report", "nowhere"], 2, "nowhere"),
        (["verify", "nowhere"], 2, "nowhere"),
    ],
)
def test_refusals(tmp_path, words, code, said):
    done = edgepack(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in paragraph(done)
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_checked(tmp_path):
    (tmp_path / "r.yaml").write_text("model: m.onnx\ntreads: 4\n")
    assert "Did you mean 'threads'" in paragraph(edgepack("export", "--recipe", "r.yaml", cwd=tmp_path))
    (tmp_path / "r.yaml").write_text("model: m.onnx\n1: 2\n")
    assert "Unknown recipe key '1'" in paragraph(edgepack("export", "--recipe", "r.yaml", cwd=tmp_path))
    (tmp_path / "r.yaml").write_text("model: [")
    assert edgepack("export", "--recipe", "r.yaml", cwd=tmp_path).returncode == 2
    (tmp_path / "r.json").write_text("[]")
    assert "not a mapping" in paragraph(edgepack("export", "--recipe", "r.json", cwd=tmp_path))


def test_debug_shows_the_traceback(tmp_path):
    done = edgepack("export", "nowhere", "--debug", cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert done.returncode == 5


def test_completion_is_offered():
    assert "--install-completion" in edgepack("--help").stdout


def test_the_cache_is_shown_and_emptied(own_cache):
    del own_cache
    assert json.loads(edgepack("cache", "info", "--json").stdout)["root"]
    assert edgepack("cache", "clear").returncode == 0
