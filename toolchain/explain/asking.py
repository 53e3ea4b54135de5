"""`explain`: build what `export` would build for a target, judge nothing, and say what stayed off its accelerator."""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.targets.base import Offer, Target, targets
from edgepack.toolchain import bundle as bundles
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import EdgepackError, NothingPlacedError, UsageError
from edgepack.toolchain.events import Listener, Log
from edgepack.toolchain.explain.costs import Costs, costs_of, left_nodes, problems_of
from edgepack.toolchain.explain.results import Explained, Explanation
from edgepack.toolchain.explain.smallest import Prover
from edgepack.toolchain.pipeline import builders_of, planning
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.host_offer import lookups_left
from edgepack.toolchain.pipeline.program_stage import program_folder
from edgepack.toolchain.pipeline.rewriting import rewritten
from edgepack.toolchain.pipeline.variants import all_variants
from edgepack.toolchain.pipeline.workbench import Workbench
from edgepack.toolchain.program import Program
from edgepack.toolchain.recipe import Recipe, make
from edgepack.toolchain.rewrites import base as rewriting

if TYPE_CHECKING:
    import onnx_ir as ir

_REWROTE = "Rewrote "


def explain(
    what: str | Path,
    *,
    target: str | None = None,
    precision: str | None = None,
    save: Path | None = None,
    cache: Cache | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> Explanation:
    """Say what stays off a target's accelerator, why, what would cure it, and what it costs.

    Args:
        what: A bundle, or a model as `export` takes it.
        target: The target; a bundle of one target needs none.
        precision: Which one; what the bundle ships, or every one that the target offers, unless given.
        save: Folder that receives the smallest model that shows each problem, as .onnx; made if it is not there, and
            nothing in it is overwritten.
        cache: Where finished stages are kept; the user's cache unless given.
        listener: Told of stages as they come.
        options: Other fields of `Recipe`: sizes, calibration, inputs, ...

    Returns:
        A form for every part and precision.

    Raises:
        UsageError: The bundle has several targets and none was named, or it lacks the one that was.
        EdgepackError: The model cannot be read, or no form can be built.
    """
    recipe, precisions = _recipe(what, target, precision, options)
    (name,) = recipe.targets
    chosen = targets.get(name)()
    chosen.check()
    if save is not None and save.exists() and (not save.is_dir() or any(save.iterdir())):
        raise UsageError(
            "The folder for the smallest models is not empty", where=f"--save {save}", todo="Name another"
        )
    with _builders(recipe, cache, listener) as found:
        turns = all_variants(found, chosen)
        if save is None:
            forms = [form for on, one in turns for form in _forms(one, on, precisions, None)]
        else:
            with _whole(save) as folder:
                forms = [form for on, one in turns for form in _forms(one, on, precisions, folder)]
        hosted = _hosted(found, chosen, forms)
    errors = [form.error for form in forms if form.error]
    if forms and len(errors) == len(forms):
        raise UsageError(f"Nothing can be explained, for nothing can be built: {errors[0]}", where=name)
    return Explanation(model=recipe.model, target=name, forms=forms, hosted=hosted)


def _hosted(builders: list[Builder], target: Target, forms: list[Explained]) -> list[Explained]:
    """What is left of every form that has lookups on the CPU once they are the host's; tried, and not only promised."""
    wanted = {form.precision for form in forms if form.splits}
    if not wanted:
        return []
    try:
        turns = all_variants(builders, target, hosted=True)
    except EdgepackError as error:
        return [
            Explained(part="core", precision=one, accelerator=0, cpu=0, error=str(error))
            for one in sorted(wanted)
        ]
    return [
        form
        for on, one in turns
        if one.after is not None
        for form in _forms(one, on, {one.part.name: wanted}, None)
    ]


def _recipe(
    what: str | Path, target: str | None, precision: str | None, options: dict[str, Any]
) -> tuple[Recipe, dict[str, set[str]]]:
    """The recipe, and for a bundle the precisions that ship, by part."""
    given = {**options, **({"precision": precision} if precision else {})}
    if not (Path(what) / bundles.MANIFEST).is_file():
        if target is None:
            raise UsageError(
                "A model runs everywhere until a target is named", todo="Add --target npu:ethos-u85-512"
            )
        return make(**{"model": str(what), "targets": [target], **given}), {}
    manifest = bundles.load(Path(what)).manifest
    lines = [*manifest.artifacts, *manifest.rejected]
    there = sorted({line.target for line in lines if line.placement.device or line.placement.reasons})
    if target is None and len(there) != 1:
        raise UsageError(
            f"The bundle has {len(there)} targets with an accelerator",
            where=str(what),
            todo=f"Add --target with one of: {', '.join(there) or 'none'}",
        )
    name = target or there[0]
    shipped: dict[str, set[str]] = {}
    for line in lines:
        if line.target == name and precision in {None, line.precision}:
            shipped.setdefault(line.part, set()).add(line.precision)
    if not shipped:
        raise UsageError(
            f"The bundle has no {precision or 'artifact'} for {name}",
            where=str(what),
            todo=f"It has: {', '.join(sorted({f'{line.target} {line.precision}' for line in lines}))}",
        )
    return make(**{**manifest.recipe, **given, "targets": [name]}), shipped


@contextmanager
def _builders(recipe: Recipe, cache: Cache | None, listener: Listener | None) -> Iterator[list[Builder]]:
    request = SourceRequest(
        recipe.model, recipe.task, tuple(recipe.inputs), recipe.trust_pickle, recipe.trust_remote_code
    )
    source = open_source(request)
    source.check()
    with cache or Cache() as store:
        bench = Workbench(recipe, store, Log(listener), secrets.token_hex(8))
        folder = program_folder(bench, source, source.fingerprint())
        program = Program.load(folder)
        yield builders_of(bench, program, folder, source.request.anywhere().to_json())[0]


@contextmanager
def _whole(save: Path) -> Iterator[Path]:
    """A folder beside `save` that takes its place when all went well, and is gone when not."""
    save.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".explain-", dir=save.parent) as scratch:
        folder = Path(scratch) / "models"
        folder.mkdir()
        yield folder
        folder.replace(save)  # an empty folder there gives way


def _forms(
    builder: Builder, target: Target, precisions: dict[str, set[str]], save: Path | None
) -> Iterator[Explained]:
    part = builder.part.name
    if precisions and part not in precisions:
        return
    base, folder = builder.lower(target)
    offers = builder.offers(target, base, folder)
    for offer in planning.selected(target, offers, builder.bench.recipe.precision):
        if offer.not_built or (precisions and offer.precision not in precisions[part]):
            continue
        try:
            yield _form(builder, target, offer, save)
        except UsageError:
            raise
        except EdgepackError as error:
            yield Explained(part=part, precision=offer.precision, accelerator=0, cpu=0, error=str(error))


def _form(builder: Builder, target: Target, offer: Offer, save: Path | None) -> Explained:
    part = builder.part.name
    base, folder, outcome = rewritten(builder, target, offer, *builder.lower(target))
    candidate = Candidate(target, offer)
    candidate.lowered, place = builder.quantize(candidate, base, folder)
    estimate = None
    try:
        _, compiled = builder.compile(candidate, place)
        placement = compiled.placement
        estimate = None if compiled.estimate is None else compiled.estimate.p50_ms
    except NothingPlacedError as error:
        placement = error.placement
    costs = costs_of(candidate.lowered) if placement.reasons or placement.device else Costs({}, {})
    left = left_nodes(placement, costs)
    found = Explained(
        part=part,
        precision=offer.precision,
        accelerator=placement.accelerator,
        cpu=placement.cpu,
        device=placement.device,
        tool=placement.tool,
        macs=sum(costs.macs.values()) if costs.macs else None,
        bytes=sum(costs.bytes.values()) if costs.bytes else None,
        estimate_ms=estimate,
        rewrites=[note for note in candidate.lowered.notes if note.startswith(_REWROTE)],
        left=left,
        problems=problems_of(left, max(placement.accelerator + placement.cpu, 1)),
        splits=lookups_left(builder, target, placement) > 0,
    )
    if save is not None and found.problems:
        names = () if outcome is None else outcome.names
        model = _graph(builder, target, offer, names)
        prover = Prover(target, offer, builder.context(target, names, offer.precision))
        for index, problem in enumerate(found.problems):
            name = f"{part}-{offer.precision}-{index + 1}-{_safe(problem.op)}.onnx"
            try:
                problem.smallest_nodes = prover.smallest(model, problem, save / name)
                problem.smallest = name
            except EdgepackError as error:
                problem.not_cut = error.what
    return found


def _graph(builder: Builder, target: Target, offer: Offer, names: tuple[str, ...]) -> ir.Model:
    """The graph that was lowered: rewritten, with fixed sizes."""
    from edgepack.toolchain.passes.pinned import pin_sizes

    model = builder.part.model()
    pin_sizes(model, builder.sizes)
    device = target.rewrites_for(offer.precision, builder.sizes)
    if device is not None:
        rewriting.apply(model, names, device)
    return model


def _safe(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
