"""One file that a device's Python runs, packed from the modules that it needs; the same bytes every time."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

NAME = "runner.pyz"
SESSIONS = ("litert", "onnxruntime")
"""Sessions that work with the runtime and numpy alone."""
_ROOT = Path(__file__).parents[3]
_ENTRIES = (
    *(f"edgepack.runtime.devices.runner.{name}" for name in ("main", "check", "measure")),
    *(f"edgepack.runtime.sessions.{name}" for name in SESSIONS),
    # Found through a registry (`toolchain.native_operators`), by its name and by no import.
    "edgepack.runtime.kernels.serving",
)
_MAIN = b"""import sys

if sys.version_info < (3, 10):
    sys.exit("edgepack's runner needs Python 3.10 or newer, and this is %d.%d" % sys.version_info[:2])
from edgepack.runtime.devices.runner.main import main

main()
"""
# Dates would make the same runner another file, which would be sent again.
_DATE = (1980, 1, 1, 0, 0, 0)


def write(path: Path) -> None:
    """Write the runner to `path`."""
    found = modules()
    packages = {name.rpartition(".")[0] for name in found}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN)
        _add(archive, "edgepack/__init__.py", b"")
        for name in sorted(found):
            file = found[name]
            place = name.replace(".", "/") + ("/__init__.py" if file.name == "__init__.py" else ".py")
            _add(archive, place, file.read_bytes())
        for name in sorted({parent for package in packages for parent in _parents(package)} - set(found)):
            _add(archive, f"{name.replace('.', '/')}/__init__.py", b"")


def modules() -> dict[str, Path]:
    """Edgepack's modules that the runner needs, by their dotted names: those that it imports, and theirs.

    An import counts wherever it stands, but for those that only a type checker follows.
    """
    found: dict[str, Path] = {}
    pending = [*_ENTRIES]
    while pending:
        name = pending.pop()
        file = _file_of(name)
        if name not in found and file is not None:
            found[name] = file
            pending += _imported(file)
    return found


def _imported(file: Path) -> set[str]:
    """What a module imports of edgepack: "from a import b" may mean the module a.b, or a name in a."""
    names: set[str] = set()
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        pending += ast.iter_child_nodes(node)
    return {name for name in names if name.startswith("edgepack.")}


def _file_of(name: str) -> Path | None:
    """The file of a module; None for what is none, or a package that holds nothing itself."""
    place = _ROOT.joinpath(*name.split(".")[1:])
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file() and file.stat().st_size:
            return file
    return None


def _parents(package: str) -> list[str]:
    words = package.split(".")
    return [".".join(words[:end]) for end in range(2, len(words) + 1)]


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
