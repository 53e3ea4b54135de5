"""A search from beginning to end: settings, processes, results."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.recipe import make
from edgepack.toolchain.search import settings as files
from edgepack.toolchain.search.ask import Asker
from edgepack.toolchain.search.finish import finish
from edgepack.toolchain.search.measure import Bench
from edgepack.toolchain.search.settings import SAMPLERS, Settings
from edgepack.toolchain.search.store import Store, load_optuna
from edgepack.toolchain.search.subject import declared_choices
from edgepack.toolchain.search.worker import work
from edgepack.toolchain.subprocesses import SAFE_PATH

if TYPE_CHECKING:
    from edgepack.toolchain.search.results import SearchResults

Listener = Callable[[int, int, str], object]
"""Told how many candidates are measured, of how many, and which was the last."""

TRIALS = 40
_POLL_S = 0.3
_TERMINATE_S = 10.0


def search(  # noqa: PLR0913 - options of one call, all by keyword
    model: str | Path = "",
    *,
    out: str | Path,
    target: str = "cpu:onnxruntime",
    trials: int | None = None,
    sampler: str = "nsga2",
    time_limit_s: float | None = None,
    workers: int = 1,
    seed: int = 0,
    timing_s: float = 2.0,
    predict: bool = True,
    part: str | None = None,
    resume: bool = False,
    cache: Cache | None = None,
    listener: Listener = lambda *_: None,
    **options: Any,
) -> SearchResults:
    """Choose a form for every layer, against quality, latency and size, beside a random search of equal budget.

    Args:
        model: As for export; left out with `resume`.
        out: The search's folder: trials, results, page, assignment.
        target: One target that runs here and takes ONNX.
        trials: Candidates measured on each side; `TRIALS` unless given, or what a resumed search was asked for.
        sampler: "nsga2" or "tpe".
        time_limit_s: Seconds after which no new pair of candidates begins.
        workers: Processes that measure; their timings take turns.
        seed: Of both sides' random numbers.
        timing_s: Seconds of one timing; more where that would not give an interval.
        predict: Whether light predictors discard proposals that look useless.
        part: Which part of a program of several.
        resume: Go on with the search in `out`, or join it while others are at it; `trials` may be larger.
        cache: For exported programs; the user's unless given.
        listener: Told of progress.
        options: Other fields of `Recipe`: calibration, gate, metric, threads, sizes, ...

    Raises:
        UsageError: A wrong request, Optuna is missing, or what is resumed is another search.
        EdgepackError: The model cannot be exported.
    """
    load_optuna()
    if sampler not in SAMPLERS:
        raise UnknownNameError("sampler", sampler, SAMPLERS, where="--sampler")
    folder = Path(out)
    begin = time.time()
    deadline = begin + time_limit_s if time_limit_s is not None else float("inf")
    if resume:
        settings = files.read(folder)
        settings = settings.model_copy(update={"trials": max(trials or 0, settings.trials)})
    else:
        recipe = make(model=str(model), out="build", targets=target.split(","), **options)
        settings = Settings.model_validate(
            {
                "recipe": recipe, "part": part, "sampler": sampler, "trials": trials or TRIALS, "seed": seed,
                "timing_s": timing_s, "predict": predict, "choices": declared_choices(str(model)),
                "run_id": secrets.token_hex(8),
            }
        )  # fmt: skip
        _check_new(folder, settings)
    with cache or Cache() as store_of_stages:
        bench = Bench(folder, settings, store_of_stages)
        try:
            identity = bench.subject(bench.largest).identity
            if resume and settings.identity != identity:
                raise UsageError(
                    f"What is searched has changed since: {', '.join(_changed(settings.identity, identity))}",
                    where=str(folder),
                    todo="Begin a new search in another folder; measurements of two things cannot be mixed",
                )
            folder.mkdir(parents=True, exist_ok=True)
            files.write(folder, settings.model_copy(update={"identity": identity}))
            trials_of = Store(folder)
            try:
                _measure_all(folder, settings, bench, trials_of, deadline, workers, store_of_stages, listener)
                return finish(folder, settings, bench, trials_of, listener)
            finally:
                trials_of.close()
        finally:
            bench.close()


def _check_new(folder: Path, settings: Settings) -> None:
    if (folder / files.SETTINGS_FILE).exists():
        raise UsageError(
            "The folder holds a search already",
            where=str(folder),
            todo="Go on with it by --resume, or name another",
        )
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            "The folder is not empty, and a search keeps its trials there",
            where=str(folder),
            todo="Name another",
        )
    if settings.choices and settings.recipe.metric is None:
        raise UsageError(
            "The architecture declares sub-networks, and how good one is no comparison with fp32 can tell: "
            "they are different networks",
            where=settings.recipe.model,
            todo="Give --metric python:file.py:function, or name one configuration to search its precisions only",
        )


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    words = {"lowered": "the model", "data": "the calibration data", "versions": "edgepack or its libraries"}
    return [word for key, word in words.items() if before.get(key) != now.get(key)]


def _measure_all(
    folder: Path,
    settings: Settings,
    bench: Bench,
    store: Store,
    deadline: float,
    workers: int,
    cache: Cache,
    listener: Listener,
) -> None:
    """Let the workers measure; this process does all when there is one, and else what dead ones left."""
    total = 2 * settings.trials
    asker = Asker(store, bench, settings, deadline)

    def tell(text: str) -> None:
        listener(min(asker.handed_out("search") + asker.handed_out("random"), total), total, text)

    if workers > 1:
        command = [sys.executable, "-m", "edgepack.toolchain.search.worker", str(folder.absolute())]
        environment = {**os.environ, **SAFE_PATH, "EDGEPACK_CACHE": str(cache.root)}
        log = (folder / "workers.log").open("ab")
        with log:
            children = [
                subprocess.Popen(  # noqa: S603 - our own module
                    [*command, str(index), str(deadline)], env=environment, stdout=log, stderr=log
                )
                for index in range(1, workers + 1)
            ]
            try:
                while any(child.poll() is None for child in children):
                    time.sleep(_POLL_S)
                    tell(f"{workers} processes")
            finally:
                _stop(children)
    work(store, bench, asker, tell)


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(_TERMINATE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
