"""An encoder and a decoder with a cache of fixed capacity, played on mobile runtimes over many steps."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgepack.exporters import SourceRequest
from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.base import sessions
from edgepack.targets.base import Context
from edgepack.targets.mobile.executorch import ExecuTorch
from edgepack.targets.mobile.litert import Litert
from edgepack.targets.mobile.phases import Phase, Phases
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.program import Call, Lowered, Program, Signature, StateLink
from tests.exported import exported

pytestmark = pytest.mark.slow
SOURCE = SourceRequest("zoo:return-of-the-encoder/encoder-decoder-tiny")
PROMPT = 8
PHASES = {
    "encoder": Phase("encoder"),
    "prefill": Phase("decoder", {"step": PROMPT}),
    "decode": Phase("decoder", {"step": 1}),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return exported(SOURCE, tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def calls(program: Program) -> list[Call]:
    """The encoder's call and the steps of one token after it; their outputs are torch's of the whole sequence."""
    first, *rest = program.rollout
    found = [first]
    for call in rest:
        if call.part != "decoder" or call.inputs["ids"].shape[1] != 1:
            break
        found.append(call)
    assert len(found) > 2 * PROMPT
    return found


def context(calls: list[Call]) -> Context:
    batch, source = calls[0].inputs["ids"].shape
    (capacity,) = calls[1].inputs["slots"].shape
    sizes = {"batch": batch, "source": source, "capacity": capacity, "step": 1}
    return Context(source=SOURCE.to_json(), sizes=sizes, time_limit_s=600)


@contextlib.contextmanager
def playing(
    runtime: str,
    files: Mapping[str, tuple[Path, Signature]],
    links: tuple[StateLink, ...],
    initial: Mapping[str, Mapping[str, np.ndarray]],
) -> Iterator[StatefulProgram]:
    with contextlib.ExitStack() as stack:
        opened = {
            name: stack.enter_context(sessions.get(runtime)(path, signature, threads=1))
            for name, (path, signature) in files.items()
        }
        yield StatefulProgram(
            {name: signature for name, (_, signature) in files.items()},
            links,
            lambda name, feed: opened[name].run(feed),
            initial,
        )


def linked(program: Program) -> tuple[StateLink, ...]:
    """The program's links between signatures: what the decoder takes and gives, both of its phases do."""
    phases = {"encoder": ["encoder"], "decoder": ["prefill", "decode"]}
    return tuple(
        StateLink(before, link.output, after, link.input)
        for link in program.links
        for before in phases[link.from_part]
        for after in phases[link.to_part]
    )


def prompt_and_steps(
    player: StatefulProgram, calls: list[Call]
) -> Iterator[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]:
    """What the phases give for the encoder's call, the prompt in one and every token after it, and what torch gave."""
    encode, *steps = calls
    prompt, rest = steps[:PROMPT], steps[PROMPT:]
    read = {
        "ids": np.concatenate([call.inputs["ids"] for call in prompt], 1),
        "positions": np.concatenate([call.inputs["positions"] for call in prompt]),
        "slots": prompt[0].inputs["slots"],
    }
    player.call("encoder", encode.inputs)
    yield player.call("prefill", read), prompt[-1].outputs
    for call in rest:
        yield player.call("decode", call.inputs), call.outputs


def furthest(runtime: str, phases: Phases, program: Program, calls: list[Call]) -> tuple[list[float], float]:
    """Every answer's largest distance from torch's in one file of all phases, and the largest logit."""
    files = {name: (phases.path, signature) for name, signature in phases.signatures.items()}
    initial = {name: program.parts[phase.part].initial for name, phase in PHASES.items()}
    with playing(runtime, files, linked(program), initial) as player:
        played = list(prompt_and_steps(player, calls))
    assert len(played) == len(calls) - PROMPT
    far = [float(np.abs(got[name] - value).max()) for got, want in played for name, value in want.items()]
    return far, max(float(np.abs(want["logits"]).max()) for _, want in played)


needs_executorch = pytest.mark.skipif(
    find_spec("executorch") is None, reason="the extra executorch is not installed"
)


@pytest.fixture(scope="module")
def executorch(
    program: Program, calls: list[Call], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Phases, dict[str, Lowered]]:
    """All phases in one program, and each as it was lowered before."""
    folder, each = tmp_path_factory.mktemp("executorch"), {}

    def keep(lowered: Lowered, place: Path) -> Lowered:
        kept = shutil.copytree(lowered.path.parent, folder / place.parent.name)
        each[place.parent.name] = replace(lowered, path=kept / lowered.path.name)
        return lowered

    phases = ExecuTorch().phases(program, context(calls), PHASES, folder / "one", keep)
    assert list((folder / "one").iterdir()) == [phases.path]
    return phases, each


@needs_executorch
def test_executorch_plays_a_program_of_two_files(executorch, program: Program, calls: list[Call]) -> None:
    _, each = executorch
    files = {
        part: (each[phase].path, each[phase].signature)
        for part, phase in {"encoder": "encoder", "decoder": "decode"}.items()
    }
    initial = {part.name: part.initial for part in program}
    with playing("executorch", files, program.links, initial) as player:
        for call in calls:
            got = player.call(call.part, call.inputs)
            for name, want in call.outputs.items():
                np.testing.assert_allclose(got[name], want, atol=2e-5)


@needs_executorch
def test_executorch_reads_the_prompt_and_goes_on_in_one_file(
    executorch, program: Program, calls: list[Call]
) -> None:
    phases, each = executorch
    alone = {name: lowered.path.stat().st_size for name, lowered in each.items()}
    assert phases.shared_bytes == sum(alone.values()) - phases.path.stat().st_size
    assert phases.shared_bytes > 0.7 * alone["decode"]  # its weights; the operators are there once a method
    far, _ = furthest("executorch", phases, program, calls)
    assert max(far) < 2e-5


@needs_executorch
def test_executorch_goes_on_in_one_file_of_integers(
    executorch, program: Program, calls: list[Call], tmp_path: Path
) -> None:
    _, each = executorch
    small = {
        name: quantizers.get("executorch-dynamic")().quantize(
            each[name], "int8-dynamic", None, tmp_path / name
        )
        for name in ("prefill", "decode")
    }
    phases = ExecuTorch().methods({**each, **small}, context(calls), tmp_path / "one")
    assert (
        phases.shared_bytes > 0.5 * small["decode"].path.stat().st_size
    )  # integers are small beside the list of operators
    far, largest = furthest("executorch", phases, program, calls)
    assert max(far) < 0.05 * largest, max(far)
    assert min(far) > 1e-4  # the integers are computed with


@needs_executorch
def test_methods_that_cannot_be_told_apart(executorch, calls: list[Call], tmp_path: Path) -> None:
    _, each = executorch
    with pytest.raises(TargetError, match="Two of the methods one, two take and give"):
        ExecuTorch().methods({"one": each["decode"], "two": each["decode"]}, context(calls), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("precision", "error"), [("fp32", 2e-5), ("int8-dynamic", 0.05)])
def test_litert_reads_the_prompt_and_goes_on_in_one_file(
    precision: str, error: float, program: Program, calls: list[Call], tmp_path: Path
) -> None:
    def quantize(lowered: Lowered, folder: Path) -> Lowered:
        if precision == "fp32":
            return lowered
        return quantizers.get("litert-dynamic")().quantize(lowered, precision, None, folder)

    made = Litert().phases(program, context(calls), PHASES, tmp_path / "out", quantize)
    assert list((tmp_path / "out").iterdir()) == [made.path]
    keys = [entry.signatureKey.decode() for entry in tflite.read(made.path).signatureDefs]
    assert keys == list(PHASES)
    alone = Litert().phases(program, context(calls), {"decode": PHASES["decode"]}, tmp_path / "one", quantize)
    assert made.shared_bytes > 0.9 * weights(alone.path)  # the decoder's, but for tables of positions
    far, largest = furthest("litert", made, program, calls)
    assert max(far) < error * largest, max(far)
    assert (min(far) > 1e-4) == (precision != "fp32")  # the integers are computed with


def weights(path: Path) -> int:
    return sum(0 if buffer.data is None else len(buffer.data) for buffer in tflite.read(path).buffers)


def test_signatures_that_cannot_be_told_apart(program: Program, calls: list[Call], tmp_path: Path) -> None:
    twice = {"one": PHASES["decode"], "two": PHASES["decode"]}
    with pytest.raises(TargetError, match="one, two do not fit into one file"):
        Litert().phases(program, context(calls), twice, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
