"""Fragments of files, by the kind of file: a sequence of bytes as forensics finds it on a disk.

    Python source, Python bytecode, C++ headers, machine code, ONNX tensors and graphs, deflated text

The task is that of file fragment classification, which one-dimensional convolutional networks do well (Mittal, Korus
and Memon 2021, "FiFTy", IEEE Transactions on Information Forensics and Security 16). The files are what edgepack's
dependencies install; bytecode and deflated text are made of sources on the spot. A fragment has 256 bytes from
anywhere in a file but its first 512 bytes; every fifth file tests, and no file is in both. Where a library has few
large files (machine code), they are cut into pieces of 64 KiB first, and every fifth piece tests.
"""

from __future__ import annotations

import hashlib
import marshal
import warnings
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

KINDS = ("python", "bytecode", "header", "machine", "onnx", "deflate")
LENGTH = 256
_SKIPPED = 512
_PIECE = 65536
_PIECES_OF_A_FILE = 40
_MOST_OF_ONE = 16
_TEST_EVERY = 5
_SOURCES = {
    "python": ("torch", "**/*.py"),
    "bytecode": ("sympy", "**/*.py"),
    "header": ("torch", "include/**/*.h"),
    "machine": ("numpy", "**/*.so"),
    "onnx": ("onnx", "backend/test/data/**/*.[po][bn]*"),
    "deflate": ("transformers", "**/*.py"),
}


def load(samples: int, test_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bytes int64 [n, 256] and kinds int64 [n], for training, then for testing; arguments as of `docstrings.load`."""
    wanted = {False: -(-samples // len(KINDS)), True: -(-test_samples // len(KINDS))}
    rows: dict[bool, list[np.ndarray]] = {False: [], True: []}
    labels: dict[bool, list[int]] = {False: [], True: []}
    for label, kind in enumerate(KINDS):
        counts = {False: 0, True: 0}
        for number, content in enumerate(contents(kind)):
            held_out = number % _TEST_EVERY == 0
            room = min(wanted[held_out] - counts[held_out], _MOST_OF_ONE)
            cut = fragments(content, room, seed=number)
            rows[held_out] += cut
            labels[held_out] += [label] * len(cut)
            counts[held_out] += len(cut)
            if counts == wanted:
                break
    both = []
    for held_out in (False, True):
        both += [
            np.array(rows[held_out], np.int64).reshape(-1, LENGTH),
            np.array(labels[held_out], np.int64),
        ]
    return both[0], both[1], both[2], both[3]


def fragments(content: bytes, count: int, seed: int) -> list[np.ndarray]:
    """Up to `count` fragments that do not overlap, from random places."""
    places = (len(content) - _SKIPPED) // LENGTH
    if places < 1 or count < 1:
        return []
    chosen = np.random.default_rng(seed).permutation(places)[:count]
    body = np.frombuffer(content, np.uint8, places * LENGTH, _SKIPPED).reshape(places, LENGTH)
    return list(body[chosen])


def contents(kind: str) -> Iterator[bytes]:
    """What is cut into fragments, in a fixed order."""
    library, pattern = _SOURCES[kind]
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        return
    root = Path(spec.origin).parent
    names = [path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file()]
    for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest()):
        content = (root / name).read_bytes()
        if kind == "bytecode":
            content = _compiled(content)
        elif kind == "deflate":
            content = zlib.compress(content)
        if kind == "machine":
            yield from (
                content[at : at + _PIECE]
                for at in range(0, _PIECES_OF_A_FILE * _PIECE, _PIECE)
                if at < len(content)
            )
        else:
            yield content


def _compiled(source: bytes) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return marshal.dumps(compile(source, "module.py", "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return b""
