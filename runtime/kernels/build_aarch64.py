"""Builds the library for 64-bit ARM with Linux on any machine: `python -m edgepack.runtime.kernels.build_aarch64 OUT`.

The compiler is Zig's (`pip install ziglang`), which brings the C libraries of every architecture; the
library then needs glibc 2.17 or newer.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from edgepack.runtime.kernels.build import BuildError, build

TARGET = "aarch64-linux-gnu.2.17"


def build_aarch64(library: Path) -> Path:
    """Build and write the file `library`.

    Raises:
        BuildError: ziglang or cmake is missing, or one of them failed.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise BuildError("the native kernels cannot be built for aarch64: pip install ziglang")
    with tempfile.TemporaryDirectory(prefix="edgepack-zig-") as folder:
        # CMake wants a compiler that is one file.
        compiler = Path(folder) / "aarch64-c++"
        compiler.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ziglang c++ -target {TARGET} "$@"\n')
        compiler.chmod(0o755)
        return build(
            library,
            "-DCMAKE_SYSTEM_NAME=Linux",
            "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
            f"-DCMAKE_CXX_COMPILER={compiler}",
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the command and one path
        sys.exit("edgepack: give the path of the library to write")
    try:
        print(build_aarch64(Path(sys.argv[1])))  # noqa: T201 - the command's answer
    except BuildError as error:
        sys.exit(f"edgepack: {error}")
