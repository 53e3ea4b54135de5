"""The smallest model that shows a problem, and the proof that it does: it is compiled, and refused for the same reason.

Tried are the node alone, then with what reads its results, then with what computes its inputs, then with both, and so
on to three steps far. The first that the target refuses for the same reason, in an operator of the same kind, is the
smallest that this search knows.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize.base import CalibrationData, quantizers
from edgepack.toolchain.errors import EdgepackError, NothingPlacedError
from edgepack.toolchain.explain.costs import unnamed
from edgepack.toolchain.explain.cut import around, cut, node_called
from edgepack.toolchain.program import Part, Program, Signature, TensorSpec
from edgepack.toolchain.results import Calibration, Placement

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.targets.base import Context, Offer, Target
    from edgepack.toolchain.explain.results import Problem

_FARTHEST = 3
_SAMPLES = 4
_TRIES = 6
"""Models that are compiled for one problem at most."""


@dataclass(frozen=True)
class Prover:
    """Compiles small models for one form of a target.

    Attributes:
        target: The target.
        offer: Its precision, and how it is made.
        context: The run's; its rewrites are not applied again.
    """

    target: Target
    offer: Offer
    context: Context

    def smallest(self, model: ir.Model, problem: Problem, path: Path) -> int:
        """Write the smallest model that shows a problem.

        Args:
            model: The graph as it was lowered: rewritten, with fixed sizes.
            problem: What to show.
            path: The .onnx file to write.

        Returns:
            How many nodes it has.

        Raises:
            EdgepackError: None was found; the message says why.
        """
        import onnx_ir as ir

        node = next((found for name in problem.nodes if (found := node_called(model, name))), None)
        if node is None:
            raise EdgepackError("No node of the ONNX graph has the name of this operator")
        said = "its inputs have no known type or shape"
        for small in itertools.islice(_candidates(model, node), _TRIES):
            placement, said = self._placement(small, said)
            if placement is None:
                continue
            refused = {(one.op, unnamed(one.reason)) for one in placement.reasons}
            if (problem.op, problem.reason) in refused:
                ir.save(small, path)
                return len(small.graph)
            said = "cut out of the model, it is not refused"
        raise EdgepackError(f"No part of the model by itself shows it: {said}")

    def _placement(self, model: ir.Model, said: str) -> tuple[Placement | None, str]:
        """Where the operators of a small model run; None, and why, where it cannot be built."""
        with tempfile.TemporaryDirectory(prefix="edgepack-explain-") as scratch:
            try:
                return self._built(model, Path(scratch)), said
            except NothingPlacedError as error:
                return error.placement, said
            except EdgepackError as error:
                return None, error.what

    def _built(self, model: ir.Model, folder: Path) -> Placement:
        import onnx_ir as ir

        path = folder / "small.onnx"
        ir.save(model, path)
        part = Part("main", path, _signature(model), sizes={})
        context = replace(self.context, rewrites=(), sizes={})
        lowered = self.target.lower(Program({"main": part}), part, context, folder / "lowered")
        if self.offer.quantizer is not None:
            quantizer = quantizers.get(self.offer.quantizer)()
            data = _noise(part.signature) if quantizer.static or quantizer.uses_data else None
            lowered = quantizer.quantize(
                lowered, self.offer.precision, data, folder / "quantized", **self.offer.options
            )
        out = folder / "compiled"
        out.mkdir()
        return self.target.compile(lowered, context, out).placement


def _candidates(model: ir.Model, node: ir.Node) -> Iterator[ir.Model]:
    """Models around a node, small ones first, none twice."""
    seen: set[tuple[ir.Node, ...]] = set()
    reach = sorted(itertools.product(range(_FARTHEST + 1), repeat=2), key=lambda pair: (sum(pair), pair))
    for before, after in reach:
        nodes = tuple(around(node, before=before, after=after))
        if nodes in seen:
            continue
        seen.add(nodes)
        small = cut(model, nodes)
        if small is not None and small.graph.inputs and small.graph.outputs:
            yield small


def _signature(model: ir.Model) -> Signature:
    def specs(values: object) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(str(v.name), str(v.dtype.numpy()), tuple(int(n) for n in v.shape))
            for v in values  # type: ignore[attr-defined]
        )

    return Signature(specs(model.graph.inputs), specs(model.graph.outputs))


def _noise(signature: Signature) -> CalibrationData:
    """Samples of 0 and 1 for integers and of normal numbers for the rest: types and shapes decide where a node runs."""
    import numpy as np

    random = np.random.default_rng(0)

    def sample(spec: TensorSpec) -> np.ndarray:
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            return random.standard_normal(spec.resolve({})).astype(dtype)
        return random.integers(0, 2, spec.resolve({})).astype(dtype)

    samples = [{spec.name: sample(spec) for spec in signature.inputs} for _ in range(_SAMPLES)]
    facts = Calibration(kind="synthetic", description="noise", samples=_SAMPLES, held_out=0)
    return CalibrationData(facts, samples, [], "")
