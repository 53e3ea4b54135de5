"""The order in which xdist's processes get the tests, on files of its own and in a run of two processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scheduling import Units

HERE = Path(__file__).parent
TOGETHER = """
import pytest

@pytest.fixture(scope="module")
def shared():
    return object()

@pytest.mark.parametrize("name", ["a", "b"])
def test_one(shared, name): ...

def test_two(shared): ...
"""
APART = """
import pytest

pytestmark = pytest.mark.by_parameter

@pytest.fixture(params=["a-1", "b::2"])
def name(request):
    return request.param

def test_one(name): ...

def test_two(name): ...

def test_without(): ...
"""
SLOW = """
import pytest

@pytest.mark.slow
def test_slow(): ...
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for name in ("conftest.py", "scheduling.py"):
        (root / "tests").mkdir(exist_ok=True)
        shutil.copy(HERE / name, root / "tests")
    shutil.copy(HERE.parent / "pyproject.toml", root)
    for name, text in {"test_apart": APART, "test_slow": SLOW, "test_together": TOGETHER}.items():
        (root / "tests" / f"{name}.py").write_text(text)
    known = {"tests/test_together.py": 30.0, "tests/test_apart.py[b::2]": 40.0, "tests/test_apart.py": 0.1}
    (root / "tests" / "durations.json").write_text(json.dumps(known))
    return root


def run(root: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options]
    # Not as a process of the run that this test belongs to.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH"))}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_unit_is_a_file_or_a_parameter_of_one_that_says_so(checkout: Path) -> None:
    units = Units(checkout)
    assert units.of("tests/test_together.py::test_one[a]") == "tests/test_together.py"
    assert units.of("tests/test_apart.py::test_one[a-1]") == "tests/test_apart.py[a-1]"
    assert units.of("tests/test_apart.py::TestIt::test_one[b::2]") == "tests/test_apart.py[b::2]"
    assert units.of("tests/test_apart.py::test_without") == "tests/test_apart.py"
    assert units.of("tests/test_gone.py::test_one[a]") == "tests/test_gone.py"


@pytest.mark.slow
def test_the_longest_come_first_and_units_stay_in_one_process(checkout: Path, tmp_path: Path) -> None:
    written = tmp_path / "made" / "durations.json"
    said = run(checkout, "-n", "1", "--dist", "loadfile", "--durations-to", str(written))
    order = re.findall(r"PASSED (tests/\S+)", said)
    assert order == [
        # Not known: as long as the other parameter.
        "tests/test_apart.py::test_one[a-1]",
        "tests/test_apart.py::test_two[a-1]",
        "tests/test_apart.py::test_one[b::2]",
        "tests/test_apart.py::test_two[b::2]",
        "tests/test_together.py::test_one[a]",
        "tests/test_together.py::test_one[b]",
        "tests/test_together.py::test_two",
        "tests/test_slow.py::test_slow",
        "tests/test_apart.py::test_without",
    ]
    assert json.loads(written.read_text()) == {}, "what takes less than a second is not kept"


@pytest.mark.slow
def test_two_processes_run_every_test_once(checkout: Path) -> None:
    said = run(checkout, "-n", "2", "--dist", "loadfile")
    ran = re.findall(r"\[(gw\d)\].* PASSED (tests/\S+)", said)
    assert len(ran) == len({test for _, test in ran}) == 9
    where: dict[str, set[str]] = {}
    units = Units(checkout)
    for process, test in ran:
        where.setdefault(units.of(test), set()).add(process)
    assert all(len(processes) == 1 for processes in where.values())
