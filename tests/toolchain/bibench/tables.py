"""Tables for the tests of what is made of them, with figures that nobody measured."""

from __future__ import annotations

from edgepack.runtime import environment
from edgepack.toolchain.bibench.overall import overall
from edgepack.toolchain.bibench.results import (
    Artifact,
    BibenchResults,
    Cell,
    Complexity,
    Corrupted,
    Method,
    Timing,
    Training,
)
from edgepack.toolchain.results import Comparison, Latency

KINDS = ("noise", "blur")


def cell(task="image", architecture="cnn", method="fp32", accuracy=0.8, **changes) -> Cell:
    """A cell that has everything; corruption of severity s costs s times a tenth, blur twice that."""
    seconds, size = (1.0, 64_000) if method == "fp32" else (2.0, 4_000)
    lost = [("none", 0, 0.0), *((kind, s, 0.05 * s * n) for n, kind in enumerate(KINDS, 1) for s in (1, 3))]
    points = [
        Corrupted(name=kind, severity=s, accuracy=accuracy - loss)
        for kind, s, loss in lost
        if task == "image" and accuracy is not None
    ]
    given = {
        "task": task,
        "architecture": architecture,
        "method": method,
        "accuracy": accuracy,
        "training": Training(cpu_seconds=seconds, bytes=2**20, loss=1.0, steps=10, batch=4),
        "complexity": Complexity(
            binary_macs=640, float_macs=100, binary_weights=3200, float_parameters=100,
            operation_ratio=740 / 110, storage_ratio=16.5,
        ),
        "corrupted": points,
        "artifact": Artifact(size_bytes=size, sha256="0", native_nodes=2, agreement=1.0),
    }  # fmt: skip
    return Cell(**{**given, **changes})


def timing(task="image", architecture="cnn", method="bnn", ratio=4.0) -> Timing:
    against = None
    if method != "fp32":
        ends = {"ci_low": ratio * 0.9, "ci_high": ratio * 1.1}
        against = Comparison(baseline="fp32", ratio=ratio, rounds=30, verdict="faster", **ends)
    latency = Latency(kind="measured", p50_ms=1.0 if method == "fp32" else 1 / ratio, samples=100)
    return Timing(task=task, architecture=architecture, method=method, latency=latency, against_fp32=against)


PLACES = (("image", "cnn"), ("image", "transformer"), ("text", "transformer"))


def table(methods=("bnn", "reactnet"), *, full=False, cells=None, timings=None) -> BibenchResults:
    """Three cells a method."""
    accuracies = {"fp32": 0.8, "bnn": 0.6, "reactnet": 0.7}
    if cells is None:
        cells = [cell(*at, name, accuracies.get(name, 0.5)) for at in PLACES for name in ("fp32", *methods)]
    if timings is None:
        timings = [timing(*at, name) for at in PLACES for name in ("fp32", *methods)]
    return BibenchResults(
        command="edgepack bibench",
        full=full,
        methods=[Method(name=name, paper="arXiv:0000.00000") for name in methods],
        tasks={"image": "images", "text": "words"},
        samples={"image": (60_000, 10_000), "text": (10, 10)},
        chance={"image": 0.1, "text": 0.25},
        cells=cells,
        timings=timings,
        not_timed=[],
        overall=[overall(name, cells, timings) for name in methods],
        kernels=["avx2"],
        environment=environment.capture(1, spinning=False),
        load_average=(1.0, 2.0),
    )
