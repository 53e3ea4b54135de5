"""The text that every Python carries: its reference manual (pydoc_data), and its library's docstrings."""

from __future__ import annotations

import ast
import sysconfig
from functools import cache
from pathlib import Path
from typing import NamedTuple

HELD_OUT_EVERY = 10
_MIN_CHARACTERS = 200


class Text(NamedTuple):
    """Documents to learn from, and sections of the manual that are kept for judging."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


@cache
def manual() -> Text:
    """The manual's sections, every tenth of them held out, and all docstrings of the library's modules."""
    from pydoc_data.topics import topics

    sections = [topics[name] for name in sorted(topics) if len(topics[name]) >= _MIN_CHARACTERS]
    held_out = tuple(sections[::HELD_OUT_EVERY])
    train = [text for index, text in enumerate(sections) if index % HELD_OUT_EVERY]
    return Text((*train, *_docstrings()), held_out)


def _docstrings() -> list[str]:
    """Docstrings of the modules that lie directly in the standard library's folder, one text a module."""
    texts = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_bytes())
        found = [
            ast.get_docstring(node) or ""
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        ]
        texts.append("\n\n".join(doc for doc in found if doc))
    return [text for text in texts if len(text) >= _MIN_CHARACTERS]
