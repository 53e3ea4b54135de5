"""From a bundle back to the float file and the quantized candidate that an artifact was made of.

A bundle holds what ships. The files in between come from the cache, or are made again from the bundle's own
recipe; the source must still be the one that the bundle was made from.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.quantize.base import Quantizer, quantizers
from edgepack.targets.base import Offer, Target, targets
from edgepack.toolchain import bundle as bundles
from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.errors import BundleError, UnknownNameError, UsageError
from edgepack.toolchain.events import Listener, Log
from edgepack.toolchain.pipeline import builders_of
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.candidates import Builder
from edgepack.toolchain.pipeline.program_stage import program_folder, source_facts
from edgepack.toolchain.pipeline.variants import all_variants
from edgepack.toolchain.pipeline.workbench import Workbench
from edgepack.toolchain.program import Lowered, Program
from edgepack.toolchain.recipe import Recipe, make
from edgepack.toolchain.results import CandidateResult


@dataclass(frozen=True)
class Asked:
    """Which artifact of a bundle is meant; what is None is chosen here.

    Attributes:
        target: Its target.
        part: Its part.
        precision: Its precision, which may be one that lost.
        trust_pickle: Whether weights may be unpickled: a bundle does not decide that.
        trust_remote_code: Whether code in the model's folder may run, likewise.
    """

    target: str | None = None
    part: str | None = None
    precision: str | None = None
    trust_pickle: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Opened:
    """One quantized artifact with everything that made it.

    Attributes:
        bundle: The bundle.
        builder: Builds candidates of the artifact's part.
        target: The target.
        offer: The precision, and how it is made.
        base: The float file.
        base_folder: The stage it lies in.
        candidate: The artifact, built again or taken from the cache, and judged.
    """

    bundle: Bundle
    builder: Builder
    target: Target
    offer: Offer
    base: Lowered
    base_folder: Path
    candidate: Candidate

    @property
    def recipe(self) -> Recipe:
        """The recipe of the bundle."""
        return self.builder.bench.recipe

    @property
    def quantizer(self) -> Quantizer:
        """What makes the precision."""
        return quantizers.get(str(self.offer.quantizer))()

    def qualified(self, nodes: Sequence[str]) -> list[str]:
        """Names of nodes as a recipe keeps them."""
        several = len(self.builder.program.parts) > 1
        return [f"{self.builder.part.name}:{node}" if several else node for node in nodes]


@contextmanager
def opened(
    folder: Path, asked: Asked, cache: Cache | None = None, listener: Listener | None = None
) -> Iterator[Opened]:
    """Open a bundle's artifact while the cache is in use.

    Raises:
        BundleError: The folder is no bundle.
        UsageError: The bundle has no such artifact, it is not quantized, or its model has changed.
        EdgepackError: The candidate cannot be built again.
    """
    bundle = bundles.load(folder)
    line = choose(bundle, asked)
    recipe = make(
        **{
            **bundle.manifest.recipe,
            "trust_pickle": asked.trust_pickle,
            "trust_remote_code": asked.trust_remote_code,
        }
    )
    target = targets.get(line.target)()
    target.check()
    source = open_source(
        SourceRequest(
            recipe.model, recipe.task, tuple(recipe.inputs), recipe.trust_pickle, recipe.trust_remote_code
        )
    )
    source.check()
    with cache or Cache() as store:
        bench = Workbench(recipe, store, Log(listener), secrets.token_hex(8))
        with bench.log.stage("fingerprint"):
            fingerprint = source.fingerprint()
        expected = bundle.manifest.source.fingerprint
        if fingerprint is not None and fingerprint != expected:
            raise _changed(bundle)
        place = program_folder(bench, source, fingerprint)
        program = Program.load(place)
        if source_facts(program, fingerprint, bench.digest(place), recipe.model).fingerprint != expected:
            raise _changed(bundle)
        builders, _ = builders_of(bench, program, place, source.request.anywhere().to_json())
        turns = all_variants(builders, target)
        target, builder = next(turn for turn in turns if turn[1].part.name == line.part)
        base, base_folder = builder.lower(target)
        offer = _offer(builder.offers(target, base, base_folder), line)
        candidate = builder.build(target, offer, base, base_folder)
        if candidate.error is not None:
            raise candidate.error
        if candidate.base is not None and candidate.base != base:  # rewritten for the accelerator
            base, base_folder = candidate.base, candidate.base.path.parent
        yield Opened(bundle, builder, target, offer, base, base_folder, candidate)


def choose(bundle: Bundle, asked: Asked) -> CandidateResult:
    """The candidate that is meant: of those that fit, a rejected one first, then a shipped one, then any other.

    Raises:
        UsageError: There is none, or it is not quantized.
    """
    lines = [line for line in bundle.manifest.candidates if line.parity is not None]
    if not lines:
        raise BundleError("Nothing in this bundle was built and judged", where=str(bundle.path))
    for kind in ("target", "part", "precision"):
        wanted = getattr(asked, kind)
        if wanted is None:
            continue
        known = dict.fromkeys(getattr(line, kind) for line in lines)
        if wanted not in known:
            raise UnknownNameError(f"{kind} in this bundle", wanted, known, where=str(bundle.path))
        lines = [line for line in lines if getattr(line, kind) == wanted]
    rejected = {(one.target, one.part, one.precision): i for i, one in enumerate(bundle.rejected)}

    def rank(line: CandidateResult) -> tuple[int, int]:
        place = rejected.get((line.target, line.part, line.precision))
        return (0, place) if place is not None else (1 if line.outcome == "chosen" else 2, 0)

    quantized = [line for line in lines if line.precision not in {"fp32", "as-given"}]
    shipped = {line.target for line in lines if line.outcome == "chosen"} & {
        line.target for line in lines if line.precision in {"fp32", "as-given"} and line.outcome == "chosen"
    }
    best = min(quantized, key=rank, default=None)
    if best is None or (rank(best)[0] == 2 and asked.precision is None):  # noqa: PLR2004 - neither rejected nor shipped
        others = ", ".join(f"--target {line.target} --precision {line.precision}" for line in quantized)
        raise UsageError(
            f"The artifact of {', '.join(sorted(shipped)) or lines[0].target} is fp32: nothing in it was rounded",
            where=str(bundle.path),
            todo=f"To blame one that lost, add {others}"
            if others
            else "Export it with --precision auto or int8",
        )
    return best


def _offer(offers: Sequence[Offer], line: CandidateResult) -> Offer:
    for offer in offers:
        if offer.precision == line.precision and offer.quantizer is not None:
            return Offer(offer.precision, offer.quantizer, offer.options)
    raise UsageError(
        f"{line.target} no longer offers {line.precision} for this model",
        todo="Export the bundle again with this edgepack",
    )


def _changed(bundle: Bundle) -> UsageError:
    return UsageError(
        f"The model at {bundle.manifest.source.location} is not the one that this bundle was made from: its "
        "fingerprint differs",
        where=str(bundle.path),
        todo=f"Export it again: {bundle.manifest.command}",
    )
