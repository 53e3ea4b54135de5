"""Plugins that break: each is named with its distribution and its fault, and everything else goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.toolchain.plugins.packages import edgepack, fake

TARGET = """
from edgepack.targets.base import Requirement, Target, targets

@targets.register("{name}")
class Made(Target):
    name, title, session = "{own}", "a title", "onnxruntime"
    def requirements(self): {requirements}
    def lower_key(self): return "x"
    def lower(self, program, part, context, folder): ...
    def offers(self, lowered, rows=None): ...
"""
COMPILE = "    def compile(self, lowered, context, folder): ...\n"


def target(name: str, own: str | None = None, requirements: str = "return []") -> str:
    return TARGET.format(name=name, own=own or name, requirements=requirements)


BROKEN = {
    "raises": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "taken": (
        target("cpu:onnxruntime") + COMPILE,
        "the target 'cpu:onnxruntime' is registered twice, as edgepack.targets.cpu.onnxruntime.OnnxRuntime",
    ),
    "function": (
        "from edgepack.targets.base import targets\n@targets.register('npu:f')\ndef f(): ...",
        "its target 'npu:f' is function.f, and not a subclass of edgepack.targets.base.Target",
    ),
    "unfinished": (target("npu:half"), "its target 'npu:half' does not define compile"),
    "renamed": (target("npu:one", "npu:two") + COMPILE, "its target 'npu:one' calls itself 'npu:two'"),
    "family": (target("gpu:x") + COMPILE, "its target 'gpu:x' is not called family:name"),
    "outside": (target("cpu:../../x") + COMPILE, "its target 'cpu:../../x' is not called family:name"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for name, (module, _) in BROKEN.items():
        fake(folder, name, module)
    fake(folder, "sound", target("npu:sound") + COMPILE)
    fake(folder, "asked", target("npu:asked", requirements="raise OSError('no board')") + COMPILE)
    return folder


def test_all_that_break_are_named_and_the_rest_is_listed(site: Path, tmp_path: Path) -> None:
    done = edgepack(site, "targets", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    listed = {one["name"]: one for one in found["targets"]}
    assert listed["cpu:onnxruntime"]["installed"]
    assert listed["npu:sound"]["installed"]
    assert listed["npu:asked"]["problem"] == "OSError: no board"
    assert not listed["npu:asked"]["installed"]
    assert not {"npu:f", "npu:half", "npu:one", "npu:two", "gpu:x", "cpu:../../x"} & listed.keys()
    assert len(found["problems"]) == len(BROKEN)
    for name, (_, said) in BROKEN.items():
        (problem,) = [one for one in found["problems"] if f"The plugin '{name}' cannot be loaded" in one]
        assert said in problem
        assert f"entry point edgepack.targets of {name}" in problem
        assert problem.endswith("Upgrade or uninstall that distribution.")


def test_asking_for_a_target_that_is_not_there_says_why(tmp_path: Path) -> None:
    fake(tmp_path / "site", "acme", "raise RuntimeError('no licence')")
    done = edgepack(tmp_path / "site", "export", "m.onnx", "--target", "npu:acme", cwd=tmp_path)
    assert done.returncode == 4
    assert "There is no target 'npu:acme', and a plugin that may bring it is not there" in done.stderr
    assert "RuntimeError: no licence" in done.stderr
    assert "Traceback" not in done.stderr
