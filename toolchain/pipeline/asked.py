"""What a recipe asks of one offer: its quantizer's options, and the bounds that it must hold."""

from __future__ import annotations

from typing import Any

from edgepack.quantize.base import Quantizer
from edgepack.targets.base import Offer
from edgepack.toolchain import choices, parity
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.metrics import DEFAULT_LIMITS, Metric
from edgepack.toolchain.program import Part, Program
from edgepack.toolchain.quantized import AS_GIVEN
from edgepack.toolchain.recipe import Recipe

_CLASSIFIERS = ("image-classification", "text-classification", "audio-classification")
_CLASSIFIERS_TOP1 = 0.95
_CHOICES = 0.95
_SCORES_RANK = 2


def asked_options(
    recipe: Recipe, program: Program, part: str, offer: Offer, quantizer: Quantizer, target: str
) -> dict[str, Any]:
    """The offer's options and the user's own, checked before anything is calibrated.

    Raises:
        UsageError: An option that the quantizer does not have, or a value that it cannot take.
        TargetError: The quantizer cannot keep single nodes.
    """
    asked = recipe.quantize
    if asked:
        where = f"--quantize, {target}"
        quantizer.options_type.check_asked(asked, str(offer.quantizer), offer.precision, where)
        quantizer.options_type.of({**offer.options, **asked}, str(offer.quantizer), where)
    kept = _kept(recipe, program, part)
    if kept and "keep" not in quantizer.options_type.model_fields:
        raise TargetError(
            f"The quantizer {offer.quantizer} cannot keep single nodes float",
            where=f"--keep, {target} {offer.precision}",
            todo="Leave out --keep, or choose another --precision",
        )
    states = quantizer.for_states if program.states(part) else {}
    return {**states, **offer.options, **asked, **({"keep": kept} if kept else {})}


def _kept(recipe: Recipe, program: Program, part: str) -> list[str]:
    """The nodes of this part that the recipe keeps float."""
    kept = []
    for name in recipe.keep:
        named, colon, node = name.partition(":")
        qualified = bool(colon) and named in program.parts
        if not qualified or named == part:
            kept.append(node if qualified else name)
    return kept


def gate_of(
    recipe: Recipe, program: Program, part: Part, metric: Metric | None, offer: Offer
) -> dict[str, float]:
    """The bounds for an offer: the precision's own, a classifier's, then the user's.

    A classifier's is for parts that give scores of classes, [batch, classes], first: what else a model of several
    parts computes (a map, a state) has no largest class.

    A metric of the user's takes the place of the default bounds; where it judges the parts together, they
    hold for every part before that. Indices of the best scores are judged as choices (`choices.py`) wherever scores
    are rounded: by a bound, or, where a metric judges, by that alone.
    """
    gate = parity.default_gate(offer.precision)
    if offer.quantizer is not None:
        if metric and (metric.agreement or len(program.parts) == 1):
            gate = {metric.key: DEFAULT_LIMITS[metric.key]} if metric.agreement else {}
        elif program.source.get("task") in _CLASSIFIERS and _gives_scores(part):
            gate["top1"] = _CLASSIFIERS_TOP1
    if offer.quantizer is not None or offer.precision == AS_GIVEN:
        chosen = _choices(part)
        gate |= dict.fromkeys(chosen, 0.0 if metric and not metric.agreement else _CHOICES)
        known = (*parity.MEASURES, *chosen)
        gate |= {name: bound for name, bound in recipe.gate.items() if name in known}
    return gate


def _choices(part: Part) -> list[str]:
    """Measures of the part's outputs of indices that it decides itself."""
    if not any("int" in spec.dtype for spec in part.signature.outputs):
        return []
    return choices.measures(part.model())


def _gives_scores(part: Part) -> bool:
    """Whether the output that `top1` is measured on, the first of floating point, has one row an input."""
    floats = (spec for spec in part.signature.outputs if "float" in spec.dtype)
    first = next(floats, None)
    return first is not None and len(first.shape) == _SCORES_RANK
