"""Row 04: are encoder-decoder models faster than decoder-only ones of equal size?

    first-token latency   from the prompt to the first token, reading the prompt included
    throughput            n / (time from the prompt to the n-th token)
    decoding rate         (n - 1) / (time from the first to the n-th token)

The abstract does not say which of the last two its throughput is; both are measured, the first one is compared.
Both models are exported, cleaned and verified like any other, run in ONNX Runtime with the same settings and
caches updated in place, and take turns.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.claims.base import Claim, Listener, Settings, Statement, claims
from edgepack.toolchain.claims.results import ClaimResults, Point
from edgepack.toolchain.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from edgepack.runtime.generate.language_model import LanguageModel
    from edgepack.toolchain.program import Program

NAME = "return-of-the-encoder"
SIDES = ("encoder-decoder", "decoder-only")
SIZES = ("30m", "120m")
INPUTS = (128, 256, 512, 1024, 2048)
OUTPUTS = (16, 64, 256)
QUICK_SIZES, QUICK_INPUTS, QUICK_OUTPUTS = ("30m",), (128, 512), (16,)
PRECISIONS = ("fp32", "int8-dynamic")
_KNOWN_SIZES = ("tiny", *SIZES)
_STATEMENTS = (
    Statement("first-token latency", "47 % lower", "abstract", 1 / (1 - 0.47), "lower"),
    Statement("throughput", "4.7x higher", "abstract", 4.7, "times"),
)


def measure(settings: Settings, listener: Listener) -> ClaimResults:
    """Measure the grid, point by point; points that lie in `settings.out` are read.

    Raises:
        UnknownNameError: An unknown size or precision.
        UsageError: A length below 1, or one that the models have no positions for.
        ExportError: A model could not be exported or disagrees with its source.
    """
    from edgepack.runtime import environment
    from edgepack.toolchain.claims.points import Points

    sizes, inputs, outputs = _grid(settings)
    captured = environment.capture(settings.threads, spinning=False)
    points: list[Point] = []
    total = len(sizes) * (1 + len(inputs))
    facts = {}
    for size in sizes:
        listener(len(points), total, f"{size}: exporting and verifying")
        programs = {side: _program(f"{side}-{size}", settings) for side in SIDES}
        for side, (program, _) in programs.items():
            facts[f"{side} {size}"] = f"{program.source['parameters']:,} parameters"
        store = Points(
            settings.out,
            {
                "models": {side: key for side, (_, key) in programs.items()},
                "environment": environment.fingerprint(captured),
                "rounds": settings.rounds,
                "outputs": outputs,
            },
        )
        with ExitStack() as stack:
            opened: dict[str, LanguageModel] = {}
            for length in inputs:
                at: dict[str, int | str] = {
                    "size": size, "input": length, "precision": settings.precision, "threads": settings.threads,
                }  # fmt: skip
                point = store.read(at)
                if point is None:
                    listener(len(points), total, f"{size}, input {length}")
                    if not opened:
                        opened = {
                            side: stack.enter_context(_open(f"{side}-{size}", program, settings))
                            for side, (program, _) in programs.items()
                        }
                    point = _measure_point(opened, at, length, outputs, settings)
                    store.write(point)
                points.append(point)
    listener(total, total, "done")
    return ClaimResults(
        claim=NAME, command=_command(settings), sides=list(SIDES), facts=facts, notes=_notes(settings),
        points=points, environment=captured,
    )  # fmt: skip


def _grid(settings: Settings) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
    own = (QUICK_SIZES, QUICK_INPUTS, QUICK_OUTPUTS) if settings.quick else (SIZES, INPUTS, OUTPUTS)
    sizes = settings.sizes or own[0]
    inputs, outputs = settings.inputs or own[1], settings.outputs or own[2]
    for size in sizes:
        if size not in _KNOWN_SIZES:
            raise UnknownNameError("size", size, _KNOWN_SIZES, where="--size")
    if settings.precision not in PRECISIONS:
        raise UnknownNameError("precision", settings.precision, PRECISIONS, where="--precision")
    if min(*inputs, *outputs, settings.rounds, settings.threads) < 1:
        raise UsageError(
            "A length, a number of rounds or of threads is below 1",
            where=f"claim {NAME}",
            todo="Give positive numbers",
        )
    return sizes, inputs, tuple(sorted(outputs))


def _program(config: str, settings: Settings) -> tuple[Program, str]:
    """The exported and verified program, and what it was made from."""
    from edgepack.exporters.sources import SourceRequest, open_source
    from edgepack.toolchain.events import Log
    from edgepack.toolchain.pipeline.program_stage import program_folder
    from edgepack.toolchain.pipeline.workbench import Workbench
    from edgepack.toolchain.program import Program
    from edgepack.toolchain.recipe import make

    model = f"zoo:{NAME}/{config}"
    source = open_source(SourceRequest(model))
    source.check()
    bench = Workbench(
        make(model=model, time_limit_s=settings.time_limit_s), settings.cache, Log(), f"claim {NAME}"
    )
    fingerprint = source.fingerprint()
    return Program.load(program_folder(bench, source, fingerprint)), str(fingerprint)


def _open(config: str, program: Program, settings: Settings) -> LanguageModel:
    from edgepack.exporters.architectures.base import architectures
    from edgepack.runtime.generate.language_model import LanguageModel

    files = {}
    if settings.precision == "int8-dynamic":
        from edgepack.quantize.base import quantizers
        from edgepack.toolchain.program import Lowered

        for part in program:
            folder = settings.out / "int8-dynamic" / config / part.name
            folder.mkdir(parents=True, exist_ok=True)
            lowered = Lowered(part.name, "onnx", part.path, part.signature)
            files[part.name] = (
                quantizers.get("onnx-dynamic")().quantize(lowered, "int8-dynamic", None, folder).path
            )
    _, sizes = architectures.get(NAME).config(config)
    return LanguageModel(program, threads=settings.threads, positions=sizes.positions, files=files)


def _measure_point(
    models: dict[str, LanguageModel],
    at: dict[str, int | str],
    length: int,
    outputs: tuple[int, ...],
    settings: Settings,
) -> Point:
    import os

    import numpy as np

    from edgepack.runtime.generate.greedy import greedy
    from edgepack.toolchain.claims._rounds import Generate, token_times_ms, values

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    begin = time.perf_counter()

    def generates(model: LanguageModel) -> Generate:
        prompt = np.random.default_rng(length).integers(0, model.vocabulary or 2, length)
        # The first call of this length allocates; it is not counted.
        greedy(model, prompt, min(2, outputs[-1]))
        return lambda on_token: greedy(model, prompt, outputs[-1], on_token=on_token)

    times = token_times_ms({side: generates(models[side]) for side in SIDES}, settings.rounds)
    return Point(
        at=at,
        values=values(times, outputs),
        load_average=load,
        seconds=time.perf_counter() - begin,
        measured_on=datetime.now(timezone.utc).date().isoformat(),
    )


def _command(settings: Settings) -> str:
    def words(option: str, given: tuple[Any, ...]) -> list[str]:
        return [option, ",".join(map(str, given))] if given else []

    own = Settings(settings.out, settings.cache)
    return " ".join(
        [
            "edgepack claims", NAME, *(["--quick"] if settings.quick else []),
            *words("--size", settings.sizes), *words("--input", settings.inputs),
            *words("--output", settings.outputs),
            *words("--rounds", (settings.rounds,) if settings.rounds != own.rounds else ()),
            *words("--threads", (settings.threads,) if settings.threads != own.threads else ()),
            *words("--precision", (settings.precision,) if settings.precision != own.precision else ()),
        ]
    )  # fmt: skip


def _notes(settings: Settings) -> list[str]:
    notes = [
        "Weights are random from a fixed seed; they change what is said, not how fast.",
        "The abstract gives neither the models' widths nor the split of layers: here two thirds are in the encoder.",
        "Caches have room for the longest output from the start, for both models.",
    ]
    if settings.precision != "fp32":
        notes.append("The quantized models are timed, not judged: random weights have no quality to lose.")
    return notes


claims.register(NAME)(
    Claim(
        NAME, "04", "Return of the Encoder: Maximizing Parameter Efficiency for SLMs", "2501.16273",
        _STATEMENTS, measure,
    )
)  # fmt: skip
