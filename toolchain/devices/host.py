"""An emulated board's outputs beside those of this machine's runtime: one file, one input, two processors.

Integer kernels give the same bits on both, as far as they do not saturate: x86 before VNNI multiplies 8-bit
numbers by an instruction that does (VPMADDUBSW). Floating point is rounded in another order; where it is quantized
again, a value at the edge of a level may fall on either side. So bits are told, and asked of nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgepack.runtime.sessions.base import sessions
from edgepack.toolchain import parity
from edgepack.toolchain.devices.results import HostAgreement
from edgepack.toolchain.devices.subject import Subject, calls_of, facts_of
from edgepack.toolchain.errors import GateError
from edgepack.toolchain.pipeline.judging import run
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    import numpy as np

_GATE = {name: parity.FLOAT_GATE[name] for name in ("cosine", "min_cosine")}
_FLOAT = "fp32"


def agreement(
    subject: Subject, outputs: Mapping[str, Sequence[Mapping[str, np.ndarray]]]
) -> dict[str, HostAgreement]:
    """Compare every part's recorded calls.

    Args:
        subject: The target.
        outputs: The board's, of every call, by part.

    Raises:
        GateError: A part in fp32 gives other outputs than here.
    """
    found = {}
    for artifact in subject.artifacts:
        facts = facts_of(artifact)
        feeds, _ = calls_of(subject.bundle, facts.cases)
        path, signature = subject.bundle.file(facts.file), Signature.from_json(facts.signature)
        here = run(facts.session, path, signature, feeds, 1)
        there = [dict(call) for call in outputs[artifact.part]]
        gate = _GATE if artifact.precision == _FLOAT else {}
        compared = parity.compare(here, there, gate, reference_name="this machine")
        if not compared.passed:
            raise GateError(
                f"The emulated board gives other outputs than this machine: {'; '.join(compared.failed[:3])}",
                where=f"{subject.target} {artifact.part}",
                todo="Compare the two runtimes' versions",
            )
        found[artifact.part] = HostAgreement(
            runtime=sessions.get(facts.session).tool(),
            calls=len(here),
            same_bits=all(map(_same_bits, here, there)),
            max_abs_error=compared.max_abs_error,
        )
    return found


def _same_bits(here: Mapping[str, np.ndarray], there: Mapping[str, np.ndarray]) -> bool:
    return all(
        value.dtype == there[name].dtype
        and value.shape == there[name].shape
        and value.tobytes() == there[name].tobytes()
        for name, value in here.items()
    )
