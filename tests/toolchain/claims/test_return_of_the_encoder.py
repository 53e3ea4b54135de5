"""The claim, measured for real on the tiny models, through the command line."""

import json

import pytest
import typer
from typer.testing import CliRunner

from edgepack.toolchain import cli_claims
from edgepack.toolchain.claims.base import claims

NAME = "return-of-the-encoder"


@pytest.fixture
def run():
    app = typer.Typer()
    app.callback()(lambda: None)  # without it an app of one command has no name for it
    cli_claims.add_to(app)
    return lambda *words: CliRunner().invoke(app, list(map(str, words)))


@pytest.mark.slow
def test_tiny_models_are_measured_once(run, tmp_path):
    document = tmp_path / "claims.md"
    document.write_text(f"<!-- claim {NAME} tiny -->\n<!-- /claim {NAME} tiny -->\n")
    words = (
        "claims", NAME, "--size", "tiny", "--input", "8,16", "--output", "4,2", "--rounds", 2,
        "--out", tmp_path / "out",
    )  # fmt: skip
    first = run(*words, "--json", "--quiet", "--markdown", document)
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert [point["at"]["input"] for point in found["points"]] == [8, 16]
    for point in found["points"]:
        names = [(value["name"], value["at"].get("output")) for value in point["values"]]
        assert names == [
            ("first-token latency", None), ("throughput", 2), ("throughput", 4), ("decoding rate", 4)
        ]  # fmt: skip
        assert all(figure > 0 for value in point["values"] for figure in value["medians"].values())
        assert all(value["ci_low"] is None and value["rounds"] == 2 for value in point["values"])
    assert "the paper says" not in document.read_text()
    assert document.read_text().count("\n| tiny |") == 8
    assert (tmp_path / "out" / cli_claims.PAGE_FILE).stat().st_size > 10**6
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "points").iterdir()}
    assert len(files) == 2
    again = run(*words)
    assert again.exit_code == 0, again.output
    assert "the paper says 47 % lower; here" in " ".join(again.output.split())
    assert {path: path.stat().st_mtime_ns for path in files} == files
    quantized = run(
        "claims", NAME, "--size", "tiny", "--input", 8, "--output", 2, "--rounds", 1, "--precision", "int8-dynamic",
        "--out", tmp_path / "out", "--json", "--quiet",
    )  # fmt: skip
    assert quantized.exit_code == 0, quantized.output
    point = json.loads(quantized.stdout)["points"][0]
    assert point["at"]["precision"] == "int8-dynamic"
    assert len([*(tmp_path / "out" / "points").iterdir()]) == len(files) + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "Unknown claim 'nothing'"),
        ([NAME, "--size", "31m"], "Unknown size '31m' (--size). Did you mean '30m'?"),
        ([NAME, "--precision", "int4"], "Unknown precision 'int4'"),
        ([NAME, "--input", "a"], "'a' is not a list of whole numbers (--input)"),
        ([NAME, "--rounds", "0"], "is below 1"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(run, words, message, tmp_path):
    result = run("claims", *words, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_claims_are_listed(run):
    listed = run("claims")
    assert [line.split()[0] for line in listed.output.splitlines()] == claims.names()
