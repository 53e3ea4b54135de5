"""Arrows point down: who may import whom (CONTRIBUTING.md, "Layout"), asked of every import statement in the tree.

Imports inside functions and those for types alone count too: either makes one folder know another.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MIDDLE = ("exporters", "quantize", "targets", "runtime")
GROUND = "toolchain"
Edge = tuple[str, int, str]
"""The module that imports, in which line, and the module that is imported."""


def modules(root: Path) -> dict[str, Path]:
    """Every module of the five folders by its name in the package."""
    return {
        ".".join(("edgepack", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__"): path
        for folder in (*MIDDLE, GROUND)
        for path in (root / folder).rglob("*.py")
    }


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports; what is taken from a module has that module's name in front."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} is a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def edges(root: Path) -> list[Edge]:
    """All imports of one module by another."""
    known = modules(root)
    found = []
    for name, path in known.items():
        for line, target in imported(path):
            module = target
            while module and module not in known:
                module = module.rpartition(".")[0]
            if module and module != name:
                found.append((name, line, module))
    return found


def folder(module: str) -> str:
    return module.split(".")[1]


def sideways(found: list[Edge]) -> list[Edge]:
    """Imports of one middle folder by another."""
    return [
        edge
        for edge in found
        if folder(edge[0]) in MIDDLE and folder(edge[2]) in {*MIDDLE} - {folder(edge[0])}
    ]


def upwards(found: list[Edge]) -> list[Edge]:
    """Imports of a middle folder by the ground floor: by whatever a middle folder stands on, directly or not."""
    by_module: dict[str, list[Edge]] = {}
    for edge in found:
        by_module.setdefault(edge[0], []).append(edge)
    waiting = [edge[2] for edge in found if folder(edge[0]) in MIDDLE and folder(edge[2]) == GROUND]
    ground: set[str] = set()
    wrong = []
    while waiting:
        module = waiting.pop()
        if module in ground:
            continue
        ground.add(module)
        wrong += [edge for edge in by_module.get(module, ()) if folder(edge[2]) in MIDDLE]
        waiting += [edge[2] for edge in by_module.get(module, ()) if folder(edge[2]) == GROUND]
    return wrong


def told(wrong: list[Edge]) -> str:
    return "\n".join(f"{name}, line {line}, imports {module}" for name, line, module in wrong)


@pytest.fixture(scope="module")
def tree() -> list[Edge]:
    found = edges(ROOT)
    assert {folder(edge[0]) for edge in found} == {*MIDDLE, GROUND}
    return found


def test_the_middle_folders_do_not_import_one_another(tree: list[Edge]) -> None:
    wrong = sideways(tree)
    assert not wrong, told(wrong)


def test_the_ground_floor_imports_nothing_above_it(tree: list[Edge]) -> None:
    wrong = upwards(tree)
    assert not wrong, told(wrong)


def test_nothing_below_imports_the_command_line_or_the_stages(tree: list[Edge]) -> None:
    above = ("edgepack.toolchain.cli", "edgepack.toolchain.api", "edgepack.toolchain.pipeline")
    wrong = [edge for edge in tree if folder(edge[0]) in MIDDLE and edge[2].startswith(above)]
    assert not wrong, told(wrong)


FILES: Mapping[str, str] = {
    "exporters/a.py": "from edgepack.toolchain import low",
    "targets/b.py": "def late():\n    from edgepack.exporters import a",
    "toolchain/low.py": "import edgepack.toolchain.lower",
    "toolchain/lower.py": "from edgepack.targets.b import late",
    "toolchain/high.py": "from edgepack.exporters.a import low\nfrom edgepack.targets import b",
}


def test_arrows_that_point_elsewhere_are_found(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = edges(tmp_path)
    assert sideways(found) == [("edgepack.targets.b", 2, "edgepack.exporters.a")]
    assert upwards(found) == [("edgepack.toolchain.lower", 1, "edgepack.targets.b")]
