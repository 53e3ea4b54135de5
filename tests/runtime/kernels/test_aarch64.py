"""The library for 64-bit ARM, built here and run on an emulated processor: the same cases, the same bits.

No speed is measured: an emulator's says nothing about a processor's.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime.kernels import build, build_aarch64
from edgepack.runtime.kernels.build_aarch64 import GCC
from tests.conftest import program_of
from tests.runtime.kernels.driven_cases import conv_cases, linear_cases
from tests.runtime.kernels.driving import Case, Outcome, build_driver, check, drive
from tests.runtime.kernels.layers import BinaryLayer, model_of

pytestmark = [pytest.mark.slow, pytest.mark.system("g++-aarch64-linux-gnu", "qemu-user-static")]
SYSTEM = "/usr/aarch64-linux-gnu"  # of the cross compiler: its C library, which the emulator needs too


class Emulated:
    """The library and the driver, on an emulated processor."""

    def __init__(self, library: Path, driver: Path, folder: Path) -> None:
        self.library, self._driver, self._folder = library, driver, folder

    def run(self, cases: list[Case], *, processor: str = "max", kernel: str = "", **options: int) -> Outcome:
        emulator = [program_of("qemu-user-static"), "-cpu", processor, "-L", SYSTEM]
        environment = {**os.environ, "EDGEPACK_KERNEL": kernel}
        command = [*emulator, self._driver, self.library]
        return drive(command, cases, self._folder, environment=environment, **options)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    program_of("g++-aarch64-linux-gnu")
    if missing := build.what_is_missing():
        pytest.skip(f"the native kernels cannot be built: no {missing}")
    folder = tmp_path_factory.mktemp("aarch64")
    library = build_aarch64.build_aarch64(
        folder / "library.so", "-DEDGEPACK_WARNINGS_ARE_ERRORS=ON", compiler=GCC
    )
    driver = build_driver(
        folder / "driver",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={GCC}",
    )
    return Emulated(library, driver, folder)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [*linear_cases(20), *conv_cases(21)]


@pytest.mark.parametrize("kernel", ["neon-dot", "neon", "portable"])
def test_every_kernel_is_exact(kernel: str, emulated: Emulated, cases: list[Case]) -> None:
    check(emulated.run(cases, kernel=kernel), cases)


@pytest.mark.parametrize(
    ("processor", "kernels"),
    [("max", ("neon-dot", "neon", "portable")), ("cortex-a53", ("neon", "portable"))],
)
def test_the_processor_gets_what_it_has(
    processor: str, kernels: tuple[str, ...], emulated: Emulated, cases: list[Case]
) -> None:
    """Dot products are of Armv8.2; an older processor never meets one of their instructions."""
    outcome = emulated.run(cases[:20], processor=processor)
    assert outcome.kernels == kernels
    check(outcome, cases[:20])


def test_an_older_processor_refuses_a_kernel_that_it_lacks(emulated: Emulated, cases: list[Case]) -> None:
    (result,) = emulated.run(cases[:1], processor="cortex-a53", kernel="neon-dot").results
    assert result == "EDGEPACK_KERNEL asks for 'neon-dot', and this processor runs: neon, portable"


def test_threads_and_calls_that_overlap(emulated: Emulated) -> None:
    cases = [*linear_cases(22, largest=2**20), *conv_cases(23, largest=2**20)]
    rng = np.random.default_rng(24)
    layer = BinaryLayer.random(rng, 300, 512)  # large enough to be shared among threads
    x = rng.standard_normal((40, 512)).astype(np.float32)
    cases = [*cases[::6], Case(layer.model(), {"x": x}, layer.expected(x))]
    check(emulated.run(cases, threads=2, callers=2), cases)


def test_a_wrong_file_is_refused(emulated: Emulated) -> None:
    layer = BinaryLayer.random(np.random.default_rng(25), 6, 20)
    model = model_of({**layer.inputs(), "alpha": np.ones(3, np.float32)}, 20)
    x = np.zeros((1, 20), np.float32)
    (result,) = emulated.run([Case(model, {"x": x}, x)]).results
    assert result == "edgepack::BinLinear 'layer': alpha has the shape [3] instead of [6]"


def test_two_names_are_visible(emulated: Emulated) -> None:
    command = ["aarch64-linux-gnu-nm", "-D", "--defined-only", emulated.library]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in done.stdout.splitlines()}
    assert names == {"RegisterCustomOps", "edgepack_kernels"}
