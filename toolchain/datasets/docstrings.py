"""Docstrings of the Python libraries that edgepack itself needs, by library: text of six kinds of software.

    tensors, arrays, algebra, graphs, language models, and the standard library

A text is a paragraph of a docstring as lower-case words; words that hold the name of one of the libraries are left
out, so that what is said has to tell. Files are taken in the order of a hash of their names, and texts of one file are
never both in training and test data: every fifth file tests. Nothing is imported or run.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
import warnings
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

LIBRARIES = ("torch", "numpy", "sympy", "networkx", "transformers", "python")
"""The last one stands for the standard library."""
VOCABULARY = 2048
LENGTH = 32
_FEWEST_WORDS = 12
_TEST_EVERY = 5
_LARGEST_FILE = 200_000
_NAMES = re.compile("|".join(LIBRARIES) + "|python|tensorflow|keras|jax|huggingface|nx|np")


def load(samples: int, test_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Token numbers int64 [n, 32] and classes int64 [n], for training, then for testing.

    Args:
        samples: For training, of all classes together; fewer where there are not as many.
        test_samples: The same for testing.
    """
    found: dict[bool, list[tuple[list[int], int]]] = {False: [], True: []}
    wanted = {
        False: -(-samples // len(LIBRARIES)),
        True: -(-test_samples // len(LIBRARIES)),
    }
    for label, library in enumerate(LIBRARIES):
        texts: dict[bool, list[list[int]]] = {False: [], True: []}
        for number, path in enumerate(_files(library)):
            held_out = number % _TEST_EVERY == 0
            if len(texts[held_out]) < wanted[held_out]:
                texts[held_out] += map(tokens, paragraphs(path))
            if all(len(texts[kind]) >= wanted[kind] for kind in wanted):
                break
        for kind, rows in texts.items():
            found[kind] += [(row, label) for row in rows[: wanted[kind]]]
    train, test = (_arrays(found[kind]) for kind in (False, True))
    return *train, *test


def paragraphs(path: Path) -> Iterator[str]:
    """Paragraphs of a file's docstrings that are long enough to say something."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the files' own escapes
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            for text in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                if len(words(text)) >= _FEWEST_WORDS:
                    yield text


def words(text: str) -> list[str]:
    """Lower-case words without the libraries' names."""
    return [word for word in re.findall(r"[a-z]{2,}", text.lower()) if not _NAMES.search(word)]


def tokens(text: str) -> list[int]:
    """The first 32 words as numbers by their checksum; 0 where there are no more."""
    numbers = [1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in words(text)[:LENGTH]]
    return numbers + [0] * (LENGTH - len(numbers))


def _files(library: str) -> Iterator[Path]:
    if library == "python":
        root = Path(sysconfig.get_path("stdlib"))
    else:
        spec = find_spec(library)
        if spec is None or spec.origin is None:
            return
        root = Path(spec.origin).parent
    names = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if not {"tests", "test", "site-packages", "dist-packages"} & set(path.relative_to(root).parts)
    ]
    for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if (root / name).stat().st_size <= _LARGEST_FILE:
            yield root / name


def _arrays(rows: list[tuple[list[int], int]]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([row for row, _ in rows], np.int64).reshape(-1, LENGTH),
        np.array([label for _, label in rows], np.int64),
    )
