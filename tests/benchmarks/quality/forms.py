"""All forms in which a target offers a model: built one by one, opened, timed against fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgepack
from edgepack.runtime.sessions.base import Session, sessions
from edgepack.runtime.timing import measure_together
from edgepack.toolchain.bundle import Bundle
from edgepack.toolchain.program import Signature
from edgepack.toolchain.results import ArtifactResult
from tests.benchmarks.quality.paired import Estimate

_NO_GATE = {"cosine": -1.0, "min_cosine": -1.0, "max_abs_error": 1e9}


@dataclass(frozen=True)
class Form:
    """A model on a target in a precision.

    Attributes:
        bundle: Holds this form, perhaps beside other targets' ones.
        target: Name.
        precision: Name.
        chosen: Whether `--precision auto` ships it.
        may_ship: Whether `--precision auto` built it and its gate let it pass, so that it ships where it is fastest.
    """

    bundle: Bundle
    target: str
    precision: str
    chosen: bool
    may_ship: bool

    @property
    def artifacts(self) -> list[ArtifactResult]:
        """One a part."""
        return [artifact for artifact in self.bundle.artifacts if artifact.target == self.target]

    @property
    def nodes(self) -> int | None:
        """That the quantizer changed in all parts."""
        counts = [artifact.changed_nodes for artifact in self.artifacts]
        return sum(count for count in counts if count is not None) if any(counts) else None

    @property
    def size_bytes(self) -> int:
        """Of all files, those that parts share counted once."""
        names = {name for artifact in self.artifacts for name in artifact.files}
        return sum(self.bundle.manifest.files[name].size_bytes for name in names)


def forms(model: str, targets: Sequence[str], out: Path, **options: Any) -> Iterator[Form]:
    """Every precision that the targets offer for a model, whatever its gate says; fp32 first.

    A factory runs anew at every export, so that one export makes a precision for all targets.

    Args:
        model: As `export` takes it.
        targets: Names of targets.
        out: Folder for the bundles.
        options: Of `edgepack.export`.
    """
    planned = edgepack.export(model, targets=targets, out=out / "auto", check=False, **options)
    chosen = {(artifact.target, artifact.precision) for artifact in planned.artifacts}
    candidates = planned.manifest.candidates
    passed = {(c.target, c.precision) for c in candidates if c.outcome in {"chosen", "slower"}}
    offered = dict.fromkeys(candidate.precision for candidate in candidates)
    for precision in sorted(offered, key=lambda name: name != "fp32"):
        bundle = edgepack.export(
            model,
            targets=targets,
            out=out / precision,
            check=False,
            precision=precision,
            measure=False,
            gate=_NO_GATE,
            **options,
        )
        for failure in bundle.failures:
            print(f"{failure.target} {precision}: {failure.error}")
        for target in targets:
            this = (target, precision)
            form = Form(bundle, target, precision, chosen=this in chosen, may_ship=this in passed)
            if form.artifacts:
                yield form


@contextmanager
def opened(form: Form, part: str = "main") -> Iterator[tuple[Session, Signature]]:
    """A part's session and signature."""
    artifact = next(a for a in form.artifacts if a.part == part)
    facts = artifact.run
    assert facts is not None
    signature = Signature.from_json(facts.signature)
    with sessions.get(facts.session)(form.bundle.file(facts.file), signature, threads=1) as session:
        yield session, signature


def speed(
    fp32: Form | None, form: Form, part: str, feed: Callable[[Signature], Mapping[str, Any]]
) -> Estimate | None:
    """How many times as fast as the target's fp32; None without one, or for fp32 itself.

    Args:
        fp32: The same target's float form, where it has one that runs here.
        form: The form.
        part: The part that is called.
        feed: Its inputs by a signature.
    """
    if fp32 is None or form.precision == "fp32":
        return None
    with opened(fp32, part) as (slow, wide), opened(form, part) as (fast, narrow):
        first, second = feed(wide), feed(narrow)
        timed = measure_together(
            {"fp32": lambda: slow.run(first), "form": lambda: fast.run(second)},
            "fp32",
            threads=1,
            shapes={name: list(value.shape) for name, value in first.items()},
            max_seconds=20.0,
        )
    ratio = timed.comparisons["form"]
    return Estimate(ratio.ratio, ratio.ci_low, ratio.ci_high)
