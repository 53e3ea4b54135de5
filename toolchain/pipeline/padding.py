"""Whether a model can be padded, and with what: found out by running it, padded and not.

A mask of integers or truth values says "nothing there" with 0. One of floating point is added to scores, and says it
with a large negative number: the one that the model's own example has, else -10000. Everything else may hold anything
where it is masked, and holds 0. Which of these holds is decided by the float program: unpadded inputs of two lengths
for every bucket, against the same ones padded and cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.samples import Samples
from edgepack.toolchain import parity
from edgepack.toolchain.errors import EdgepackError, UnknownNameError, UsageError
from edgepack.toolchain.pipeline import judging
from edgepack.toolchain.pipeline.workbench import Workbench, read_json, versions
from edgepack.toolchain.program import Part, Program, terms
from edgepack.toolchain.results import Parity
from edgepack.toolchain.whole import Variant, Whole

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.results import StageRecord

_FILE = "padding.json"
_FAR = -1e4
_OPTION = "--buckets"


def check_buckets(program: Program, buckets: Mapping[str, object], pad: Mapping[str, float]) -> None:
    """Raise unless buckets can be built of this program at all.

    Raises:
        UnknownNameError: A dimension or an input that the program does not have.
        UsageError: A program of several parts, or a dimension that is a sum with others.
    """
    if not buckets:
        return
    if len(program.parts) > 1 or program.links:
        raise UsageError(
            f"Buckets are for models of one part without states; this one has {', '.join(program.parts)}",
            where=_OPTION,
            todo="Leave the option out, and give one size with --size",
        )
    (part,) = program
    for dim in buckets:
        if dim not in part.signature.symbols:
            raise UnknownNameError("open dimension", dim, part.signature.symbols, where=_OPTION)
        sums = [
            spec.name
            for spec in part.signature.inputs
            for one in spec.shape
            if dim in terms(one) and one != dim
        ]
        if sums:
            raise UsageError(
                f"The dimension '{dim}' of the input '{sums[0]}' is a sum with others, and padding would "
                "stand in the middle of it",
                where=_OPTION,
                todo="Give it one size with --size",
            )
    names = [spec.name for spec in part.signature.inputs]
    for name in pad:
        if name not in names:
            raise UnknownNameError("input", name, names, where="--pad")


def padding(
    bench: Workbench, program: Program, folder: Path, variants: tuple[Variant, ...]
) -> dict[str, float]:
    """What every input is padded with so that the model's outputs stay what they are; kept in the cache.

    Args:
        bench: The run's tools.
        program: Of one part.
        folder: Its folder in the cache.
        variants: The sizes that are padded to.

    Raises:
        UsageError: Padding changes what the model computes, or it does not run in one of the sizes.
    """
    (part,) = program
    given = bench.recipe.pad

    def build(out: Path, record: StageRecord) -> None:
        found, record.parity = find(part, variants, given)
        (out / _FILE).write_text(json.dumps(found))

    key = {
        "program": bench.digest(folder),
        "variants": [dict(one.sizes) for one in variants],
        "given": given,
        "versions": versions("onnxruntime"),
    }
    out = bench.keep("padding against none", key, build, part=part.name)
    return {str(name): float(value) for name, value in read_json(out / _FILE).items()}


def find(
    part: Part, variants: tuple[Variant, ...], given: Mapping[str, float]
) -> tuple[dict[str, float], Parity]:
    """What inputs are padded with, and how well the padded program then agrees with itself.

    Args:
        part: In floating point.
        variants: The sizes that are padded to.
        given: What the user knows, by input.

    Raises:
        UsageError: Nothing that was tried hides the padding.
    """
    tried = [(feed, one) for one in variants for feed in short_feeds(part, one)]
    try:
        reference = judging.reference_outputs(part, [feed for feed, _ in tried])
        best: tuple[dict[str, float], Parity] | None = None
        for fill in _fills(part, variants[0], given):
            result = _padded(part, tried, reference, fill)
            if result.passed:
                return fill, result
            if best is None or (result.cosine or -1) > (best[1].cosine or -1):
                best = fill, result
    except UsageError:
        raise
    except Exception as error:
        what = error.what if isinstance(error, EdgepackError) else f"{type(error).__name__}: {error}"
        raise UsageError(
            f"The model does not run in the sizes of every bucket: {what}",
            where=f"{_OPTION} {_named(variants)}",
            todo="Give sizes that it was made for",
        ) from error
    assert best is not None  # noqa: S101 - one is always tried
    masks = [spec.name for spec in part.signature.inputs if "mask" in spec.name.lower()]
    raise UsageError(
        f"Padding changes what the model computes: padded and cut, the first wrong output is "
        f"{judging.first_wrong_output(reference, _run(part, tried, best[0])) or 'of another shape'}, and "
        f"{'; '.join(best[1].failed)}. "
        + (
            f"Its mask {' and '.join(masks)} does not hide what is padded with {best[0]}"
            if masks
            else "It has no mask among its inputs that would hide the padding"
        ),
        where=f"{_OPTION} {_named(variants)}",
        todo="Give the model a mask input, or say with --pad NAME=VALUE what its mask expects, or leave the option out",
    )


def short_feeds(
    part: Part, variant: Variant, others: Mapping[str, int] | None = None
) -> list[dict[str, np.ndarray]]:
    """The first case, repeated or cut to one position less than a variant has, and to about half.

    Args:
        part: Has the case.
        variant: Its dimensions are shortened.
        others: Sizes of the other named dimensions; the case's own unless given.
    """
    example = part.cases[0].inputs
    long, half = dict(others or {}), dict(others or {})
    for dim, n in variant.sizes.items():
        long[dim], half[dim] = max(1, n - 1), max(1, (n + 1) // 2)

    def shape(value: np.ndarray, dims: Sequence[int | str], sizes: Mapping[str, int]) -> list[int]:
        wanted = zip(dims, value.shape, strict=True)
        return [sizes.get(dim, have) if isinstance(dim, str) else have for dim, have in wanted]

    return [
        {
            spec.name: _tiled(example[spec.name], shape(example[spec.name], spec.shape, sizes))
            for spec in part.signature.inputs
        }
        for sizes in ([long] if long == half else [long, half])
    ]


def padded(data: CalibrationData, whole: Whole, sizes: Mapping[str, int]) -> CalibrationData:
    """Samples in the sizes of a bucket: cut where they are longer, and padded as callers' inputs will be.

    Args:
        data: Of the part that is called.
        whole: Says what is padded with.
        sizes: Of the bucket.
    """
    variant = Variant(sizes, ())

    def fitted(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        cut = {}
        for spec in whole.signature.inputs:
            kept = (sizes.get(dim) if isinstance(dim, str) else None for dim in spec.shape)
            cut[spec.name] = feed[spec.name][tuple(slice(0, size) for size in kept)]
        return whole.pad(cut, variant)

    def changed(feeds: Sequence[Feeds]) -> Sequence[Feeds]:
        return feeds.changed(fitted) if isinstance(feeds, Samples) else [fitted(feed) for feed in feeds]

    digest = hashlib.sha256(
        f"{data.fingerprint} {sorted(sizes.items())} {sorted(whole.fill.items())}".encode()
    )
    return CalibrationData(data.facts, changed(data.samples), changed(data.held_out), digest.hexdigest())


def _tiled(value: np.ndarray, shape: list[int]) -> np.ndarray:
    import numpy as np

    for axis, n in enumerate(shape):
        value = np.take(value, np.arange(n) % value.shape[axis], axis)
    return np.asarray(value, order="C")


def _fills(part: Part, variant: Variant, given: Mapping[str, float]) -> Iterator[dict[str, float]]:
    """What may be padded with, the likeliest first."""
    padded = [spec for spec in part.signature.inputs if set(spec.shape) & variant.sizes.keys()]
    zeros = {spec.name: 0.0 for spec in padded} | dict(given)
    yield zeros
    masks = [
        spec.name
        for spec in padded
        if spec.dtype.startswith("float") and "mask" in spec.name.lower() and spec.name not in given
    ]
    if not masks:
        return
    least = {name: min(float(case.inputs[name].min(initial=0)) for case in part.cases) for name in masks}
    if any(least.values()):
        yield zeros | {name: value or _FAR for name, value in least.items()}
    yield zeros | dict.fromkeys(masks, _FAR)


def _padded(
    part: Part,
    tried: list[tuple[dict[str, np.ndarray], Variant]],
    reference: list[dict[str, np.ndarray]],
    fill: Mapping[str, float],
) -> Parity:
    got = _run(part, tried, fill)
    return parity.compare(
        reference,
        got,
        parity.FLOAT_GATE,
        reference_name="fp32 program without padding",
        data=f"{len(got)} padded inputs",
    )


def _run(
    part: Part, tried: list[tuple[dict[str, np.ndarray], Variant]], fill: Mapping[str, float]
) -> list[dict[str, np.ndarray]]:
    whole = Whole(part.name, part.signature, (), fill)
    feeds = [whole.pad(feed, one) for feed, one in tried]
    got = judging.reference_outputs(part, feeds)
    return [
        whole.cut(outputs, whole.sizes(feed), one) for outputs, (feed, one) in zip(got, tried, strict=True)
    ]


def _named(variants: tuple[Variant, ...]) -> str:
    return "; ".join(",".join(f"{dim}={n}" for dim, n in one.sizes.items()) for one in variants)
