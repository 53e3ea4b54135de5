"""The samples of a measurement: taken one repetition at a time, written to a file between two of them.

Clocks and sensors are read with every writing, once in `every_s` seconds and never within a repetition. The file
is a row of 64-bit floats, milliseconds, repetition by repetition; memory does not grow with it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from edgepack.runtime._timing_steps import Clock, timed_ms
from edgepack.runtime.devices.runner import readings

Step = Callable[[], object]


class Samples:
    """Repetitions and their times.

    Args:
        steps: The calls of one repetition.
        reset: What comes before each, untimed.
        file: Open for writing.
        clock: Nanoseconds.
        root: Where the device's /proc and /sys are.
        every_s: Seconds between two writings.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        reset: Step | None,
        file: BinaryIO,
        *,
        clock: Clock,
        root: Path,
        every_s: float,
    ) -> None:
        self._steps, self._reset, self._file = steps, reset, file
        self._clock, self._root, self._every_ns = clock, root, every_s * 1e9
        self._buffer = array("d")
        self._began = self._flushed = clock()
        self.done = 0
        """Repetitions."""
        self.windows: list[dict[str, Any]] = []
        """Of every writing the seconds since the first sample, repetitions so far, and what the device said."""

    @property
    def seconds(self) -> float:
        """Since the first sample."""
        return (self._clock() - self._began) / 1e9

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return self._clock() - self._flushed >= self._every_ns

    def take(self) -> None:
        """One repetition."""
        if self._reset is not None:
            self._reset()
        for step in self._steps:
            self._buffer.append(timed_ms(step, self._clock))
        self.done += 1

    def write(self) -> None:
        """Write what was taken, and read the device."""
        seconds = self.seconds
        self._buffer.tofile(self._file)
        del self._buffer[:]
        self.windows.append({"s": seconds, "done": self.done, **readings.reading(self._root)})

    def resume(self) -> None:
        """After a writing, with whatever followed it: the time to the next one begins now."""
        self._flushed = self._clock()


def told(done: int, fewest: int, seconds: float, least: float) -> None:
    """A line for who watches; a full disk is for the samples to notice."""
    with Path("progress").open("a") as file:
        file.write(f"{done} of at least {fewest} samples, {seconds:.0f} of at least {least:g} s\n")
