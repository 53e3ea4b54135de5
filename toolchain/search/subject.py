"""The model that a search works on, opened through the pipeline: lowered, with its data, reference and gate.

A search builds hundreds of candidates, most of which nobody wants again: they are made in a scratch folder and not in
the cache. What comes before them (export, lowering) is the pipeline's own, and so are target, data and gate: the
candidate that is chosen goes through export once more and finds the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.quantize.base import CalibrationData
from edgepack.quantize.data import fit
from edgepack.quantize.onnx_mixed import Mixer
from edgepack.targets.base import Offer, Target
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.events import Listener, Log
from edgepack.toolchain.pipeline import builders_of, resolve_targets
from edgepack.toolchain.pipeline.program_stage import program_folder
from edgepack.toolchain.pipeline.workbench import Workbench, versions
from edgepack.toolchain.program import Lowered, Program

if TYPE_CHECKING:
    from edgepack.toolchain.cache import Cache
    from edgepack.toolchain.pipeline.candidates import Builder
    from edgepack.toolchain.pipeline.metering import Meter
    from edgepack.toolchain.pipeline.references import Reference
    from edgepack.toolchain.search.settings import Settings

PRECISION = "mixed"
OFFER = Offer(PRECISION, "onnx-mixed")
SEPARATOR = ","


@dataclass
class Subject:
    """One network of a search: the model, or one of its sub-networks.

    Attributes:
        builder: What lowers it, and knows its data and gate.
        target: Where it is to run.
        base: The float file in the target's form.
        meter: What takes the user's metric, if it is one of its own.
        identity: Hashes and versions that must not change while a search goes on.
    """

    builder: Builder
    target: Target
    base: Lowered
    meter: Meter | None
    identity: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def data(self) -> CalibrationData:
        """Samples that calibrate, and others that judge."""
        return fit(self.builder.data, self.base.signature)

    @cached_property
    def mixer(self) -> Mixer:
        """What builds its assignments."""
        return Mixer(self.base, self.data)

    @cached_property
    def judged(self) -> Reference:
        """Held-out inputs, the fp32 program's outputs, what made them, and what they are."""
        return self.builder.judged_on(self.base, quantized=True)

    @cached_property
    def gate(self) -> dict[str, float]:
        """The bounds that export will hold a mixed artifact to."""
        return self.builder.gate(OFFER)


def named_model(model: str, choices: Mapping[str, str]) -> str:
    """The location of a sub-network: `zoo:NAME/width=64,depth=2`."""
    if not choices:
        return model
    chosen = SEPARATOR.join(f"{name}={value}" for name, value in choices.items())
    return f"{model.partition('/')[0]}/{chosen}"


def declared_choices(model: str) -> dict[str, list[str]]:
    """Sub-network choices that an architecture of the zoo declares, as text, largest first; none otherwise."""
    from edgepack.exporters.architectures.base import architectures
    from edgepack.exporters.sources.zoo import PREFIX

    if not model.startswith(PREFIX) or "/" in model:
        return {}
    found = architectures.get(model.removeprefix(PREFIX), where=model)
    return {name: [str(value) for value in values] for name, values in found.choices.items()}


def open_subject(
    settings: Settings, cache: Cache, choices: Mapping[str, str], listener: Listener | None = None
) -> Subject:
    """Export (or take from the cache) and lower one network.

    Args:
        settings: Of the search.
        cache: Where finished stages are kept.
        choices: Sub-network choices by name; empty for the model itself.
        listener: Told of stages.

    Raises:
        UsageError: Something about the request rules a search out.
        EdgepackError: The model cannot be exported or lowered.
    """
    recipe = settings.recipe.model_copy(update={"model": named_model(settings.recipe.model, choices)})
    target = _target(recipe.targets)
    source = open_source(
        SourceRequest(
            recipe.model, recipe.task, tuple(recipe.inputs), recipe.trust_pickle, recipe.trust_remote_code
        )
    )
    source.check()
    bench = Workbench(recipe, cache, Log(listener), settings.run_id)
    folder = program_folder(bench, source, source.fingerprint())
    program = Program.load(folder)
    builders, meter = builders_of(bench, program, folder, source.request.anywhere().to_json())
    by_name = {builder.part.name: builder for builder in builders}
    if settings.part is not None and settings.part not in by_name:
        raise UnknownNameError("part", settings.part, by_name, where="--part")
    if settings.part is None and len(by_name) > 1:
        raise UsageError(
            f"The model has several parts, {', '.join(by_name)}, and one is searched at a time",
            where=recipe.model,
            todo="Name one with --part",
        )
    builder = by_name[settings.part] if settings.part else builders[0]
    if meter is not None and len(by_name) > 1:
        raise UsageError(
            "A metric of several parts together cannot judge one of them",
            where="--metric",
            todo="Leave --metric out; the agreement with fp32 judges then",
        )
    base, base_folder = builder.lower(target)
    if base.format != "onnx":
        raise UsageError(
            f"{target.name} takes {base.format}, and forms can be mixed in ONNX files only",
            where="--target",
            todo="Use --target cpu:onnxruntime",
        )
    identity = {
        "lowered": bench.digest(base_folder),
        "data": builder.data.fingerprint,
        "versions": versions("onnxruntime", *(r.distribution for r in target.requirements()), of=[target]),
    }
    return Subject(builder, target, base, meter if meter is not None else None, identity)


def _target(names: list[str]) -> Target:
    found = resolve_targets(names)
    if len(found) != 1 or not found[0].runs_here:
        raise UsageError(
            f"A search measures one target that runs here, not {', '.join(names)}",
            where="--target",
            todo="Use --target cpu:onnxruntime",
        )
    return found[0]
