"""No byte outside of a tensor, no undefined arithmetic, no leak and no race, says the compiler's instrumentation.

The library and the driver are built with it; any finding ends the driver, and so fails the test.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.kernels import build
from tests.runtime.kernels.driven_cases import conv_cases, linear_cases
from tests.runtime.kernels.driving import Case, Outcome, build_driver, check, drive
from tests.runtime.kernels.layers import BinaryLayer
from tests.runtime.kernels.odd_models import Draft, odd_draft

pytestmark = pytest.mark.slow
MEMORY, THREADS = "address,undefined", "thread"
Driven = Callable[..., Outcome]


def _driven(sanitizers: str, folder: Path) -> Driven:
    if missing := build.what_is_missing():
        pytest.skip(f"the native kernels cannot be built: no {missing}")
    option = f"-DEDGEPACK_SANITIZE={sanitizers}"
    library = build.build(folder / "library.so", option)
    (first, *_) = sanitizers.split(",")
    assert {"address": b"__asan_", "thread": b"__tsan_"}[first] in library.read_bytes()
    driver = build_driver(folder / "driver", option)

    def run(cases: list[Case], *, kernel: str = "", **options: int) -> Outcome:
        environment = {
            **os.environ,
            "EDGEPACK_KERNEL": kernel,
            # A size that no memory holds fails as it does in a program without sanitizer.
            "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": "halt_on_error=1",
        }
        return drive([driver, library], cases, folder, environment=environment, **options)

    return run


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Driven:
    return _driven(MEMORY, tmp_path_factory.mktemp("memory"))


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Driven:
    return _driven(THREADS, tmp_path_factory.mktemp("threads"))


@functools.cache
def cases() -> list[Case]:
    return [*linear_cases(30, largest=2**24), *conv_cases(31, largest=2**23)]


@functools.cache
def shared() -> list[Case]:
    """Layers large enough for their work to be given to several threads, and small ones."""
    rng = np.random.default_rng(32)
    layer = BinaryLayer.random(rng, 300, 512)
    x = rng.standard_normal((70, 512)).astype(np.float32)
    large = [case for case in conv_cases(33) if case.expected.size > 2**17]
    assert large
    return [Case(layer.model(), {"x": x}, layer.expected(x)), *large, *cases()[::9]]


def test_every_kernel_stays_within_its_tensors(memory: Driven) -> None:
    for kernel in memory([]).kernels:
        check(memory(cases(), kernel=kernel), cases())


def test_nodes_that_come_and_go_leave_nothing_behind(memory: Driven) -> None:
    few = cases()[::5]
    check(memory(few, threads=2, callers=2, rounds=8), few)


def test_odd_nodes_are_computed_or_refused(memory: Driven) -> None:
    """Without the checks that ONNX Runtime makes first; what it alone would refuse is left out."""
    drafts = [draft for draft in (odd_draft(34, number) for number in range(700)) if _reaches(draft)]
    odd = [Case(draft.model(), {"x": draft.x}, draft.x) for draft in drafts]
    outcome = memory(odd, rounds=2)
    outcomes = {"computed": 0, "refused": 0}
    for draft, result in zip(drafts, outcome.results, strict=True):
        expected = draft.expected()
        if isinstance(result, str):
            assert expected is None, result
            assert "edgepack::" in result, result
            outcomes["refused"] += 1
        else:
            assert expected is not None, draft.attributes
            np.testing.assert_array_equal(result[0], expected)
            outcomes["computed"] += 1
    assert min(outcomes.values()) > 100, outcomes


def _reaches(draft: Draft) -> bool:
    """Whether the driver can give the node: integers are its only attributes, and x is always float32."""
    lists = [value if isinstance(value, list) else [value] for value in draft.attributes.values()]
    integers = all(isinstance(value, int) for values in lists for value in values)
    return integers and draft.x.dtype == np.float32


def test_calls_that_overlap_do_not_race(threads: Driven) -> None:
    for kernel in threads([]).kernels:
        check(threads(shared(), kernel=kernel, threads=2, callers=3), shared())


def test_a_finding_fails(tmp_path: Path) -> None:
    """A read behind the end of an array, beneath the options that the library is built with, ends the program."""
    source = tmp_path / "wrong.cpp"
    source.write_text("int main(int count, char**) { int* a = new int[4](); return a[count + 3]; }\n")
    options = [f"-fsanitize={MEMORY}", "-fno-sanitize-recover=all"]
    subprocess.run(["c++", *options, source, "-o", tmp_path / "wrong"], check=True)
    done = subprocess.run([tmp_path / "wrong"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
