"""Building a target's candidates: lower, quantize, compile, and judge each against the reference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.quantize.data import fit
from edgepack.targets.base import Compiled, Context, Offer, Target
from edgepack.toolchain import parity
from edgepack.toolchain.assignment import read_assignment
from edgepack.toolchain.errors import EdgepackError, GateError, NothingPlacedError, TargetError, UsageError
from edgepack.toolchain.language import Language
from edgepack.toolchain.metrics import Metric
from edgepack.toolchain.pipeline import contract, host_offer, judging, recording
from edgepack.toolchain.pipeline.asked import asked_options, gate_of
from edgepack.toolchain.pipeline.calibrating import calibration
from edgepack.toolchain.pipeline.candidate import Candidate
from edgepack.toolchain.pipeline.hosting import through
from edgepack.toolchain.pipeline.lowered import check_lowered
from edgepack.toolchain.pipeline.metering import Meter
from edgepack.toolchain.pipeline.padding import padded
from edgepack.toolchain.pipeline.phases import rows
from edgepack.toolchain.pipeline.references import Reference, References
from edgepack.toolchain.pipeline.rewriting import notes as rewriting_notes
from edgepack.toolchain.pipeline.rewriting import rewritten
from edgepack.toolchain.pipeline.told import told
from edgepack.toolchain.pipeline.verdict import kept_verdict, raise_verdict
from edgepack.toolchain.pipeline.workbench import (
    RECORDS_FILE,
    NotKeptError,
    Workbench,
    read_json,
    target_versions,
)
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.results import Parity, StageRecord
from edgepack.toolchain.rewrites import base as rewriting
from edgepack.toolchain.whole import Whole

COMPILED_FILE = "compiled.json"
OFFERS_FILE = "offers.json"


@dataclass
class Builder:
    """Builds candidates of one part for any target, sharing lowering, data and references.

    Attributes:
        bench: The run's tools.
        program: The verified program.
        part: Its part.
        folder: The program's folder in the cache.
        source: The source as JSON, for workers.
        metric: The user's metric, if there is one.
        meter: What takes it, where it is not an agreement that `parity` measures anyway.
        siblings: The builders of all parts, by name.
        bucket: Sizes that stand in for the recipe's.
        whole: What the part is a piece of, where callers see something larger.
        origin: The builder of that whole.
        after: The part that is run before this one, and gives it inputs.
    """

    bench: Workbench
    program: Program
    part: Part
    folder: Path
    source: Mapping[str, Any]
    metric: Metric | None = None
    meter: Meter | None = None
    siblings: Mapping[str, Builder] = field(default_factory=dict, repr=False)
    bucket: Mapping[str, int] = field(default_factory=dict)
    whole: Whole | None = None
    origin: Builder | None = field(default=None, repr=False)
    after: Part | None = None
    derived: dict[str, list[Builder]] = field(default_factory=dict, repr=False)
    _judged_folders: dict[tuple[str, str], Path] = field(default_factory=dict)

    @cached_property
    def references(self) -> References:
        """What the part's artifacts are judged on."""
        return References(self.part)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Size of every named dimension for static targets and timing."""
        recipe = self.bench.recipe
        sizes = {name: recipe.size_of(name, example) for name, example in self.part.example_sizes().items()}
        return sizes | dict(self.bucket)

    @cached_property
    def data(self) -> CalibrationData:
        """Calibration and held-out data, with a warning when they are not the user's."""
        if self.origin is not None:
            return self._as_called(self.origin)
        return calibration(self.bench, self.program, self.part, self.sizes, self._text)

    def _as_called(self, origin: Builder) -> CalibrationData:
        """Data of the part that callers see, in this one's sizes and padded as theirs will be, as it comes here."""
        sizes = {**origin.sizes, **self.bucket}
        data = calibration(self.bench, origin.program, origin.part, sizes, origin._text)
        if self.whole is not None and self.bucket:
            data = padded(data, self.whole, self.bucket)
        if self.after is None:
            return data
        return through(data, origin.part.signature.pinned(sizes), self.after, self.part.signature)

    def context(
        self, target: Target | None = None, rewrites: tuple[str, ...] = (), precision: str | None = None
    ) -> Context:
        """What targets may use of the run; for one that compiles, what the user told it too."""
        recipe = self.bench.recipe
        options = told(recipe, target) if target else {}
        return Context(
            self.source, self.sizes, recipe.time_limit_s, recipe.threads, recipe.static, options, rewrites, precision
        )  # fmt: skip

    def lower(
        self,
        target: Target,
        rewrites: tuple[str, ...] = (),
        precision: str | None = None,
        *,
        trial: bool = False,
    ) -> tuple[Lowered, Path]:
        """The part in the target's file form, in floating point, verified.

        Args:
            target: The target.
            rewrites: Applied to the graph first, by name.
            precision: What they are for.
            trial: Whether there is something else to ship: then a refusal is kept (`verdict`).

        Raises:
            TargetError: The target cannot take this program, or do what it was told.
            GateError: The lowered file does not agree with the program.
        """
        contract.checked_sessions(target)
        told(self.bench.recipe, target)  # what it cannot do is said before anything is built

        kept = (GateError,) * bool(rewrites) + (TargetError,) * trial

        def build(folder: Path, record: StageRecord) -> None:
            with kept_verdict(folder, record, *kept):
                made = target.lower(
                    self.program, self.part, self.context(rewrites=rewrites, precision=precision), folder
                )
                lowered = contract.checked_lowered(target, made)
                lowered.save(folder)
                check_lowered(self.part, lowered, target, record)

        key = {
            "lowering": target.lower_key(),
            "part": self.part.name,
            "program": self.bench.digest(self.folder),
            "sizes": self.sizes,
            "static": self.bench.recipe.static,
            "time limit": None,
            "versions": target_versions(target),
        }
        if rewrites:
            key |= {
                "rewrites": rewriting.versions(rewrites),
                "device": str(target.rewrites_for(precision or "", {})),
            }
        name = f"{'rewrite and ' if rewrites else ''}lower to {target.lower_key()}"
        folder = self.bench.keep(name, key, build, part=self.part.name)
        raise_verdict(folder)
        return Lowered.load(folder), folder

    def offers(self, target: Target, lowered: Lowered, folder: Path) -> list[Offer]:
        """What the target offers for the lowered part; kept, because finding out reads the graph."""

        def build(out: Path, record: StageRecord) -> None:
            made = target.offers(lowered, rows(self.program, self.part.name, self.sizes))
            offers = contract.checked_offers(target, made)
            record.detail = ", ".join(offer.precision for offer in offers if offer.not_built is None)
            listed = [{**asdict(offer), "options": dict(offer.options)} for offer in offers]
            (out / OFFERS_FILE).write_text(json.dumps(listed))

        key = {
            "target": target.name,
            "lowered": self.bench.digest(folder),
            "sizes": self.sizes,
            "versions": target_versions(target),
        }
        return [
            *self._assigned(lowered),
            *(
                Offer(**row)
                for row in read_json(
                    self.bench.keep("plan", key, build, target=target.name, part=self.part.name) / OFFERS_FILE
                )
            ),
        ]

    def _assigned(self, lowered: Lowered) -> list[Offer]:
        """The form of every layer that the user named in a file, where the file speaks of this part."""
        path = self.bench.recipe.assign
        if path is None or lowered.format != "onnx":
            return []
        forms = read_assignment(Path(path)).get(self.part.name)
        return [] if forms is None else [Offer("mixed", "onnx-mixed", {"assign": forms})]

    def build(self, target: Target, offer: Offer, base: Lowered, base_folder: Path) -> Candidate:
        """Quantize, compile and judge one offer; an error is kept in the candidate, not raised."""
        candidate = Candidate(target, offer)
        try:
            candidate.base, base_folder, outcome = rewritten(self, target, offer, base, base_folder)
            candidate.lowered, folder = self.quantize(candidate, candidate.base, base_folder)
            candidate.folder, candidate.compiled = self.compile(candidate, folder)
            offered = host_offer.note(self, target, candidate.compiled.placement)
            said = (*candidate.compiled.notes, *rewriting_notes(outcome), *offered)
            candidate.compiled = replace(candidate.compiled, notes=said)
            candidate.parity = self._judge(candidate, candidate.base)
        except (UsageError, NotKeptError):
            raise
        except EdgepackError as error:
            candidate.error = error
        except Exception as error:  # noqa: BLE001 - of anybody's target; its other precisions go on
            candidate.error = contract.fault_of(target.name, error)
        return candidate

    def quantize(
        self, candidate: Candidate, base: Lowered, base_folder: Path, *, trial: bool = False
    ) -> tuple[Lowered, Path]:
        """The lowered part in the candidate's precision, and its stage; a trial's refusal is kept."""
        offer, target = candidate.offer, candidate.target
        if offer.quantizer is None:
            return base, base_folder
        quantizer = quantizers.get(offer.quantizer)()
        options = asked_options(
            self.bench.recipe, self.program, self.part.name, offer, quantizer, target.name
        )
        # Noise says nothing of outliers: what can do without data does so rather than learn from it.
        wanted = quantizer.static or (quantizer.uses_data and self.data.facts.kind != "synthetic")
        data = fit(self.data, base.signature) if wanted else None
        if data is not None:
            candidate.calibration = data.facts

        def build(folder: Path, record: StageRecord) -> None:
            with kept_verdict(folder, record, *(TargetError,) * trial):
                made = quantizer.quantize(base, offer.precision, data, folder, **options)
                made.save(folder)
                record.changes = {offer.quantizer or "": made.changed_nodes or 0}

        key = {
            "lowered": self.bench.digest(base_folder),
            "quantizer": offer.quantizer,
            "precision": offer.precision,
            "options": options,
            "data": data.fingerprint if data else None,
            "versions": target_versions(target),
        }
        folder = self.bench.keep(
            "quantize", key, build, target=target.lower_key(), part=self.part.name, precision=offer.precision
        )
        raise_verdict(folder)
        return Lowered.load(folder), folder

    def compile(self, candidate: Candidate, folder: Path, *, trial: bool = False) -> tuple[Path, Compiled]:
        """The stage of the compiled files, and what the target said of them.

        That nothing was placed is kept, and of a trial every refusal (`verdict`).
        """
        target, lowered = candidate.target, candidate.lowered
        assert lowered is not None  # noqa: S101

        def build(out: Path, record: StageRecord) -> None:
            with kept_verdict(out, record, TargetError if trial else NothingPlacedError):
                made = target.compile(lowered, self.context(target), out)
                compiled = contract.checked_compiled(target, made, out)
                (out / COMPILED_FILE).write_text(json.dumps(compiled.to_json()))
                record.detail = f"{compiled.tool.name} {compiled.tool.version}"

        key = {
            "target": target.name,
            "lowered": self.bench.digest(folder),
            "options": told(self.bench.recipe, target),
            "versions": target_versions(target),
        }
        out = self.bench.keep(
            "compile",
            key,
            build,
            target=target.name,
            part=self.part.name,
            precision=candidate.offer.precision,
        )
        raise_verdict(out)
        return out, Compiled.from_json(read_json(out / COMPILED_FILE))

    def _judge(self, candidate: Candidate, base: Lowered) -> Parity:
        """The artifact on the host against the reference; the record of it is kept for `recorded`."""
        record = StageRecord.model_validate(read_json(self._judged(candidate, base.path) / RECORDS_FILE))
        assert record.parity is not None  # noqa: S101
        # The same file may stand for what cannot be run, and be what ships elsewhere.
        return record.parity.model_copy(update={"unverified": candidate.target.unverified})

    def recorded(self, candidate: Candidate) -> Path:
        """Folder of the calls that travel with a judged artifact (`recording`)."""
        return self._judged_folders[candidate.target.name, candidate.offer.precision]

    def _judged(self, candidate: Candidate, float_file: Path) -> Path:
        """Cases for float, held-out data for the rest; targets that run the same file share the result."""
        target, offer, lowered = candidate.target, candidate.offer, candidate.lowered
        assert candidate.folder is not None and lowered is not None  # noqa: S101, PT018
        gate = self.gate(offer)
        quantized = offer.quantizer is not None
        key = {
            "files": self._run_hashes(candidate),
            "session": target.session,
            "program": self.bench.digest(self.folder),
            "part": self.part.name,
            "data": self.data.fingerprint if quantized else "cases",
            "signature": asdict(lowered.signature),
            "gate": gate,
            "metric": meter.key if (meter := self._own_meter(offer)) else None,
            "versions": target_versions(target, "onnxruntime"),
        }

        def build(folder: Path, record: StageRecord) -> None:
            feeds, reference, name, data = self.judged_on(lowered, quantized=quantized)
            # Some integer kernels take a second a call; their results do not depend on threads.
            asked = self.bench.recipe.threads
            threads = max(asked, self.bench.cores) if quantized else asked
            got = judging.run(target.session, candidate.run_path, lowered.signature, feeds, threads)
            also = ("top1", "neighbours") if quantized else ()
            record.parity = parity.compare(reference, got, gate, also=also, reference_name=name, data=data)
            if meter:
                meter.judge(
                    record.parity, {self.part.name: (target.session, candidate.run_path, lowered.signature)}
                )
            if quantized and not record.parity.passed:
                judging.blame(target.session, float_file, candidate.run_path, feeds[0], record.parity)
            count = recording.fitting(feeds, reference)
            recording.write(folder, feeds[:count], reference[:count], got[:count], gate)

        folder = self.bench.keep(
            "verify", key, build, target=target.name, part=self.part.name, precision=offer.precision
        )
        self._judged_folders[target.name, offer.precision] = folder
        return folder

    def _run_hashes(self, candidate: Candidate) -> list[str]:
        """Hashes of the file that the host runs, and of the weights beside it (an OpenVINO IR names theirs itself)."""
        assert candidate.folder is not None and candidate.compiled is not None  # noqa: S101, PT018
        run_file = candidate.compiled.run_file
        hashes = self.bench.cache.hashes(candidate.folder)
        return [pair.sha256 for name, pair in sorted(hashes.items()) if name.startswith(run_file)]

    def judged_on(self, lowered: Lowered, *, quantized: bool) -> Reference:
        """Feeds and reference outputs for an artifact of `lowered`."""
        return self.references.held_out(lowered, self.data) if quantized else self.references.cases(lowered)

    def gate(self, offer: Offer) -> dict[str, float]:
        """The bounds for an offer."""
        return gate_of(self.bench.recipe, self.program, self.part, self.metric, offer)

    def _own_meter(self, offer: Offer) -> Meter | None:
        """What takes the metric of a candidate by itself: parts of a program are judged together."""
        return self.meter if offer.quantizer is not None and len(self.program.parts) == 1 else None

    def _text(self) -> CalibrationData | None:
        """Data of the part that takes text, for the steps that follow it."""
        language = Language.of(self.program)
        if language is None or language.step != self.part.name:
            return None
        return self.siblings[language.prompt].data
