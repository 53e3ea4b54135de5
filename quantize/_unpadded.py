"""Samples that are all full are no calibration for shorter inputs: the first has its last quarter masked.

    mask = 1 in every sample   ->   what is added to the scores, (1 - mask) * -C, was seen as 0 alone: range [0, 0]

An accelerator's quantizer gives every activation a range, and one of [0, 0] clips what a mask adds: padded positions of
a shorter input would be attended to, with no error anywhere. A mask is an input of integers or truth values that holds
ones alone, in all samples, along an axis of fixed length; 0 hides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.samples import SampleFile, Samples

if TYPE_CHECKING:
    from edgepack.toolchain.program import Signature

_SHARE = 4
"""One of so many positions is masked."""
NOTE = "the first with its last quarter masked, as none was padded"


def with_padding(data: CalibrationData, signature: Signature) -> CalibrationData:
    """The data with a padded sample among those that calibrate, if it has none.

    Args:
        data: Cut or padded to the signature.
        signature: With fixed sizes.

    Returns:
        The same data where no input is a mask without a zero.
    """
    masks = [
        spec.name
        for spec in signature.inputs
        if spec.dtype.startswith(("int", "uint", "bool")) and spec.shape and _long(spec.shape[-1])
    ]
    for feed in data.samples if masks else ():
        masks = [name for name in masks if (feed[name] == 1).all()]
        if not masks:
            break
    if not masks:
        return data
    file = SampleFile(_masked(feed, masks) if not index else feed for index, feed in enumerate(data.samples))
    facts = data.facts.model_copy(update={"description": f"{data.facts.description}; {NOTE}"})
    return replace(data, facts=facts, samples=Samples(file, range(len(file))))


def _long(size: int | str) -> bool:
    return isinstance(size, int) and size > 1


def _masked(feed: Feeds, masks: list[str]) -> Feeds:
    made = dict(feed)
    for name in masks:
        array = made[name].copy()
        array[..., -max(1, array.shape[-1] // _SHARE) :] = 0
        made[name] = array
    return made
