"""The shell scripts: sound to shellcheck, for a POSIX shell, alone and as they are sent."""

from __future__ import annotations

import subprocess

import pytest

from edgepack.runtime.devices import shell

NAMES = sorted(path.stem for path in shell.SCRIPTS.glob("*.sh"))


def test_there_are_scripts():
    assert {"common", "job", "start", "watch", "remove"} <= set(NAMES)


@pytest.mark.system("shellcheck")
def test_shellcheck_finds_nothing(tmp_path):
    """In the files, and in what is made of them when they are sent."""
    sent = []
    for name in NAMES:
        sent.append(tmp_path / f"{name}.sh")
        sent[-1].write_bytes(shell.compose(shell.script(name), ["a b"], "f00"))
    # SC2317: what common.sh defines, and one script alone does not use.
    for words in (
        [str(shell.SCRIPTS / f"{name}.sh") for name in NAMES],
        ["-e", "SC2317", *map(str, sent)],
    ):
        command = ["shellcheck", "-s", "sh", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_text_that_was_cut_anywhere_runs_nothing_or_gives_no_answer(tmp_path):
    """What a broken link leaves of a script must not be taken for the script."""
    mark = tmp_path / "mark"
    sent = shell.compose(f"echo begun >'{mark}'\necho middle\necho last", ["it's"], "f00d")
    whole = subprocess.run(["sh", "-s"], input=sent, capture_output=True, check=False)
    answer = shell.answer(whole.stdout, whole.stderr, "f00d")
    assert answer is not None
    assert (answer.code, answer.stdout) == (0, "middle\nlast\n")
    call = sent.index(b"(edgepack_script 'it")
    for end in (*range(0, call, 3), *range(call, len(sent) - 1)):
        mark.unlink(missing_ok=True)
        done = subprocess.run(["sh", "-s"], input=sent[:end], capture_output=True, check=False)
        assert shell.answer(done.stdout, done.stderr, "f00d") is None, sent[:end]
        assert end > call or not mark.exists()


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_codes(code):
    done = subprocess.run(
        ["sh", "-s"], input=shell.compose(f"exit {code}", [], "f00d"), capture_output=True, check=False
    )
    assert shell.answer(done.stdout, done.stderr, "f00d").code == code


def test_words_arrive_as_they_are():
    words = ["", "a b", "'", "''", '"', "\\", "$(id)", "`id`", "new\nline", "*", "-n", "é", "\udcff", "a\tb"]
    text = 'for word in "$@"; do printf "<%s>" "$word"; done'
    done = subprocess.run(
        ["sh", "-s"], input=shell.compose(text, words, "f00d"), capture_output=True, check=False
    )
    expected = "".join(f"<{word}>" for word in words).encode("utf-8", "surrogateescape")
    assert done.stdout.startswith(expected + b"\nf00d 0")


def test_an_argument_holds_no_nul():
    with pytest.raises(ValueError, match="NUL"):
        shell.quote("a\0b")


@pytest.mark.parametrize(
    "said", [b"", b"\nf00d 0", b"\nf00d x\n", b"f00d 0\n", b"\nf00e 0\n", b"\nf00d 0\nmore\n"]
)
def test_what_is_no_answer(said):
    assert shell.answer(said, b"", "f00d") is None
