"""An encoder and a decoder with a cache of fixed capacity, played on mobile runtimes over many steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgepack.exporters import SourceRequest
from edgepack.quantize.base import quantizers
from edgepack.runtime.sessions.base import sessions
from edgepack.targets.base import Context, targets
from edgepack.targets.mobile.litert import Litert, Phase
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


@pytest.mark.skipif(find_spec("executorch") is None, reason="the extra executorch is not installed")
def test_executorch_plays_a_program_of_two_files(program: Program, calls: list[Call], tmp_path: Path) -> None:
    target = targets.get("mobile:executorch")()
    files = {}
    for part in program:
        lowered = target.lower(program, part, context(calls), tmp_path / part.name)
        compiled = target.compile(lowered, context(calls), tmp_path / "out")
        files[part.name] = tmp_path / "out" / compiled.run_file, lowered.signature
    assert len({path for path, _ in files.values()}) == len(program.parts)
    initial = {part.name: part.initial for part in program}
    with playing("executorch", files, program.links, initial) as player:
        for call in calls:
            got = player.call(call.part, call.inputs)
            for name, want in call.outputs.items():
                np.testing.assert_allclose(got[name], want, atol=2e-5)


def linked(program: Program) -> tuple[StateLink, ...]:
    """The program's links between signatures: what the decoder takes and gives, both of its phases do."""
    phases = {"encoder": ["encoder"], "decoder": ["prefill", "decode"]}
    return tuple(
        StateLink(before, link.output, after, link.input)
        for link in program.links
        for before in phases[link.from_part]
        for after in phases[link.to_part]
    )


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
    files = {name: (made.path, signature) for name, signature in made.signatures.items()}
    initial = {name: program.parts[phase.part].initial for name, phase in PHASES.items()}
    encode, *steps = calls
    prompt, rest = steps[:PROMPT], steps[PROMPT:]
    read = {
        "ids": np.concatenate([call.inputs["ids"] for call in prompt], 1),
        "positions": np.concatenate([call.inputs["positions"] for call in prompt]),
        "slots": prompt[0].inputs["slots"],
    }
    far = []
    with playing("litert", files, linked(program), initial) as player:
        player.call("encoder", encode.inputs)
        played = [(player.call("prefill", read), prompt[-1].outputs)]
        played += [(player.call("decode", call.inputs), call.outputs) for call in rest]
        for got, want in played:
            far += [float(np.abs(got[name] - value).max()) for name, value in want.items()]
    assert len(far) == len(rest) + 1
    assert max(far) < error * max(float(np.abs(want["logits"]).max()) for _, want in played), max(far)
    assert (min(far) > 1e-4) == (precision != "fp32")  # the integers are computed with


def weights(path: Path) -> int:
    return sum(0 if buffer.data is None else len(buffer.data) for buffer in tflite.read(path).buffers)


def test_signatures_that_cannot_be_told_apart(program: Program, calls: list[Call], tmp_path: Path) -> None:
    twice = {"one": PHASES["decode"], "two": PHASES["decode"]}
    with pytest.raises(TargetError, match="one, two do not fit into one file"):
        Litert().phases(program, context(calls), twice, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
