"""Commands that are told to stop: by Ctrl-C, kill, timeout, a closed terminal."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from edgepack.toolchain.ended import Ended, signals_raised

# A shell's background job ignores SIGINT, what nohup started SIGHUP, and so do their children: the tests may be some.
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    "from edgepack.toolchain.cli import main; main()"
)
SLEEPER = """
import pathlib, time
def make():
    pathlib.Path(__file__).with_name("begun").touch()
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def hang_up():
    """SIGHUP as by default, whatever the tests were started by."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def stopped(words, number, begun):
    """A command that was sent a signal as soon as `begun` said so, and what it had started by then."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not begun(process) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    return process.returncode, stderr, psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "Interrupted; nothing half-written is left."),
        (signal.SIGTERM, 143, "Ended by SIGTERM; nothing half-written is left."),
        (signal.SIGHUP, 129, "Ended by SIGHUP; nothing half-written is left."),
    ],
)
def test_while_the_model_is_exported(tmp_path, number, code, words):
    """No process and no half-written file stays, only the journal to resume from."""
    (tmp_path / "net.py").write_text(SLEEPER)
    folder = tmp_path / "into"
    folder.mkdir()
    command = ["export", f"{tmp_path}/net.py:make", "--target", "cpu", "--out", folder / "out", "--no-cache"]
    returned, stderr, left = stopped(command, number, lambda _: (tmp_path / "begun").exists())
    assert returned == code
    assert words in stderr
    assert "--resume" in stderr
    assert not left
    assert [path.name for path in folder.iterdir()] == [".out.run.json"]


def test_while_cells_of_a_matrix_are_made(tmp_path):
    command = ["zoo", "matrix", "--system", "hydra", "--target", "cpu:onnxruntime", "--out", tmp_path]

    def begun(process):
        # Its own process, and what that has begun: the export.
        return len(psutil.Process(process.pid).children(recursive=True)) > 1

    returned, _, left = stopped(command, signal.SIGTERM, begun)
    assert returned == 143
    assert not left


def test_a_second_signal_ends_at_once():
    with pytest.raises(Ended, match="SIGTERM"), signals_raised():
        os.kill(os.getpid(), signal.SIGTERM)
    with signals_raised():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        with pytest.raises(Ended):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_signal_in_a_finalizer_is_not_lost():
    seen: list[str] = []

    class Finalized:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            self.after = time.monotonic()  # the handler runs before this

    def wait():
        with signals_raised():
            Finalized()
            seen.append("went on")
            time.sleep(30)

    with pytest.raises(Ended, match="SIGTERM"):
        wait()
    assert seen == ["went on"]


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_raised():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_set_no_handlers():
    seen = []

    def look():
        with signals_raised():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
