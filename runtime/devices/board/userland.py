"""What the emulated programs need of a system: a C library and a C++ one, and Python where it is wanted.

    compiler   the libraries of the cross compiler for 64-bit ARM, copied: 8 MB, nothing is fetched
    debian     Debian's packages for 64-bit ARM, unpacked by mmdebstrap: 75 MB, with Python

Neither is configured or entered: QEMU's prefix (`-L`) is all that makes a userland of the folder.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgepack.runtime.kernels.build_aarch64 import GCC
from edgepack.toolchain.errors import ToolchainMissingError
from edgepack.toolchain.subprocesses import run_tool

COMPILER, DEBIAN = "compiler", "debian"
LOADER = "lib/ld-linux-aarch64.so.1"
PYTHON_VERSION = "3.11"
"""Of Debian 12: which wheels fit."""
_SUITE = "bookworm"
_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgcc-s1")
_LIMIT_S = 1800.0
# The loader, and what ONNX Runtime's wheel and our programs ask for (their DT_NEEDED entries).
_LIBRARIES = (
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
)


def of_compiler(root: Path) -> None:
    """Copy the cross compiler's libraries to `root`/lib.

    Raises:
        ToolchainMissingError: The compiler, or a library of it, is not installed.
    """
    compiler = shutil.which(GCC)
    if compiler is None:
        raise ToolchainMissingError(
            "The C library for 64-bit ARM is missing: there is no cross compiler that brings it",
            todo="Install it: apt install g++-aarch64-linux-gnu; or create the board with --python, which fetches "
            "Debian's packages",
        )
    target = root / "lib"
    target.mkdir(parents=True)
    for name in _LIBRARIES:
        said = subprocess.run(  # noqa: S603 - the compiler that was found, no shell
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=False, timeout=60
        )
        source = Path(said.stdout.strip())
        if not source.is_absolute() or not source.is_file():
            raise ToolchainMissingError(
                f"The cross compiler {GCC} has no {name}",
                todo="Install it: apt install libc6-dev-arm64-cross",
            )
        shutil.copyfile(source, target / name)
        (target / name).chmod(0o755)


def of_debian(root: Path) -> None:
    """Fetch and unpack Debian's packages into `root`.

    Raises:
        ToolchainMissingError: mmdebstrap is not installed.
        ToolchainFailedError: It failed, or left no Python.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ToolchainMissingError("mmdebstrap is not installed", todo="Install it: apt install mmdebstrap")
    run_tool(
        "mmdebstrap",
        [
            program, "--quiet", "--variant=extract", "--architectures=arm64",
            f"--include={','.join(_PACKAGES)}", _SUITE, str(root),
        ],
        time_limit_s=_LIMIT_S,
        cwd=root.parent,
        expect=[root / LOADER, root / interpreter()],
    )  # fmt: skip
    # Device files, where root made them: the emulator shows this machine's, and a copy of the folder must end.
    shutil.rmtree(root / "dev", ignore_errors=True)


def interpreter() -> str:
    """Debian's Python below the prefix."""
    return f"usr/bin/python{PYTHON_VERSION}"
