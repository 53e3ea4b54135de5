"""Builds the library for 64-bit ARM with Linux on any machine: `python -m edgepack.runtime.kernels.build_aarch64 OUT`.

The compiler is Zig's (`pip install ziglang`), which brings the C libraries of every architecture: the
library then needs glibc 2.17 or newer. Its first build compiles those libraries too, which takes
minutes. Where it is not installed, GCC's cross compiler (Debian: `g++-aarch64-linux-gnu`) builds at
once; the library then needs a glibc about as new as that compiler's own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgepack.runtime.kernels.build import BuildError, build

ZIG, GCC = "ziglang", "aarch64-linux-gnu-g++"
_TARGET = "aarch64-linux-gnu.2.17"


def compilers() -> tuple[str, ...]:
    """Those that are installed here, the preferred one first."""
    found = [ZIG] if importlib.util.find_spec("ziglang") else []
    return (*found, *([GCC] if shutil.which(GCC) else []))


def build_aarch64(library: Path, *options: str, compiler: str | None = None) -> Path:
    """Build and write the file `library`; `options` go to CMake.

    Args:
        library: Where to.
        options: More for CMake.
        compiler: ZIG or GCC; by default the first of `compilers()`.

    Raises:
        BuildError: A compiler or cmake is missing, or one of them failed.
    """
    with toolchain(compiler) as chosen:
        return build(library, *chosen, *options)


@contextlib.contextmanager
def toolchain(compiler: str | None = None) -> Iterator[tuple[str, ...]]:
    """CMake's options for a compiler: ZIG or GCC, or the first of `compilers()`.

    Raises:
        BuildError: It is missing.
    """
    installed = compilers()
    if (compiler or next(iter(installed), None)) not in installed:
        wanted = {None: "pip install ziglang", ZIG: "pip install ziglang", GCC: f"install {GCC}"}
        raise BuildError(f"the native code cannot be built for aarch64: {wanted.get(compiler, compiler)}")
    target = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")
    if (compiler or installed[0]) == GCC:
        yield (*target, f"-DCMAKE_CXX_COMPILER={GCC}")
        return
    with tempfile.TemporaryDirectory(prefix="edgepack-zig-") as folder:
        # CMake wants a compiler that is one file.
        program = Path(folder) / "aarch64-c++"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ziglang c++ -target {_TARGET} "$@"\n')
        program.chmod(0o755)
        yield (*target, f"-DCMAKE_CXX_COMPILER={program}")


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the command and one path
        sys.exit("edgepack: give the path of the library to write")
    try:
        print(build_aarch64(Path(sys.argv[1])))  # noqa: T201 - the command's answer
    except BuildError as error:
        sys.exit(f"edgepack: {error}")
