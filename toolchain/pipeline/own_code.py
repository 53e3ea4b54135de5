"""A hash over edgepack's own source, so that a changed quantizer or judge makes old results stale at once.

    code of a run's target = every module but those in `targets/<kind>/`
                           + of these, what the target's own module names, and what is named there, and so on

A target's stages do not go stale because another target was mended. A module is named by an import statement anywhere
in a module's source, or by a string that is its dotted name or its package's (a worker's process, a registry). Nothing
else names them, as arrows point down: a test holds it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import edgepack

_KINDS = ("targets/cpu/", "targets/mobile/", "targets/npu/")
"""Where the modules of single targets are."""


def own_code(*modules: str) -> str:
    """Hash over the source, without the modules of targets that `modules` are none of and do not need.

    Args:
        modules: Dotted names of targets' modules. One that is not edgepack's own may stand on any target.

    Returns:
        Hexadecimal SHA-256 over names and content.
    """
    single = {name for name in _hashes() if name.startswith(_KINDS)}
    needed = set().union(*(_needed(module) for module in modules))
    return _digest(tuple(name for name in _hashes() if name not in single or name in needed))


@cache
def _digest(names: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{_hashes()[name]}\0".encode())
    return digest.hexdigest()


@cache
def _hashes() -> dict[str, str]:
    """Path from the package's folder -> hash of a source file."""
    root = Path(edgepack.__file__).parent
    return {
        f"{folder.name}/{file.relative_to(folder).as_posix()}": hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in sorted(path for path in root.iterdir() if path.is_dir())
        for file in sorted(folder.rglob("*.py"))
    }


@cache
def _needed(module: str) -> frozenset[str]:
    """Of the modules of single targets those that a target's module needs, itself among them."""
    single = {name for name in _hashes() if name.startswith(_KINDS)}
    first = _path(module)
    if first not in single:
        return frozenset(single)
    todo, needed = [first], {f"{kind}__init__.py" for kind in _KINDS}
    while todo:
        name = todo.pop()
        if name in single and name not in needed:
            needed.add(name)
            todo += named_modules(name)
    return frozenset(needed)


def named_modules(name: str) -> list[str]:
    """Files that a source file names in an import or a string; in a string a package stands for all of its files.

    Args:
        name: Path from the package's folder, as "targets/npu/qnn.py".

    Returns:
        Such paths, in no order that means anything.
    """
    tree = ast.parse((Path(edgepack.__file__).parent / name).read_text(encoding="utf-8"))
    found = [path for word in _imports(tree) if (path := _path(word)) is not None]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += _files(node.value)
    return found


def _imports(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(word: str) -> list[str]:
    """The file of a module, or all files of a package, by its dotted name; none for any other string."""
    found = _path(word)
    if found is None or not found.endswith("/__init__.py"):
        return [found] if found else []
    return [name for name in _hashes() if name.startswith(found.removesuffix("__init__.py"))]


def _path(module: str) -> str | None:
    words = module.split(".")
    if words[0] != "edgepack" or not all(word.isidentifier() for word in words):
        return None
    stem = "/".join(words[1:])
    return next((name for name in (f"{stem}.py", f"{stem}/__init__.py") if name in _hashes()), None)
