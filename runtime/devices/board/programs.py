"""The programs that a board's shell finds: this machine's own for its scripts, and those that stand for the board.

edgepack's scripts move and hash files; that is done by this machine's tools, as fast as they are. What a script
must learn from the board itself goes through the emulator: its Python, and what `uname` says of the processor.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from edgepack.runtime.devices.shell import SCRIPTS

EMULATE = "emulate"
# What the scripts in ../scripts call. There is no python3 among them: the host's would pass for the board's.
_TOOLS = (
    "cat", "chmod", "cp", "cut", "df", "env", "flock", "ln", "mkdir", "mv", "nohup", "openssl", "rm", "setarch",
    "setsid", "sh", "sha256sum", "shasum", "sleep", "tail", "tr", "true",
)  # fmt: skip


def write(folder: Path, *, python: bool) -> None:
    """Fill the folder anew.

    Args:
        folder: The board's only folder of programs.
        python: Whether it has one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for tool in _TOOLS:
        if path := shutil.which(tool):
            (folder / tool).symlink_to(path)
    own = {
        EMULATE: "emulate.sh",
        "uname": "emulated_uname.sh",
        **({"python3": "emulated_python.sh"} if python else {}),
    }
    for name, script in own.items():
        shutil.copyfile(SCRIPTS / script, folder / name)
        (folder / name).chmod(0o755)
