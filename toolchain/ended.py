"""Ending in good order when somebody asks for it: `kill`, `timeout`, a service manager, a closed terminal.

By default SIGTERM and SIGHUP end a process at once, and what it had started (exports, vendors' compilers, all in
sessions of their own) works on for nobody.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.05


class Ended(KeyboardInterrupt):
    """A signal that asks to end, raised where Ctrl-C would be, for what tidies up after that.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_raised() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise `Ended`, once: a second one ends the process as by default.

    What already has a handler, or is ignored as by nohup, keeps it; threads other than the main one get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    if _swallowed(frame):
        again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    for each in _SIGNALS:
        if signal.getsignal(each) is _raise:
            signal.signal(each, signal.SIG_DFL)
    raise Ended(number)


def _swallowed(frame: FrameType | None) -> bool:
    """Whether Python would print what is raised here, and go on: in finalizers and in callbacks of weak references."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_globals.get("__name__") in {"weakref", "_weakrefset"}:
            return True
        frame = frame.f_back
    return False
