"""`edgepack bisect`: measure every layer, try what keeping the worst float gives, offer the fix, apply it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgepack.runtime.environment import usable_cores
from edgepack.toolchain.blame import fixing, noise, tflite_noise, trials
from edgepack.toolchain.blame.opening import Asked, Opened, opened
from edgepack.toolchain.blame.results import Applied, Blame, LayerNoise
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.events import Listener
from edgepack.toolchain.pipeline import assembling
from edgepack.toolchain.recipe import Recipe, make
from edgepack.toolchain.results import ArtifactResult, Parity

SAMPLES = 32
TOP = 8
_TFLITE_SAMPLES = 8
_TFLITE_TOP = 3
_EXACT_DB = 100.0
"""A layer that adds less noise than this rounds as float32 does when it computes in another order."""
_MOST_TRIES = 4


def bisect(
    folder: Path,
    asked: Asked | None = None,
    *,
    top: int = TOP,
    samples: int = SAMPLES,
    cache: Cache | None = None,
    listener: Listener | None = None,
) -> Blame:
    """Blame the layers of one quantized artifact of a bundle.

    Args:
        folder: The bundle.
        asked: Which artifact; by default a rejected one, else a shipped one.
        top: How many layers are tried alone.
        samples: Held-out inputs that the layers' noise is measured on, at most; outputs are judged on all.
        cache: Where finished stages are kept; the user's cache unless given.
        listener: Told of stages and warnings as they come.

    Raises:
        EdgepackError: See `opening.opened`; or the artifact's file form is not known here.
    """
    with opened(folder, asked or Asked(), cache, listener) as one:
        return _blame(one, top, samples)


def apply(
    blame: Blame,
    asked: Asked,
    kept: int,
    out: Path,
    cache: Cache | None = None,
    listener: Listener | None = None,
) -> Applied:
    """Export again with the first `kept` layers of the order float.

    Raises:
        UsageError: There are not so many.
        EdgepackError: As of an export; an artifact that fails its gate is no error, the result says so.
    """
    from edgepack.toolchain import bundle as bundles
    from edgepack.toolchain import pipeline

    if not 1 <= kept <= len(blame.order):
        raise UsageError(
            f"{kept} layers cannot be kept: {len(blame.order)} add noise", where="--apply", todo="Give fewer"
        )
    old = bundles.load(Path(blame.bundle))
    several = len({line.part for line in old.manifest.candidates}) > 1
    nodes = [f"{blame.part}:{node}" if several else node for node in blame.order[:kept]]
    trust = {"trust_pickle": asked.trust_pickle, "trust_remote_code": asked.trust_remote_code}
    recipe = _kept(make(**{**old.manifest.recipe, **trust}), blame.target, blame.precision, nodes, str(out))
    new = pipeline.run(recipe, cache=cache, listener=listener)

    def find(artifacts: Sequence[ArtifactResult]) -> ArtifactResult | None:
        key = (blame.target, blame.part, blame.precision)
        return next((a for a in artifacts if (a.target, a.part, a.precision) == key), None)

    after = find([*new.artifacts, *new.rejected])
    if after is None:
        raise TargetError(
            f"The export with kept layers gave no {blame.precision} for {blame.target}", where=str(out)
        )
    return Applied(
        bundle=str(out),
        kept=kept,
        before=find([*old.artifacts, *old.rejected]),
        after=after,
        passed=after.parity.passed,
    )


def _blame(one: Opened, top: int, samples: int) -> Blame:
    lowered, log = one.candidate.lowered, one.builder.bench.log
    assert lowered is not None  # noqa: S101 - `opened` raised otherwise
    assert one.candidate.parity is not None  # noqa: S101 - likewise
    kinds = {one.base.format, lowered.format}
    if kinds not in ({"onnx"}, {"tflite"}):
        raise TargetError(
            f"Layers of {' and '.join(sorted(kinds))} files cannot be compared",
            where=one.target.name,
            todo="Blame an artifact of a target that works on ONNX or TFLite files",
        )
    if "keep" not in one.quantizer.options_type.model_fields:
        raise TargetError(
            f"The quantizer {one.offer.quantizer} cannot keep single layers float",
            where=f"{one.target.name} {one.offer.precision}",
        )
    is_onnx = lowered.format == "onnx"
    feeds, reference, name, data = one.builder.judged_on(lowered, quantized=True)
    threads = max(one.recipe.threads, usable_cores())
    gate = one.builder.gate(one.offer)
    bench = trials.Bench(feeds, reference, gate, name, data, threads)
    feeds = feeds[:samples]
    with log.stage("noise of every layer") as record:
        if is_onnx:
            layers = noise.measure(one.base, lowered.path, feeds, threads)
            trial = trials.onnx_trial(one, bench)
        else:
            feeds = feeds[:_TFLITE_SAMPLES]
            layers = tflite_noise.measure(one.base, lowered.path, feeds, one.target.session)
            trial = trials.tflite_trial(one, bench)
            top = min(top, _TFLITE_TOP)
        order = sorted((one for one in layers if _adds(one)), key=lambda one: one.added_db or 0.0)
        record.detail = f"{len(order)} of {len(layers)} layers add noise"
    with log.stage("layers kept one by one"):
        for layer in order[:top]:
            layer.cosine_alone = trial([layer]).cosine
    start = bench.judge(one.target.session, lowered.path, one)
    with log.stage("layers kept together"):
        steps, offered = fixing.search(order, trial, start)
    blame = Blame(
        bundle=str(one.bundle.path),
        target=one.target.name,
        part=one.builder.part.name,
        precision=one.offer.precision,
        parity=one.candidate.parity,
        inputs=len(feeds),
        data=data,
        added_by="running it on float inputs" if is_onnx else "difference to its noisiest input",
        layers=layers,
        order=[layer.node for layer in order],
        start=start,
        steps=steps,
    )
    if offered is not None:
        _confirm(one, blame, offered)
    return blame


def _adds(layer: LayerNoise) -> bool:
    return layer.added_db is not None and layer.added_db < _EXACT_DB


def _confirm(one: Opened, blame: Blame, offered: int) -> None:
    """Build what the trials found with the quantizer itself; keep more where that does not pass after all."""
    for _ in range(_MOST_TRIES):
        keep = one.qualified(blame.order[:offered])
        recipe = _kept(one.recipe, blame.target, blame.precision, keep, f"{blame.bundle}-kept")
        builder = copy.copy(one.builder)
        builder.bench = replace(one.builder.bench, recipe=recipe)
        built = builder.build(one.target, one.offer, one.base, one.base_folder)
        if built.error is not None:
            blame.notes.append(f"Keeping {offered} layers could not be built: {built.error}")
            return
        if built.parity is not None and built.parity.passed:
            blame.offered, blame.confirmed = offered, built.parity
            blame.command = assembling.command(recipe)
            return
        blame.notes.append(
            f"Keeping {offered} layers passed in trials, and not as built: {_failed(built.parity)}"
        )
        offered = min(len(blame.order), offered + max(1, offered // 2))


def _failed(found: Parity | None) -> str:
    return "; ".join(found.failed) if found else "it was not judged"


def _kept(recipe: Recipe, target: str, precision: str, nodes: Sequence[str], out: str) -> Recipe:
    values = recipe.model_dump() | {
        "targets": [target], "precision": precision, "keep": [*recipe.keep, *nodes], "out": out,
    }  # fmt: skip
    return make(**values)
