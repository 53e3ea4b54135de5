"""A command on the device that goes on without us: started, watched from the background, believed by proof.

Started by `start.sh`, it belongs to no connection. A thread waits for it by `watch.sh`; when the link breaks,
the thread connects again and waits on, for as long as `patience_s` allows between two answers.

It was done when there is a file `done` that holds this run's nonce, the exit code 0 and the SHA-256 of
`result.json`, and when the `result.json` that arrives here has that SHA-256. An exit code of a client, a
message, or a file of a run before it are no proof.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime.devices import shell
from edgepack.toolchain import files
from edgepack.toolchain.errors import DeviceError, LinkLostError

if TYPE_CHECKING:
    from edgepack.runtime.devices.device import Run

RESULT = "result.json"
PATIENCE_S = 120.0
"""Seconds without an answer after which a device counts as lost."""
_LOOKS_S, _LONG_TURN = (2, 3, 5, 10, 20), 25
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_DONE = re.compile(r"done (?P<nonce>\S+) (?P<code>[0-9]+) (?P<sha256>none|[0-9a-f]{64})")


@dataclass(frozen=True)
class Look:
    """What `watch.sh` found: state ("done", "gone", "absent", "waiting", "running"), and what goes with it."""

    state: str
    line: str
    progress: str
    free_bytes: int | None
    complaints: str


def read_look(text: str) -> Look:
    """Read what `watch.sh` printed."""
    lines = text.split("\n")
    line = lines[0].strip()
    facts = {key: value for key, _, value in (entry.partition(" ") for entry in lines[1:3])}
    free = facts.get("free", "").strip()
    return Look(
        state=line.partition(" ")[0],
        line=line,
        progress=shell.printable(facts.get("progress", "").strip()),
        free_bytes=int(free) * 1024 if free.isdigit() else None,
        complaints=shell.printable("\n".join(lines[3:]).strip()),
    )


class Job:
    """A command that runs in a run's folder.

    Args:
        run: Where.
        words: Program and arguments.
        patience_s: Seconds without an answer after which the device counts as lost.
        tell: Called, from the thread, when progress or a broken link is noticed.
    """

    def __init__(
        self,
        run: Run,
        words: tuple[str, ...],
        *,
        patience_s: float = PATIENCE_S,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._run, self._words, self._patience_s, self._tell = run, words, patience_s, tell
        self._nonce = secrets.token_hex(16)
        self._over, self._stopped = threading.Event(), threading.Event()
        self._error: DeviceError | None = None
        self._sha256 = ""
        self.links_lost = 0
        """How often the link broke and came back."""
        self._thread = threading.Thread(target=self._watch, name="edgepack-device-watch", daemon=True)
        self._thread.start()

    def wait(self, limit_s: float) -> Path:
        """Wait for the end.

        Args:
            limit_s: Seconds after which the run is ended on the device.

        Returns:
            `result.json`, fetched, in a folder that the run removes.

        Raises:
            DeviceError: It failed, vanished, took too long, or cannot prove that it was done.
            LinkLostError: The device gave no answer for `patience_s`.
        """
        if not self._over.wait(limit_s):
            self.stop()
            raise self._failed(
                f"The run did not end within {limit_s:g} s and was ended",
                "See what else the device does; a shorter measurement is --sustain",
            )
        if self._error is not None:
            raise self._error
        return self._fetch()

    def stop(self) -> None:
        """End it on the device, if it still runs, and stop watching."""
        self._stopped.set()
        with contextlib.suppress(DeviceError):
            self._run.ask("stop")

    def _watch(self) -> None:
        try:
            self._keep_asking()
        except DeviceError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - a thread has nobody else to tell
            self._error = DeviceError(f"Watching the device failed: {type(error).__name__}: {error}")
        finally:
            self._over.set()

    def _keep_asking(self) -> None:
        heard, pause, looks, turn, said = time.monotonic(), 0, 0, "0", ""
        started = False
        while not self._stopped.is_set():
            try:
                if not started:
                    self._start()
                    started = True
                seconds = _LOOKS_S[min(looks, len(_LOOKS_S) - 1)]
                look = read_look(self._run.ask("watch", str(seconds), turn).stdout)
            except LinkLostError as error:
                if self._stopped.is_set():
                    return
                if pause == 0:
                    self.links_lost += 1
                    self._tell("the link broke; trying again")
                if time.monotonic() - heard > self._patience_s:
                    raise self._vanished(error) from error
                self._stopped.wait(_PAUSES_S[min(pause, len(_PAUSES_S) - 1)])
                pause += 1
                self._run.transport.reconnect()
                continue
            heard, pause, looks, turn = time.monotonic(), 0, looks + 1, str(_LONG_TURN)
            if self._judge(look):
                return
            now = "waiting for another run on the device" if look.state == "waiting" else look.progress
            if now and now != said:
                self._tell(now)
                said = now

    def _start(self) -> None:
        answer = self._run.ask("start", self._nonce, shell.script("job"), *self._words)
        if answer.code != 0:
            raise self._failed(
                f"The run cannot be started: {answer.stderr or f'exit code {answer.code}'}",
                "See whether the device's disk is full",
            )

    def _judge(self, look: Look) -> bool:
        """Whether it is over and was done.

        Raises:
            DeviceError: It is over and was not.
        """
        if look.state in {"waiting", "running"}:
            return False
        last = " | ".join(line.strip() for line in look.complaints.splitlines() if line.strip())[-600:]
        words = f". Its last words: {last}" if last else ""
        if look.state == "done":
            found = _DONE.fullmatch(look.line)
            if found is None or found["nonce"] != self._nonce:
                raise self._failed(
                    "The device says that the run is done and does not know its number: it is not believed",
                    "Look at what else writes into edgepack's folder there",
                )
            if found["code"] != "0":
                raise self._failed(f"The run failed with exit code {found['code']}{words}")
            if found["sha256"] == "none":
                raise self._failed(f"The run ended with exit code 0 and left no result{words}")
            self._sha256 = found["sha256"]
            return True
        if look.state == "gone":
            little = look.free_bytes is not None and look.free_bytes < 1 << 16
            why = "the device's disk is full" if little else "it was killed, or the device was restarted"
            raise self._failed(
                f"The run's process is gone and it was not done: {why}{words}",
                "Make room on the device, or name another folder with --workdir" if little else "Try again",
            )
        raise self._failed("The run's folder vanished from the device", "Try again")

    def _fetch(self) -> Path:
        target = Path(tempfile.mkdtemp(dir=self._run.here)) / RESULT
        self._run.pull(RESULT, target)
        if files.hash_file(target).sha256 != self._sha256:
            raise self._failed(
                "The result that arrived is not the one that the device hashed",
                "Check its disk and its cable",
            )
        return target

    def _failed(self, what: str, todo: str | None = None) -> DeviceError:
        return DeviceError(what, where=str(self._run.transport.address), todo=todo)

    def _vanished(self, error: LinkLostError) -> LinkLostError:
        return LinkLostError(
            f"The device gave no answer for {self._patience_s:g} s while a run went on there. {error.what}",
            where=str(self._run.transport.address),
            todo=f"Its folder is left on the device: {self._run.folder}",
        )
