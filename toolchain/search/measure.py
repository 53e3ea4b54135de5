"""Measuring one candidate: build it, judge it on held-out data, time it against fp32.

Its latency is the ratio of its time to that of the fp32 program, both timed in turns in one process, so that the
machine's own drift is in both. While one process of a search times, the others wait with their timing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime import timing
from edgepack.runtime.environment import usable_cores
from edgepack.runtime.sessions.base import Session, sessions
from edgepack.targets.base import Compiled
from edgepack.toolchain import parity
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.pipeline import judging, measuring
from edgepack.toolchain.presence import file_lock
from edgepack.toolchain.results import Comparison, Parity
from edgepack.toolchain.search.results import Measured
from edgepack.toolchain.search.subject import Subject, open_subject

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.cache import Cache
    from edgepack.toolchain.search.settings import Settings

    Forms = Mapping[str, str]

FLOAT = "fp32"
_FEWEST_ROUNDS, _ROUNDS, _CALLS_A_ROUND = 6, 8, 4
"""Of an interval, those that are planned for when calls are slow, and the calls in one (`runtime.timing`)."""


class Bench:
    """One process's measuring place.

    Args:
        folder: The search's folder.
        settings: Of the search.
        cache: Where exported programs are kept.
    """

    def __init__(self, folder: Path, settings: Settings, cache: Cache) -> None:
        self.folder = folder
        self.settings = settings
        self._cache = cache
        self._subjects: dict[tuple[str, ...], Subject] = {}
        self._stack = contextlib.ExitStack()
        self._timing = file_lock(folder / "timing.lock")
        self._baseline: tuple[Session, dict[str, np.ndarray]] | None = None
        self.float_bytes = 0

    def close(self) -> None:
        """Close what was opened, and remove what processes that were killed have left."""
        import psutil

        self._stack.close()
        for left in (self.folder / "scratch").glob("*-*"):
            if not psutil.pid_exists(int(left.name.partition("-")[0])):
                shutil.rmtree(left, ignore_errors=True)

    @property
    def largest(self) -> dict[str, str]:
        """The choices of the whole network."""
        return {name: values[0] for name, values in self.settings.choices.items()}

    def subject(self, choices: Mapping[str, str]) -> Subject:
        """A network, opened once."""
        key = tuple(choices.values())
        if key not in self._subjects:
            subject = open_subject(self.settings, self._cache, choices)
            if subject.meter is not None and dict(choices) != self.largest:
                # A sub-network is held against the whole one, not against itself.
                whole = self.subject(self.largest).meter
                assert whole is not None  # noqa: S101 - one recipe, one metric
                subject.meter.reference = whole.reference
            self._subjects[key] = subject
        return self._subjects[key]

    def measure(self, choices: Mapping[str, str], forms: Forms) -> Measured:
        """Build, judge and time one candidate.

        Args:
            choices: Sub-network choices; empty when there are none.
            forms: Form by group name; groups that are not in it stay fp32.

        Raises:
            TargetError: It cannot be built or run, or what it gives is not finite.
        """
        begin = time.perf_counter()
        subject = self.subject(choices)
        with self.scratch() as scratch:
            path, size = self.build(subject, forms, scratch)
            verdict = self._judge(subject, path)
            comparison = self._time(subject, path)
        return Measured(
            loss=loss_of(verdict, self.settings),
            latency=1 / comparison.ratio,
            latency_low=interval(comparison)[0],
            latency_high=interval(comparison)[1],
            rounds=comparison.rounds,
            size_bytes=size,
            parity=verdict,
            seconds=time.perf_counter() - begin,
        )

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder within the search's own that is removed at the end."""
        home = self.folder / "scratch"
        home.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=home) as scratch:
            yield Path(scratch)

    def build(self, subject: Subject, forms: Forms, folder: Path) -> tuple[Path, int]:
        """Quantize and compile into `folder`; the file to run, and the size of all that ships."""
        assign = assignment(subject, forms)
        lowered = subject.mixer.build(assign, folder / "quantized") if assign else subject.base
        context = subject.builder.context(subject.target)
        compiled: Compiled = subject.target.compile(lowered, context, folder / "compiled")
        size = sum((folder / "compiled" / name).stat().st_size for name in compiled.files)
        return folder / "compiled" / compiled.run_file, size

    def _judge(self, subject: Subject, path: Path) -> Parity:
        feeds, reference, name, data = subject.judged
        signature = subject.base.signature
        # Some integer kernels take a second a call; their results do not depend on threads.
        threads = max(self.settings.recipe.threads, usable_cores())
        got = judging.run(subject.target.session, path, signature, feeds, threads)
        verdict = parity.compare(
            reference, got, subject.gate, also=("top1", "neighbours"), reference_name=name, data=data
        )
        if subject.meter is not None:
            subject.meter.judge(
                verdict, {subject.builder.part.name: (subject.target.session, path, signature)}
            )
        return verdict

    def _time(self, subject: Subject, path: Path) -> Comparison:
        with judging.open_session(
            subject.target.session, path, subject.base.signature, self.settings.recipe.threads
        ) as session:
            feed = measuring.feed(subject.builder, subject.base.signature)
            found = self.time_together({"candidate": lambda: session.run(feed)}, self.settings.timing_s)
        return found["candidate"]

    def time_together(
        self, runs: Mapping[str, Callable[[], object]], seconds: float
    ) -> dict[str, Comparison]:
        """Time calls against the fp32 program's, all in turns, while no other process of the search times."""
        session, feed = self.float_session()
        everyone = {FLOAT: lambda: session.run(feed), **runs}
        with self._timing:
            seconds = max(seconds, _seconds_of_rounds(list(everyone.values())))
            timed = timing.measure_together(
                everyone,
                FLOAT,
                threads=self.settings.recipe.threads,
                shapes={name: list(value.shape) for name, value in feed.items()},
                min_samples=1,
                min_seconds=0.0,
                max_seconds=seconds,
                give_up_ratio=None,
            )
        return timed.comparisons

    def float_session(self) -> tuple[Session, dict[str, np.ndarray]]:
        """The fp32 artifact of the whole network, loaded, and what it is timed on."""
        if self._baseline is None:
            subject = self.subject(self.largest)
            sessions.get(subject.target.session).prepare()
            scratch = self._stack.enter_context(self.scratch())
            path, self.float_bytes = self.build(subject, {}, scratch)
            session = self._stack.enter_context(
                judging.open_session(
                    subject.target.session, path, subject.base.signature, self.settings.recipe.threads
                )
            )
            self._baseline = session, measuring.feed(subject.builder, subject.base.signature)
        return self._baseline


def _seconds_of_rounds(runs: Sequence[Callable[[], object]]) -> float:
    """About how long the rounds take that an interval needs: blocks of 3 calls and one before them."""
    for run in runs:
        run()  # the first call of an artifact is a slow one
    begin = time.perf_counter()
    for run in runs:
        run()
    return (time.perf_counter() - begin) * _CALLS_A_ROUND * _ROUNDS


def interval(comparison: Comparison) -> tuple[float | None, float | None]:
    """The 95 % interval of a latency ratio, or nothing when too few rounds were run for one."""
    if comparison.rounds < _FEWEST_ROUNDS:
        return None, None
    return 1 / comparison.ci_high, 1 / comparison.ci_low


def assignment(subject: Subject, forms: Forms) -> dict[str, str]:
    """Form by node from form by group; what is fp32 is left out."""
    return {
        node: forms[group.name]
        for group in subject.mixer.groups
        if forms.get(group.name, FLOAT) != FLOAT
        for node in group.nodes
    }


def loss_of(verdict: Parity, settings: Settings) -> float:
    """What is lost against fp32: 1 - mean cosine, 1 - the agreement named as metric, or the metric's relative loss.

    Raises:
        TargetError: The candidate gave nothing that could be compared.
    """
    metric = settings.recipe.metric
    if verdict.metric is not None:
        gained = verdict.metric.value - verdict.metric.reference
        scale = abs(verdict.metric.reference) or 1.0
        return (gained if verdict.metric.better == "lower" else -gained) / scale or 0.0  # and not -0.0
    values = {
        "min_cosine": verdict.min_cosine,
        "top1": verdict.top1_agreement,
        "neighbours": verdict.neighbour_agreement,
    }
    kept = values.get(metric or "", verdict.cosine)
    if kept is None:
        raise TargetError(
            "; ".join(verdict.failed) or "There is nothing to compare", where=metric or "cosine"
        )
    return 1.0 - kept


__all__ = ["Bench", "assignment", "loss_of"]
