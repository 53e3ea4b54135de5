"""`python -m edgepack.runtime.kernels`: one line on whether the native operators run here, and which."""

from __future__ import annotations

from edgepack.runtime.kernels import available, why_not

if __name__ == "__main__":
    reason = why_not()
    line = f"none, because {reason}" if reason else ", ".join(available())
    print(f"native kernels: {line}")  # noqa: T201 - the line is all that the command is for
