"""Who is measured next: the uniform assignments first, then in turns a proposal of the search and a random one.

Both sides begin with what the uniform assignments (every layer in the same form) gave, get equal numbers of
candidates, and are measured in turns on the same machine. A proposal that its side has measured already gets the
old values and costs nothing. Of the search's proposals those that the predictors find useless are mostly discarded
(`predict.DISCARD`); random ones never are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from edgepack.quantize._onnx_mixed_groups import FORMS
from edgepack.quantize._onnx_mixed_noise import counted_bytes, noises
from edgepack.toolchain.search import predict, space
from edgepack.toolchain.search.fronts import dominates
from edgepack.toolchain.search.results import Measured, Point, Predicted, Side
from edgepack.toolchain.search.store import OWNER, REPLACES, Store, load_optuna
from edgepack.toolchain.search.trials import (
    BROKEN,
    CANDIDATE,
    COPY,
    DISCARDED,
    MEASURED,
    PREDICTED,
    START,
    constrain,
    counts,
    points,
    source,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from edgepack.quantize._onnx_mixed_groups import Group
    from edgepack.toolchain.search.measure import Bench
    from edgepack.toolchain.search.settings import Settings

_IN_A_ROW = 15
"""Proposals without a new candidate after which one is drawn at random or taken unseen."""


@dataclass
class Job:
    """A candidate to be measured."""

    side: Side
    trial: optuna.Trial
    choices: dict[str, str]
    forms: dict[str, str]


class Asker:
    """One process's way to its next candidate.

    Args:
        store: The trials.
        bench: The networks.
        settings: Of the search.
        deadline: `time.time()` after which no new pair begins.
        index: Number of the worker; workers draw different random numbers.
    """

    def __init__(
        self, store: Store, bench: Bench, settings: Settings, deadline: float = float("inf"), index: int = 0
    ) -> None:
        self._store, self._bench, self._settings, self._deadline = store, bench, settings, deadline
        begun = sum(len(store.trials(name)) for name in store.studies)
        seed = settings.seed + 1009 * index + begun
        self._random = random.Random(seed)  # noqa: S311 - no secret
        _set_samplers(store, settings, seed)

    def next(self) -> Job | Literal["wait"] | None:
        """The next candidate; "wait" while others still measure uniform assignments; None at the end."""
        with self._store.lock:
            self._store.reap()
            states = self._uniform()
            if "WAITING" in states:
                return self._ask("uniform")
            if "RUNNING" in states:
                return "wait"
            self._start()
            return self._side()

    def done(self, job: Job, measured: Measured) -> None:
        """File a measurement."""
        job.trial.set_user_attr(MEASURED, measured.model_dump(mode="json"))
        constrain(job.trial, measured)
        values = (measured.loss, measured.latency, float(measured.size_bytes))
        self._store.studies[job.side].tell(job.trial, values)

    def broken(self, job: Job, why: str) -> None:
        """File a candidate that could not be built or run."""
        from optuna.trial import TrialState

        job.trial.set_user_attr(BROKEN, why)
        self._store.studies[job.side].tell(job.trial, state=TrialState.FAIL)

    def handed_out(self, side: str) -> int:
        """Candidates of a side that were measured, failed, or are being measured."""
        return sum(1 for trial in self._store.trials(side) if counts(trial))

    def _uniform(self) -> set[str]:
        """States of the uniform assignments' trials, which are put there first."""
        study = self._store.studies["uniform"]
        there = {trial.user_attrs.get(START) for trial in self._store.trials("uniform")}
        largest = self._bench.largest
        for form in FORMS:
            if form not in there:
                groups = self._groups(largest)
                params = space.to_params(groups, space.uniform(groups, form), largest)
                study.enqueue_trial(params, user_attrs={START: form})
        return {trial.state.name for trial in self._store.trials("uniform")}

    def _start(self) -> None:
        """Let both sides begin with the uniform assignments."""
        for side in ("search", "random"):
            there = {trial.user_attrs.get(START) for trial in self._store.trials(side)}
            for trial in self._store.trials("uniform"):
                name = trial.user_attrs.get(START)
                if trial.state.name == "COMPLETE" and name not in there:
                    self._store.studies[side].enqueue_trial(trial.params, user_attrs={START: name})

    def _side(self) -> Job | None:
        """A candidate of the side that is behind."""
        useless = {"search": 0, "random": 0}
        while True:
            taken = {side: self.handed_out(side) for side in useless}
            side: Side = "search" if taken["search"] <= taken["random"] else "random"
            late = time.time() >= self._deadline and taken["search"] == taken["random"]
            if taken[side] >= self._settings.trials or late or self._exhausted(side):
                return None
            if useless[side] and useless[side] % _IN_A_ROW == 0:
                self._enqueue_random(side)
            job = self._ask(side)
            twin = self._twin(side, job)
            if twin is not None:
                self._copy(job, twin)
            elif side == "search" and useless[side] < _IN_A_ROW and self._discard(job):
                pass
            else:
                return job
            useless[side] += 1

    def _ask(self, side: Side) -> Job:
        trial = self._store.studies[side].ask()
        trial.set_user_attr(OWNER, self._store.owner)
        choices = {
            name: str(trial.suggest_categorical(f"{space.CHOICE}{name}", values))
            for name, values in self._settings.choices.items()
        }
        chosen = {
            group.name: str(trial.suggest_categorical(key, group.forms))
            for key, group in space.parameters(self._groups(choices)).items()
        }
        forms = {name: form for name, form in chosen.items() if form != "fp32"}
        trial.set_user_attr(CANDIDATE, {"choices": choices, "forms": forms})
        return Job(side, trial, choices, forms)

    def _groups(self, choices: Mapping[str, str]) -> list[Group]:
        return self._bench.subject(choices).mixer.groups

    def _twin(self, side: Side, job: Job) -> FrozenTrial | None:
        """A trial of the same side, or a uniform one, with the same candidate."""
        wanted = {"choices": job.choices, "forms": job.forms}
        for trial in (*self._store.trials("uniform"), *self._store.trials(side)):
            known = trial.user_attrs.get(CANDIDATE) == wanted and DISCARDED not in trial.user_attrs
            itself = trial._trial_id == job.trial._trial_id  # noqa: SLF001 - numbers repeat between studies
            if known and not itself and (counts(trial) or trial.state.name == "COMPLETE"):
                return trial
        return None

    def _copy(self, job: Job, twin: FrozenTrial) -> None:
        from optuna.trial import TrialState

        study = self._store.studies[job.side]
        job.trial.set_user_attr(COPY, twin.number)
        if twin.state is not TrialState.COMPLETE:  # being measured now, or broken
            study.tell(job.trial, state=TrialState.FAIL)
            return
        constrain(job.trial, Measured.model_validate(source(twin)))
        job.trial.set_user_attr(f"{MEASURED} before", source(twin))
        study.tell(job.trial, twin.values)

    def _discard(self, job: Job) -> bool:
        """Predict a proposal, and discard it when it seems useless; True when it was."""
        from optuna.trial import TrialState

        if START in job.trial.user_attrs or REPLACES in job.trial.user_attrs:
            return False  # what was begun is finished
        predicted = self._predict(job)
        if predicted is None:
            return False
        values = (predicted.loss, predicted.latency, predicted.size_bytes)
        passed = [point for point in self._learned() if point.measured.parity.passed]
        if (
            any(dominates(point.values, values) for point in passed)
            and self._random.random() < predict.DISCARD
        ):
            job.trial.set_user_attr(DISCARDED, predicted.model_dump())
            self._store.studies[job.side].tell(job.trial, state=TrialState.FAIL)
            return True
        job.trial.set_user_attr(PREDICTED, predicted.model_dump())
        return False

    def _predict(self, job: Job) -> Predicted | None:
        if not self._settings.predict or self._settings.choices:
            return None
        learned = self._learned()
        if predict.switched_off(learned):
            return None
        self._bench.float_session()
        groups, noise, counted = self._tables
        found = predict.Predictor(groups, noise, counted, self._bench.float_bytes, learned)
        return found.predict(job.forms) if found.ready else None

    def _learned(self) -> list[Point]:
        """What the predictors may learn from: the uniform assignments and the search's own candidates."""
        return [*points(self._store, "uniform"), *points(self._store, "search")]

    @cached_property
    def _tables(
        self,
    ) -> tuple[list[Group], dict[tuple[str, str], float], dict[tuple[str, str], float]]:
        mixer = self._bench.subject({}).mixer
        counted: dict[tuple[str, str], float] = {
            (g.name, form): counted_bytes(g, form) for g in mixer.groups for form in g.forms
        }
        return mixer.groups, noises(mixer), counted

    def _exhausted(self, side: Side) -> bool:
        """Whether every candidate there is has been measured (networks without choices)."""
        if self._settings.choices:
            return False
        known = len(points(self._store, "uniform")) + self.handed_out(side)
        return known >= space.size(self._groups({}), {})

    def _enqueue_random(self, side: Side) -> None:
        choices = {name: self._random.choice(values) for name, values in self._settings.choices.items()}
        groups = self._groups(choices)
        forms = {group.name: self._random.choice(group.forms) for group in groups}
        self._store.studies[side].enqueue_trial(space.to_params(groups, forms, choices))


def _set_samplers(store: Store, settings: Settings, seed: int) -> None:
    samplers = load_optuna().samplers
    if settings.sampler == "tpe":
        chosen = samplers.TPESampler(seed=seed, n_startup_trials=max(5, settings.trials // 5))
    else:
        chosen = samplers.NSGAIISampler(seed=seed, population_size=max(4, min(24, settings.trials // 4)))
    store.studies["search"].sampler = chosen
    for name in ("uniform", "random"):
        store.studies[name].sampler = samplers.RandomSampler(seed=seed + 1)
