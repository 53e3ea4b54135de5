"""What a search writes on its trials, and how it reads it: measurements, predictions, copies, what broke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepack.toolchain.search.results import Measured, Point, Predicted, Side

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from edgepack.toolchain.search.store import Store

MEASURED, PREDICTED, CANDIDATE, COPY, BROKEN, DISCARDED, START = (
    "measured", "predicted", "candidate", "copy of", "broken", "discarded", "start",
)  # fmt: skip


def points(store: Store, side: Side) -> list[Point]:
    """What was measured on a side, in the order in which it was finished."""
    found = [
        trial
        for trial in store.trials(side)
        if trial.state.name == "COMPLETE" and MEASURED in trial.user_attrs
    ]
    found.sort(key=lambda trial: (trial.datetime_complete is None, trial.datetime_complete, trial.number))
    made = []
    for order, trial in enumerate(found):
        attrs: dict[str, Any] = trial.user_attrs
        predicted = Predicted.model_validate(attrs[PREDICTED]) if PREDICTED in attrs else None
        made.append(
            Point(
                side=side, number=trial.number, order=order, **attrs[CANDIDATE],
                measured=Measured.model_validate(attrs[MEASURED]), predicted=predicted,
            )
        )  # fmt: skip
    return made


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial takes one of its side's turns."""
    attrs = trial.user_attrs
    if trial.state.name == "COMPLETE":
        return MEASURED in attrs
    return trial.state.name == "RUNNING" or (trial.state.name == "FAIL" and BROKEN in attrs)


def source(trial: FrozenTrial) -> Any:
    """The measurement that a trial holds, its own or an earlier one's, as JSON."""
    return trial.user_attrs.get(MEASURED) or trial.user_attrs[f"{MEASURED} before"]


def constrain(trial: optuna.Trial, measured: Measured) -> None:
    """Tell the sampler whether the gate was passed, and if not, by how much it was missed."""
    trial.set_constraint("gate", 0.0 if measured.parity.passed else max(measured.loss, 1e-9))
