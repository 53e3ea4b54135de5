"""What edgepack ships for a row: the fastest artifact of a bundle that `--precision auto` made under the row's gate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.benchmarks.peers import models
from tests.benchmarks.peers.models import Row

if TYPE_CHECKING:
    import numpy as np

    from tests.benchmarks.peers.base import Call

TARGETS = "cpu,mobile:litert"
TITLE = "edgepack"


class Ours(NamedTuple):
    """An artifact, as plain data for the process that measures.

    Attributes:
        form: Target and precision.
        session: Of `runtime.sessions`.
        file: What the session opens.
        sha256: Of that file; two gates may give the same artifact.
        signature: Of the part, as JSON.
    """

    form: str
    session: str
    file: str
    sha256: str
    signature: Mapping[str, Any]


def export(row: Row, out: Path) -> Ours:
    """Export the row's model for every CPU target, and pick by the planner's own comparison of runtimes."""
    import edgepack

    task = models.TASKS[row.task]
    bundle = edgepack.export(
        task.model(),
        targets=TARGETS,
        precision="auto",
        out=out,
        gate=dict(row.gate),
        sizes=dict(task.sizes),
        static=task.part == "main",  # the peers have the same fixed shapes
        calibration=task.calibration,
        calibration_samples=models.CALIBRATING if task.calibration is None else models.STATIC_SAMPLES,
        check=False,
    )
    found = {artifact.target: artifact for artifact in bundle.artifacts if artifact.part == task.part}
    assert found, [failure.error for failure in bundle.failures]
    timed = [result for result in bundle.manifest.runtimes if result.part == task.part]
    fastest = timed[0].entries[0].target if timed else next(iter(found))
    artifact = found[fastest]
    facts = artifact.run
    assert facts is not None
    path = bundle.file(facts.file)
    return Ours(
        f"{artifact.target} {artifact.precision}",
        facts.session,
        str(path),
        bundle.manifest.files[facts.file].sha256,
        facts.signature,
    )


def open_artifact(ours: Ours) -> Call:
    """As edgepack's users run it: by its session, on one thread."""
    from edgepack.runtime.sessions.base import sessions
    from edgepack.toolchain.program import Signature

    signature = Signature.from_json(ours.signature)
    session = sessions.get(ours.session)(Path(ours.file), signature, threads=1)
    names = [spec.name for spec in signature.inputs]
    first = signature.outputs[0].name

    def call(feed: models.Feed) -> np.ndarray:
        return session.run({name: feed[name] for name in names})[first]

    return call
