r"""One way of asking a device's shell for something, whatever carries the words there.

    edgepack_script() {
    ...                                  a file of scripts/, as it is
    }
    (edgepack_script 'word' 'word' </dev/null)
    printf '\n%s %s\n' NONCE "$?"

This text goes to the standard input of `sh -s` on the device, and the command line there is that constant:
no login shell, of whatever kind, reads an argument. Scripts are files without blanks to fill in; what varies
comes to them as "$1", "$2", ..., each in single quotes.

The last line answers two questions that neither ssh (whose 255 may be its own or the command's) nor adb (0
and half of the output when the daemon dies) answers: did the script come to its end, and what was its exit
code? An answer without that line is a broken link. A text that arrives cut in two is a syntax error, and
nothing of it runs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"
COMMAND = "exec sh -s"
"""What the device's login shell is asked to run, always."""


@dataclass(frozen=True)
class Answer:
    """What a script that came to its end said.

    Attributes:
        code: Its exit code.
        stdout: Its output.
        stderr: Its complaints, with those of the client.
    """

    code: int
    stdout: str
    stderr: str


def printable(text: str) -> str:
    """A device's words without control and reordering characters, which could rewrite a terminal; lines stay lines."""
    return "\n".join(
        "".join(letter if letter.isprintable() else "?" for letter in line) for line in text.splitlines()
    )


def quote(word: str) -> str:
    """One word of a POSIX shell, whatever is in it (IEEE Std 1003.1, 2.2.2: only ' ends single quotes).

    Raises:
        ValueError: It holds a NUL, which no argument of a program can.
    """
    if "\0" in word:
        msg = "an argument cannot hold a NUL character"
        raise ValueError(msg)
    return "'" + word.replace("'", "'\\''") + "'"


@functools.cache
def script(name: str) -> str:
    """The text of a file of scripts/, after what all of them share."""
    common, own = ((SCRIPTS / f"{file}.sh").read_text(encoding="utf-8") for file in ("common", name))
    return f"{common}\n{own}"


def compose(text: str, words: Sequence[str], nonce: str) -> bytes:
    """What is sent to `sh -s`.

    Args:
        text: A script.
        words: Its arguments.
        nonce: Letters and digits that the script cannot guess.

    Raises:
        ValueError: A word holds a NUL.
    """
    arguments = " ".join(map(quote, words))
    sent = (
        f"edgepack_script() {{\n{text}\n}}\n(edgepack_script {arguments} </dev/null)\n"
        f"printf '\\n%s %s\\n' {quote(nonce)} \"$?\"\n"
    )
    # File names that are not UTF-8 travel as the bytes that they are.
    return sent.encode("utf-8", "surrogateescape")


def answer(stdout: bytes, stderr: bytes, nonce: str) -> Answer | None:
    """The answer, or None when the last line is missing.

    Args:
        stdout: All that came.
        stderr: All that came.
        nonce: Of `compose`.
    """
    said, found, last = stdout.rpartition(b"\n" + nonce.encode() + b" ")
    code = last.strip()
    if not found or not code.isdigit() or not last.endswith(b"\n"):
        return None
    return Answer(
        int(code), said.decode(errors="replace"), printable(stderr.decode(errors="replace").strip())
    )
