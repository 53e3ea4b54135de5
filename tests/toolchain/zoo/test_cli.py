"""`edgepack zoo list` and `show`: what is registered, and what is counted of it."""

import json

import pytest
import typer
from typer.testing import CliRunner

from edgepack.exporters.architectures.base import architectures
from edgepack.toolchain import cli_zoo

NAME = "return-of-the-encoder"


@pytest.fixture
def run():
    app = typer.Typer()
    cli_zoo.add_to(app)
    return lambda *words: CliRunner().invoke(app, ["zoo", *words])


def test_the_list_names_every_system(run):
    entries = json.loads(run("list", "--json").output)["architectures"]
    assert [entry["name"] for entry in entries] == architectures.names()
    for entry in entries:
        assert entry.keys() >= {"name", "system", "paper", "parts", "published"}
        assert entry["parts"]
    said = run("list").output
    assert f"04  {NAME}  Return of the Encoder" in said
    assert f"zoo:{NAME}/decoder-only-30m" in said


def test_a_card_is_shown_with_counts(run):
    card = run("show", NAME).output
    assert "arXiv:2501.16273" in card
    assert f"zoo:{NAME}/decoder-only-120m: 120,146,688 parameters" in card
    assert "Published sizes:\n  - the abstract gives no size" in card
    data = json.loads(run("show", NAME, "--json").output)
    assert data["system"] == "04"
    assert data["configurations"]["decoder-only-120m"]["parameters"] == 120_146_688


def test_an_unknown_name_is_refused(run):
    result = run("show", "nothing")
    assert result.exit_code == 2
    assert "Unknown architecture 'nothing'" in " ".join(result.output.split())
