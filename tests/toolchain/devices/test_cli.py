"""`edgepack profile` as a command: what it prints, writes and ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edgepack.toolchain.cli import app


def edgepack(*words, cwd):
    command = [sys.executable, "-m", "edgepack", "profile", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=dict(os.environ, COLUMNS="120"), capture_output=True, text=True, check=False
    )


def test_a_model_from_nothing_to_page_and_json(small_model, tmp_path):
    words = (
        small_model,
        "--device",
        "local",
        "--workdir",
        tmp_path / "dev",
        "--json",
        "--out",
        tmp_path / "out",
    )
    done = edgepack(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (target,) = found["targets"]
    assert target["parity"]["main"]["passed"]
    assert target["measured"][0]["latency"]["samples"] >= 100
    assert "checking cpu:onnxruntime on the device" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "bundle",
        "profile.html",
        "profile.json",
    ]
    assert json.loads((tmp_path / "out" / "profile.json").read_text()) == found
    page = (tmp_path / "out" / "profile.html").read_text()
    assert "Measured on the device" in page
    assert 'id="figures"' in page


def test_a_bundle_in_the_terminal(small_bundle, tmp_path):
    words = (
        small_bundle.path,
        "-d",
        "local",
        "--workdir",
        tmp_path / "dev",
        "--out",
        tmp_path / "out",
        "--sweep",
    )
    done = edgepack(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cpu:onnxruntime" in done.stdout
    assert "the system's choice" in done.stdout
    assert "profile.html" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--device", "ssh://-oProxyCommand=id"), 2, "not the address of a device"),
        (("--device", "ssh://a:secret@b"), 2, "must not hold a password"),
        (("--device", "telnet://b"), 2, "ssh://"),
        ((), 2, "--device"),
        (("--device", "local", "--preset", "slow"), 2, "Unknown preset"),
        (("--device", "local", "--target", "cpu:none"), 2, "cpu:none"),
        (("--device", "local", "--workdir", "relative"), 2, "absolute path"),
        (("--device", "local", "--precision", "int8"), 2, "precisions that it was exported with"),
        (("--device", "local", "--sustain", "-1"), 2, "--sustain"),
        (("--device", "ssh://127.0.0.1:9"), 4, "Connection refused"),
        (("--device", "local", "--python", "/no/python"), 4, "no Python"),
    ],
)
def test_errors_are_a_paragraph_and_a_code(small_bundle, tmp_path, words, code, said):
    workdir = () if "--workdir" in words else ("--workdir", tmp_path / "dev")
    asked = ("profile", small_bundle.path, *words, *workdir, "--out", tmp_path / "out")
    done = CliRunner().invoke(app, [str(word) for word in asked])
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_bundle_stays_what_it_is(small_bundle, tmp_path):
    done = edgepack(small_bundle.path, "-d", "local", "--out", small_bundle.path / "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "outside of it" in done.stderr
