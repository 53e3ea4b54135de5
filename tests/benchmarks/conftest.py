"""Real bundles and held-out data for the benchmarks; everything is built once in the session's cache."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

import edgepack
from edgepack.quantize.text import generic_sentences
from edgepack.toolchain.bundle import Bundle

# What calibrates and judges comes first in this order; what is measured here comes after it.
_SEEN = 2 * 96


class Cost(NamedTuple):
    """Wall time in seconds, and peak memory of the largest process in bytes."""

    seconds: float
    peak_bytes: int


@pytest.fixture(scope="session")
def cost() -> Callable[[Sequence[str | Path]], Cost]:
    """Run a command and say what it cost; the command must succeed."""

    def run(command: Sequence[str | Path]) -> Cost:
        # Users' interpreters keep compiled modules; one that was told not to compiles 80 files a run.
        code = (
            "import os, resource, subprocess, sys, time\n"
            "os.environ.pop('PYTHONDONTWRITEBYTECODE', None)\n"
            "begin = time.perf_counter()\n"
            "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)\n"
            "spent = time.perf_counter() - begin\n"
            "sys.stderr.buffer.write(done.stderr[-2000:]) if done.returncode else None\n"
            "print(spent, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, check=True
        )
        seconds, peak, returncode = done.stdout.split()
        assert returncode == "0", done.stderr
        return Cost(float(seconds), int(peak) * 1024)

    return run


@pytest.fixture(scope="session")
def minilm_bundle(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """MiniLM for every target, precision auto."""
    return edgepack.export(minilm, out=tmp_path_factory.mktemp("bundles") / "minilm")


@pytest.fixture(scope="session")
def held_out() -> list[str]:
    """600 real sentences that neither calibrated nor judged."""
    return list(islice(generic_sentences(), _SEEN, _SEEN + 600))
