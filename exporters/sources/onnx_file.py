"""`.onnx`, with its weights inside or in external files beside it.

External data is checked before anything is mapped: a location must stay inside the model's folder,
exist, and be as long as the tensors say. The reference is ONNX Runtime on the file as it came, with
every optimization off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.exporters.sources.base import Source, sources
from edgepack.exporters.sources.inputs import other_sizes, parse, random_inputs
from edgepack.toolchain.errors import SourceError, UsageError, not_finite
from edgepack.toolchain.files import hash_file
from edgepack.toolchain.passes.weights import nan_or_inf
from edgepack.toolchain.program import Case, Part, Program, Signature, TensorSpec
from edgepack.toolchain.results import SourceFacts

if TYPE_CHECKING:
    import onnx_ir as ir

_BATCH, _LENGTH = 2, 16


@sources.register("onnx")
class OnnxSource(Source):
    """An ONNX model on disk."""

    kind = "onnx"
    gives_torch = False

    @classmethod
    def accepts(cls, model: str) -> bool:
        return model.endswith(".onnx")

    @property
    def path(self) -> Path:
        """The model's file."""
        return Path(self.request.model)

    def check(self) -> None:
        _external_files(self.model(), self.path)

    def model(self) -> ir.Model:
        """The graph, weights mapped.

        Raises:
            SourceError: The file is missing or not an ONNX model.
        """
        import onnx_ir as ir

        if not self.path.is_file():
            raise SourceError(f"There is no file {self.path}", where=str(self.path))
        try:
            model = ir.load(self.path)
        except Exception as error:
            raise SourceError(
                f"{self.path.name} is not a whole ONNX model: {type(error).__name__}: {str(error)[:200]}",
                where=str(self.path),
                todo="Copy or export it again",
            ) from error
        if not model.graph.outputs:
            raise SourceError(f"{self.path.name} holds no graph with outputs", where=str(self.path))
        return model

    def fingerprint(self) -> str | None:
        digest = hashlib.sha256(hash_file(self.path).sha256.encode())
        for path in _external_files(self.model(), self.path):
            digest.update(hash_file(path).sha256.encode())
        return digest.hexdigest()

    def program(self) -> Program:
        """The model as a program of one part, with reference calls recorded.

        Raises:
            SourceError: It cannot be run as it came, or its weights hold NaN or infinity.
            UsageError: `--inputs` does not fit the graph's inputs.
        """
        model = self.model()
        _external_files(model, self.path)
        bad = nan_or_inf(model)
        if bad:
            raise not_finite(bad, str(self.path))
        signature, sizes = self._signature(model)
        upper = {spec.name: _index_bound(model, spec.name) for spec in signature.inputs}
        cases = self._record(signature, sizes, upper)
        weights = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
        facts = SourceFacts(
            kind=self.kind,
            location=str(self.path),
            fingerprint="",
            task=self.request.task,
            architecture=model.graph.name,
            parameters=sum(w.size for w in weights),
            weight_bytes=sum(w.nbytes for w in weights),
        )
        return Program({"main": Part("main", self.path, signature, cases)}, source=facts.model_dump())

    def _signature(self, model: ir.Model) -> tuple[Signature, dict[str, int]]:
        asked, given = parse(self.request.inputs)
        overrides = {spec.name: spec for spec in asked}
        specs, sizes = [], dict(given)
        for value in model.graph.inputs:
            if value.name in model.graph.initializers:
                continue
            spec = _spec(value, str(self.path))
            wanted = overrides.pop(spec.name, None)
            if wanted is not None:
                sizes |= _asked_sizes(spec, wanted, given)
            for axis, dim in enumerate(spec.shape):
                if isinstance(dim, str):
                    sizes.setdefault(dim, _BATCH if axis == 0 else _LENGTH)
            specs.append(spec)
        if overrides:
            raise UsageError(
                f"The graph has no input '{next(iter(overrides))}'",
                where="--inputs",
                todo=f"Its inputs are {', '.join(s.name for s in specs)}",
            )
        outputs = tuple(_spec(value, str(self.path)) for value in model.graph.outputs)
        used = {dim for spec in specs for dim in spec.shape if isinstance(dim, str)}
        return Signature(tuple(specs), outputs), {name: size for name, size in sizes.items() if name in used}

    def _record(self, signature: Signature, sizes: Mapping[str, int], upper: Mapping[str, int]) -> list[Case]:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise SourceError(
                f"ONNX Runtime does not accept {self.path.name}: {str(error)[:300]}",
                where=str(self.path),
                todo="Check it with onnx.checker",
            ) from error
        names = [spec.name for spec in signature.outputs]
        cases = []
        for index, wanted in enumerate(other_sizes(sizes)):
            inputs = random_inputs(signature.inputs, wanted, index, upper)
            label = ", ".join(f"{k}={v}" for k, v in wanted.items()) or f"seed {index}"
            try:
                outputs = session.run(names, inputs)
            except Exception as error:
                if index:
                    # Declared as free and in truth tied to a size: verify on what it does take.
                    inputs, label = random_inputs(signature.inputs, sizes, index, upper), f"seed {index}"
                    outputs = session.run(names, inputs)
                else:
                    raise SourceError(
                        f"The model does not run on random inputs ({label}): {str(error)[:300]}",
                        where=str(self.path),
                        todo='Give sizes that fit with --inputs "name:dtype[1,seq=128]"',
                    ) from error
            cases.append(Case(label, inputs, dict(zip(names, outputs, strict=True))))
        return cases


def _asked_sizes(own: TensorSpec, asked: TensorSpec, given: Mapping[str, int]) -> dict[str, int]:
    """Sizes of the graph's named dimensions from what `--inputs` says of one input."""
    numbers = [dim if isinstance(dim, int) else given[dim] for dim in asked.shape]
    fits = asked.dtype == own.dtype and len(numbers) == len(own.shape)
    if not fits or any(isinstance(d, int) and d != n for d, n in zip(own.shape, numbers, strict=True)):
        raise UsageError(
            f"--inputs gives {asked}, the graph's input is {own}",
            where="--inputs",
            todo="Give the graph's own dtype, number of dimensions and fixed sizes",
        )
    return {d: n for d, n in zip(own.shape, numbers, strict=True) if isinstance(d, str)}


def _spec(value: ir.Value, where: str) -> TensorSpec:
    if value.dtype is None or value.shape is None or not value.name:
        raise SourceError(f"The graph's input or output '{value.name}' has no tensor type", where=where)
    shape = tuple(
        dim if isinstance(dim, int) else (str(dim.value) if dim.value else f"{value.name}_{axis}")
        for axis, dim in enumerate(value.shape)
    )
    return TensorSpec(value.name, value.dtype.numpy().name, shape)


def _external_files(model: ir.Model, path: Path) -> list[Path]:
    """The external data files of a model, each checked for place and length."""
    import onnx_ir as ir

    root = path.resolve().parent
    need: dict[str, int] = {}
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                end = (tensor.offset or 0) + (tensor.length if tensor.length is not None else tensor.nbytes)
                need[str(tensor.location)] = max(need.get(str(tensor.location), 0), end)
    files = []
    for location, length in need.items():
        file = root / location
        if Path(location).is_absolute() or not file.resolve().is_relative_to(root):
            raise SourceError(
                f"The external data '{location}' lies outside the model's folder", where=str(path)
            )
        if not file.is_file():
            raise SourceError(
                f"The external data file '{location}' is missing",
                where=str(path),
                todo="Put it beside the model",
            )
        if file.stat().st_size < length:
            raise SourceError(
                f"The external data file '{location}' has {file.stat().st_size} bytes, the graph needs {length}",
                where=str(path),
                todo="Copy it again",
            )
        files.append(file)
    return files


def _index_bound(model: ir.Model, name: str) -> int:
    """Exclusive upper bound of an integer input: the smallest table that it indexes, else 2."""
    import onnx_ir as ir

    start = next(value for value in model.graph.inputs if value.name == name)
    bound, seen, front = 0, set(), [start]
    while front:
        value = front.pop()
        for use in value.uses():
            node, index = use.node, use.idx
            if node in seen:
                continue
            if node.op_type == "Gather" and index == 1:
                table = node.inputs[0]
                axis = node.attributes.get_int("axis", 0)
                if table is not None and table.shape is not None and isinstance(table.shape[axis], int):
                    rows = int(table.shape[axis])  # type: ignore[arg-type]
                    bound = rows if not bound else min(bound, rows)
            elif node.op_type in {"Cast", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten"}:
                seen.add(node)
                front.extend(o for o in node.outputs if isinstance(o, ir.Value))
    return bound or 2
