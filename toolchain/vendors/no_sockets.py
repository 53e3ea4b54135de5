"""Takes a process's way to the network away, in the kernel: for vendors' code that reports home.

Linux hands every system call of a process to a filter that it has set for itself (seccomp, Documentation/userspace-api/
seccomp_filter.rst in the kernel's sources), and a filter once set cannot be taken off, by the process or its children.
This one lets everything pass but socket(2), and io_uring_setup(2), by whose ring sockets can be had too:

    if arch != own: allow              A = seccomp_data.arch
    if nr in {socket, io_uring_setup}: refuse, or kill
    allow                              A = seccomp_data.nr

Native code is held as well as Python's. Files that are open stay open.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Machine -> its AUDIT_ARCH and its number of socket(2) (linux/audit.h, asm/unistd.h)."""
_IO_URING_SETUP = 425
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = (
    0x20,
    0x15,
    0x06,
)  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_NUMBER_AT, _ARCH_AT = 0, 4  # offsets in struct seccomp_data
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2  # prctl(2)


def forbid_sockets(*, kill: bool = False) -> bool:
    """From here on this process opens no socket; call it before anything starts threads.

    Args:
        kill: Whether an attempt ends the process (SIGSYS), which shows that there was none; else it fails with EACCES.

    Returns:
        Whether the kernel holds it: False where there is no such filter, on other systems and machines.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or known is None or ctypes.sizeof(ctypes.c_void_p) != 8:  # noqa: PLR2004 - bytes
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    lines = _program(*known, _KILL if kill else _ERRNO | errno.EACCES)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    # struct sock_fprog: a length and, aligned to 8 bytes, where the lines are
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(code)))
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, program, 0, 0) == 0)


def _program(architecture: int, socket: int, answer: int) -> list[tuple[int, int, int, int]]:
    """Lines of (code, jump if true, jump if false, operand), as of `struct sock_filter`."""
    return [
        (_LOAD_WORD, 0, 0, _ARCH_AT),
        (_JUMP_IF_EQUAL, 0, 3, architecture),
        (_LOAD_WORD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_EQUAL, 2, 0, socket),
        (_JUMP_IF_EQUAL, 1, 0, _IO_URING_SETUP),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, answer),
    ]


def main() -> None:
    """Run a program without sockets: `python -m edgepack.toolchain.vendors.no_sockets PROGRAM ARGUMENT...`."""
    forbid_sockets()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - it takes this process's place, filter and all


if __name__ == "__main__":
    main()
