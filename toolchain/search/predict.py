"""Light predictors: what a candidate's latency, loss and size will be, from the candidates measured so far.

    latency = 1 + sum over groups of a(kind and shape, form)     a by ridge regression, shared by groups of equal shape
    loss    = sum over groups of c(group) d(form) n(group, form)     n counted (`quantize/_onnx_mixed_noise`), first d,
                                                                 then c >= 0 by ridge regression towards 1
    size    = fp32's + sum over groups of counted differences

Losses span orders of magnitude, so that their regression weighs relative errors. What they say only decides
which proposals are not worth measuring, and every prediction is held against what is measured afterwards: when the
ranks agree badly, the predictors are switched off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_mixed_groups import FORMS
from edgepack.toolchain.search.fronts import spearman
from edgepack.toolchain.search.results import Point, Predicted, PredictorCheck

if TYPE_CHECKING:
    import numpy as np

    from edgepack.quantize._onnx_mixed_groups import Group

FEWEST = 8
"""Measured candidates from which on there are predictions."""
CHECKED = 10
"""Predictions held against measurements from which on a bad agreement counts."""
LOWEST_RANK = 0.5
"""Rank correlation below which the predictors are switched off."""
DISCARD = 0.75
"""Share of the proposals predicted to be useless that is not measured; the rest guards against the predictors."""

_LATENCY_RIDGE = 0.3
_FORM_RIDGE, _LOSS_RIDGE = 0.01, 1.0
_FLOOR = 1e-7  # of losses, below which a relative error is one of float32's own noise


class Predictor:
    """Predicts from measured candidates of one network.

    Args:
        groups: Of the network.
        noise: n by group and form.
        counted: Bytes by group and form, fp32 included.
        float_bytes: Size of the fp32 artifact.
        points: Measured candidates; with fewer than `FEWEST` there are no predictions.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        noise: Mapping[tuple[str, str], float],
        counted: Mapping[tuple[str, str], float],
        float_bytes: int,
        points: Sequence[Point],
    ) -> None:
        import numpy as np

        self._groups = list(groups)
        self._noise = noise
        self._counted = counted
        self._float_bytes = float_bytes
        self._columns: dict[tuple[str, str], int] = {
            key: i
            for i, key in enumerate(
                dict.fromkeys((group.alike, form) for group in groups for form in group.forms[1:])
            )
        }
        self.ready = len(points) >= FEWEST
        if not self.ready:
            return
        counts = np.stack([self._counts(point.forms) for point in points])
        ratios = np.array([point.measured.latency for point in points])
        self._times = _ridge(counts, ratios - 1, _LATENCY_RIDGE, np.zeros(counts.shape[1]))
        features = np.stack([self._noises(point.forms) for point in points])  # [points, groups, forms]
        losses = np.maximum([point.measured.loss for point in points], _FLOOR)
        noisy = features.any(axis=(1, 2))
        features, losses = features[noisy], losses[noisy]
        if not len(losses):
            self._weights = np.zeros(features.shape[1:])
            return
        # In units of every candidate's own loss, so that errors are relative.
        scaled = features / losses[:, None, None]
        common = float(np.median(1 / scaled.sum(axis=(1, 2))))
        ones = np.ones(len(losses))
        of_form = _ridge(scaled.sum(axis=1) * common, ones, _FORM_RIDGE, np.ones(features.shape[2]))
        of_form = np.maximum(of_form, 0) * common
        of_group = _ridge(scaled @ of_form, ones, _LOSS_RIDGE, np.ones(features.shape[1]))
        self._weights = np.maximum(of_group, 0)[:, None] * of_form

    def predict(self, forms: Mapping[str, str]) -> Predicted:
        """What to expect of a candidate; only when `ready`."""
        size = float(self._float_bytes)
        for group in self._groups:
            form = forms.get(group.name, "fp32")
            size += self._counted[group.name, form] - self._counted[group.name, "fp32"]
        return Predicted(
            loss=float((self._noises(forms) * self._weights).sum()),
            latency=max(1.0 + float(self._counts(forms) @ self._times), 0.0),
            size_bytes=size,
        )

    def _counts(self, forms: Mapping[str, str]) -> np.ndarray:
        import numpy as np

        row = np.zeros(len(self._columns))
        for group in self._groups:
            form = forms.get(group.name, "fp32")
            if form != "fp32":
                row[self._columns[group.alike, form]] += 1
        return row

    def _noises(self, forms: Mapping[str, str]) -> np.ndarray:
        import numpy as np

        table = np.zeros((len(self._groups), len(FORMS)))
        for row, group in enumerate(self._groups):
            form = forms.get(group.name, "fp32")
            table[row, list[str](FORMS).index(form)] = self._noise.get((group.name, form), 0.0)
        return table


def _ridge(rows: np.ndarray, values: np.ndarray, strength: float, centre: np.ndarray) -> np.ndarray:
    """Minimizes |rows w - values|^2 + strength |w - centre|^2."""
    import numpy as np

    gram = rows.T @ rows + strength * np.eye(rows.shape[1])
    solved: np.ndarray = np.linalg.solve(gram, rows.T @ values + strength * centre)
    return solved


def checks(points: Sequence[Point]) -> list[PredictorCheck]:
    """Predictions held against measurements, over the points that have both."""
    pairs = [(point.predicted, point.measured) for point in points if point.predicted is not None]
    sides = {
        "loss": [(p.loss, m.loss) for p, m in pairs],
        "latency": [(p.latency, m.latency) for p, m in pairs],
        "size": [(p.size_bytes, float(m.size_bytes)) for p, m in pairs],
    }
    found = []
    for quantity, values in sides.items():
        relative = [abs(p - m) / abs(m) for p, m in values if m]
        found.append(
            PredictorCheck.model_validate(
                {
                    "quantity": quantity,
                    "pairs": len(values),
                    "spearman": spearman([p for p, _ in values], [m for _, m in values]),
                    "relative_error": sum(relative) / len(relative) if relative else None,
                }
            )
        )
    return found


def switched_off(points: Sequence[Point]) -> str | None:
    """Why the predictors are off, or None; once off they stay off, whichever process asks.

    Args:
        points: In the order in which they were measured.
    """
    seen = [point for point in points if point.predicted is not None]
    for count in range(CHECKED, len(seen) + 1):
        for check in checks(seen[:count]):
            if check.quantity != "size" and check.spearman is not None and check.spearman < LOWEST_RANK:
                return (
                    f"after {count} checked predictions the rank correlation of the {check.quantity} was "
                    f"{check.spearman:.2f}, below {LOWEST_RANK}"
                )
    return None
