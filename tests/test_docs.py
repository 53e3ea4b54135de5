"""What README, CONTRIBUTING and docs say is true: tables, links, command lines, options, Python examples."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from edgepack.exporters.sources.inputs import parse
from edgepack.targets.base import FAMILIES, targets
from edgepack.toolchain.cli import app
from edgepack.toolchain.metrics import FUNCTION, PERPLEXITY
from edgepack.toolchain.parity import check_gate
from edgepack.toolchain.pipeline.wanted import members_of
from edgepack.toolchain.recipe import PRECISIONS, Recipe, make

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
COMMAND: Any = typer.main.get_command(app)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def fenced(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def block_lines(page: Path) -> list[str]:
    """Lines of the indented blocks: what a reader types."""
    return [line.strip() for block in INDENTED.findall(prose(page)) for line in block.splitlines()]


def spans(page: Path) -> list[str]:
    """Code within a line: what a page speaks of."""
    return re.findall(r"`([^`\n]+)`", INDENTED.sub("", prose(page)))


def words_of(line: str) -> list[str]:
    return shlex.split(line.replace("...", ""), comments=True)[1:]


def command_lines(page: Path) -> list[list[str]]:
    """The words of every `edgepack ...` that is typed, or spoken of with arguments; comments left out."""
    typed = [words_of(line) for line in block_lines(page) if line.startswith("edgepack ")]
    spoken = [words_of(span) for span in spans(page) if span.startswith("edgepack ")]
    return typed + [words for words in spoken if words[0] not in COMMAND.commands or len(words) > 1]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Parse a command line with the real parser, without running it; its errors pass through."""
    command, path = COMMAND, ["edgepack"]
    while hasattr(command, "commands"):
        if words[0].startswith("-"):
            assert words[0] in {name for option in command.params for name in option.opts}, words
            return " ".join(path), {}
        assert words[0] in command.commands, f"{' '.join(path)} has no command {words[0]}"
        command = command.commands[words[0]]
        path.append(words.pop(0))
    if "--help" in words:
        return " ".join(path), {}
    return " ".join(path), command.make_context(path[-1], words).params


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("targets_table", ROOT / "tools" / "targets_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["README.md", "docs/targets.md"])
def test_the_table_of_targets_is_the_registry_s(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    made = generator()
    assert made.PLACE.put(text, made.table()) == text, "run make docs"


def test_every_target_has_its_section() -> None:
    headings = re.findall(
        r"^## (.+)$", (ROOT / "docs" / "targets.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {name for name in targets.names() if targets.get(name).__module__.startswith("edgepack.")} <= {
        name for heading in headings for name in re.findall(r"`([^`]+)`", heading)
    }


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        place = page.parent / name if name else page
        assert place.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, link


@pages
def test_quoted_command_lines_parse(page: Path) -> None:
    for words in command_lines(page):
        _, values = parsed(list(words))
        named = values.get("target") or []
        named = [named] if isinstance(named, str) else named
        for name in (word for text in named for word in text.split(",")):
            assert name in FAMILIES or name in targets or members_of(name, targets.names()), words
        assert values.get("precision") in {None, *PRECISIONS}, words
        gate = {text.partition("=")[0]: 0.0 for text in values.get("gate") or []}
        check_gate({name: bound for name, bound in gate.items() if name not in {FUNCTION, PERPLEXITY}})
        parse(values.get("inputs") or [])


def test_the_readme_shows_every_command() -> None:
    shown = {parsed(list(words))[0] for words in command_lines(ROOT / "README.md")}
    every = {
        f"edgepack {name}" for name, command in COMMAND.commands.items() if not hasattr(command, "commands")
    }
    assert every - shown == {"edgepack version"}


@pages
def test_options_and_make_targets_exist(page: Path) -> None:
    options = {
        name
        for command in COMMAND.commands.values()
        for leaf in (*getattr(command, "commands", {}).values(), command)
        for option in leaf.params
        for name in (*option.opts, *option.secondary_opts)
    }
    rules = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in (*block_lines(page), *spans(page)):
        if code.startswith("--"):
            assert code.split()[0] in options, code
        if code.startswith("make "):
            assert code.split()[1] in rules, code


def test_the_recipe_names_every_setting() -> None:
    (block,) = fenced(ROOT / "docs" / "bundle.md", "yaml")
    values = yaml.safe_load(block)
    make(**values)
    assert values.keys() == Recipe.model_fields.keys()


# What the examples of CONTRIBUTING must do when they are put to work together.
WORK = """
import sys
from pathlib import Path
import numpy as np, onnx, onnx_ir as ir
from safetensors.numpy import save_file
from edgepack.exporters.native.base import natives
from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.base import sessions
from edgepack.targets.base import Context, targets
from edgepack.toolchain.passes.base import passes
from edgepack.toolchain.program import Part, Program, Signature, TensorSpec
from edgepack.toolchain.rewrites.base import rewrites

folder = Path(sys.argv[1])
table = np.arange(40, dtype=np.float32).reshape(10, 4)
save_file({"embedding.weight": table}, folder / "model.safetensors")
model = natives.get("token-table")(folder, {"hidden_size": 4}, "feature-extraction")
# A matrix product behind it, so that there is something to quantize.
weight = ir.tensor(np.eye(4, dtype=np.float32), name="w")
value = ir.Value(name="w", const_value=weight, type=ir.TensorType(weight.dtype), shape=weight.shape)
model.graph.initializers.add(value)
node = ir.node("MatMul", [model.graph.outputs[0], value], name="product", doc_string="why")
node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
node.outputs[0].shape = ir.Shape(("batch", "sequence", 4))
model.graph.append(node)
model.graph.outputs[:] = node.outputs
assert passes.get("doc-strings")(model) == 1
assert passes.get("doc-strings")(model) == 0
assert rewrites.get("neg").why.startswith("the NPU has no negation")
ir.save(model, folder / "program.onnx", external_data="program.onnx.data", size_threshold_bytes=1)

signature = Signature(
    (TensorSpec("input_ids", "int64", ("batch", "sequence")),),
    (TensorSpec("y", "float32", ("batch", "sequence", 4)),),
)
part = Part("main", folder / "program.onnx", signature)
target = targets.get("cpu:plain-onnx")()
target.check()
for name in ("lowered", "quantized", "compiled"):
    (folder / name).mkdir()
lowered = target.lower(Program({"main": part}), part, Context({}, {}), folder / "lowered")
offers = target.offers(lowered)
made = quantizers.get(offers[1].quantizer)().quantize(lowered, offers[1].precision, None, folder / "quantized")
assert made.changed_nodes == 1
ids = np.array([[1, 2, 9]])
for file in (lowered, made):
    compiled = target.compile(file, Context({}, {}), folder / "compiled")
    assert compiled.placement.cpu > 0
    assert compiled.tool.version
    for name in (target.session, "onnx-reference"):
        with sessions.get(name)(folder / "compiled" / compiled.run_file, signature) as session:
            got = session.run({"input_ids": ids})["y"]
        np.testing.assert_allclose(got, table[ids], rtol=0.02)
"""


def test_the_examples_of_contributing_work(tmp_path: Path) -> None:
    blocks = fenced(ROOT / "CONTRIBUTING.md", "python")
    files = []
    for number, block in enumerate(blocks):
        (tmp_path / f"example_{number}.py").write_text(block)
        files.append(f"example_{number}")
    program = "".join(f"import {name}\n" for name in files) + WORK
    data = tmp_path / "data"
    data.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, data], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_python_examples_are_well_typed(tmp_path: Path) -> None:
    files = []
    for page in PAGES:
        for number, block in enumerate(fenced(page, "python")):
            files.append(tmp_path / f"{page.stem.lower()}_{number}.py")
            files[-1].write_text(block)
    assert files
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
