"""`.onnx`, with its weights inside or in external files beside it.

What the file says is held against what it holds before anything is mapped or run (`_onnx_read`). The
reference is ONNX Runtime on the file as it came, with every optimization off, on the examples beside the
file (`_onnx_examples`) or on random inputs. Three things are changed where they have to be, each noted:
sparse constants become dense, a version that is too new for the runtime is read as the newest it knows
if that is the same, and an old operator set is converted if the result computes the same.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources import _onnx_cases, _onnx_reference
from edgepack.exporters.sources._onnx_examples import example_files, examples
from edgepack.exporters.sources._onnx_read import read
from edgepack.exporters.sources._onnx_signature import observed, shapeless, signature
from edgepack.exporters.sources._onnx_tensors import check_tensors
from edgepack.exporters.sources.base import Source, sources
from edgepack.exporters.sources.inputs import parse
from edgepack.toolchain import opsets
from edgepack.toolchain.errors import SourceError, UsageError, not_finite
from edgepack.toolchain.files import hash_file
from edgepack.toolchain.passes.storage import save
from edgepack.toolchain.passes.weights import nan_or_inf
from edgepack.toolchain.program import Case, Part, Program, Signature, TensorSpec, is_sum, size_of
from edgepack.toolchain.quantized import QUANTIZED_NOTE, already_quantized
from edgepack.toolchain.results import SourceFacts

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_BATCH, _LENGTH = 2, 16
_CONVERTED_RELATIVE = 1e-5
"""A converted model's outputs may differ by rounding, relative to the largest value."""


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
        model, _ = read(self.path)
        self._graph(model)
        signature(model, str(self.path), dict.fromkeys(shapeless(model), 0))
        example_files(self.path)

    def model(self) -> ir.Model:
        """The graph, weights mapped, sparse constants made dense.

        Raises:
            SourceError: The file is missing, not an ONNX model, broken or hostile.
        """
        return self._graph(read(self.path)[0])

    def fingerprint(self) -> str | None:
        digest = hashlib.sha256(hash_file(self.path).sha256.encode())
        for path in (*check_tensors(read(self.path)[0], self.path), *example_files(self.path)):
            digest.update(hash_file(path).sha256.encode())
        return digest.hexdigest()

    def program(self, folder: Path | None = None) -> Program:
        """The model as a program of one part, with reference calls recorded.

        Args:
            folder: Where the graph is written when it had to be changed; None for a temporary folder
                that lives as long as the part.

        Raises:
            SourceError: It cannot be run as it came, or its weights hold NaN or infinity.
            UsageError: `--inputs` does not fit the graph's inputs.
        """
        where = str(self.path)
        model, notes = read(self.path)
        graph = self._graph(model)
        bad = nan_or_inf(graph)
        if bad:
            raise not_finite(bad, where)
        open_ranks = dict.fromkeys(shapeless(model), 0)
        # Before the runtime is asked: what it says of such inputs is less clear.
        own = signature(model, where, open_ranks)
        with _Folder(folder) as place:
            path, session, told = self._opened(model, place, changed=bool(notes))
            notes += told
            run = _onnx_reference.runner(session, [spec.name for spec in own.outputs])
            cases, told = self._cases(graph, own, run)
            notes += told
            if _onnx_cases.may_draw(model):
                _onnx_cases.check_repeatable(run, cases[0], where)
            if 0 < opsets.standard_version(model) < opsets.OLDEST:
                path, told = self._modern(model, path, cases, place)
                notes += told
            ranks = {name: cases[0].outputs[name].ndim for name in open_ranks}
            final, told = observed(signature(model, where, ranks), cases)
            notes += told
            part = Part("main", path, final, cases)
            place.lives_with(part)
        found = already_quantized(model)
        if found:
            notes.append(
                f"{QUANTIZED_NOTE} ({found}): there is no float model to compare it with, it is verified "
                "against itself run unoptimized"
            )
        weights = [v.const_value for v in graph.graph.initializers.values() if v.const_value is not None]
        facts = SourceFacts(
            kind=self.kind,
            location=where,
            fingerprint="",
            task=self.request.task,
            architecture=model.graph.name,
            parameters=sum(w.size for w in weights),
            weight_bytes=sum(w.nbytes for w in weights),
        )
        return Program({"main": part}, source=facts.model_dump(), notes=notes)

    def _graph(self, model: onnx.ModelProto) -> ir.Model:
        import onnx_ir as ir

        try:
            graph = ir.serde.deserialize_model(model)
        except Exception as error:
            raise SourceError(
                f"{self.path.name} is not a sound ONNX model: {type(error).__name__}: {str(error)[:200]}",
                where=str(self.path),
                todo="Check it with onnx.checker, or export it again",
            ) from error
        ir.external_data.set_base_dir(graph.graph, str(self.path.parent))
        return graph

    def _opened(
        self, model: onnx.ModelProto, place: _Folder, *, changed: bool
    ) -> tuple[Path, Any, list[str]]:
        """The file to go on with, the reference on it, and notes; `model` becomes what the file holds.

        Raises:
            SourceError: The runtime takes neither the model nor what ONNX's converter makes of it.
        """
        version = opsets.standard_version(model)
        try:
            session, notes = _onnx_reference.open_reference(self.path, model)
        except SourceError as refusal:
            if not 0 < version < opsets.OLDEST:
                raise
            try:
                converted = opsets.convert(model, opsets.TARGET)
                path = save(self._graph(converted), place.path, "source")
                session = _onnx_reference.session(path)
            except Exception as error:
                why = error.what if isinstance(error, SourceError) else _onnx_reference.words(error)
                raise SourceError(f"{refusal.what}; {why}", where=refusal.where, todo=refusal.todo) from error
            model.CopyFrom(converted)
            note = f"operator set {version} converted to {opsets.TARGET}, unverified: {refusal.what}"
            return path, session, [note]
        if changed or notes:
            return save(self._graph(model), place.path, "source"), session, notes
        return self.path, session, notes

    def _modern(
        self, model: onnx.ModelProto, path: Path, cases: Sequence[Case], place: _Folder
    ) -> tuple[Path, list[str]]:
        """`path`, or a file with a newer operator set if that gives the same outputs; and notes."""
        version = opsets.standard_version(model)
        try:
            converted = save(self._graph(opsets.convert(model, opsets.TARGET)), place.path, "source")
            names = [value.name for value in model.graph.output]
            run = _onnx_reference.runner(_onnx_reference.session(converted), names)
            same = all(
                _onnx_reference.agree(case.outputs, run(case.inputs), _CONVERTED_RELATIVE) for case in cases
            )
            why = "converted it computes something else"
        except SourceError as error:
            same, why = False, error.what
        except Exception as error:  # noqa: BLE001 - the runtime's errors have no common ancestor
            same, why = False, f"converted it does not run: {_onnx_reference.words(error)}"
        if same:
            return converted, [f"operator set {version} converted to {opsets.TARGET}"]
        for name in ("source.onnx", "source.onnx.data"):
            (place.path / name).unlink(missing_ok=True)
        kept = path if path == self.path else save(self._graph(model), place.path, "source")
        return kept, [f"operator set {version} kept: {why}"]

    def _cases(
        self, graph: ir.Model, own: Signature, run: _onnx_reference.Run
    ) -> tuple[list[Case], list[str]]:
        sizes = self._sizes(own)
        found = [] if self.request.inputs else examples(self.path, own.inputs, own.outputs)
        if found:
            return _onnx_cases.from_examples(run, own, found, str(self.path))
        upper = {spec.name: _index_bound(graph, spec.name) for spec in own.inputs}
        return _onnx_cases.made_up(run, own, sizes, upper, str(self.path))

    def _sizes(self, own: Signature) -> dict[str, int]:
        """Sizes of the named dimensions: those asked for, else small ones."""
        asked, given = parse(self.request.inputs)
        overrides = {spec.name: spec for spec in asked}
        sizes = dict(given)
        for spec in own.inputs:
            wanted = overrides.pop(spec.name, None)
            if wanted is not None:
                sizes |= _asked_sizes(spec, wanted, given)
            for axis, dim in enumerate(spec.shape):
                if isinstance(dim, str) and not is_sum(dim):
                    sizes.setdefault(dim, _BATCH if axis == 0 else _LENGTH)
        if overrides:
            raise UsageError(
                f"The graph has no input '{next(iter(overrides))}'",
                where="--inputs",
                todo=f"Its inputs are {', '.join(s.name for s in own.inputs)}",
            )
        _check_sums(own, asked, sizes)
        return {name: size for name, size in sizes.items() if name in own.symbols}


class _Folder(AbstractContextManager["_Folder"]):
    """Where a changed model is written: the caller's folder, or one of our own that is made when needed.

    Our own goes when the part that lies in it does, or at once when no part came of it.
    """

    def __init__(self, given: Path | None) -> None:
        self._given = given
        self._own: Path | None = None
        self._kept = False

    @property
    def path(self) -> Path:
        """The folder."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = Path(tempfile.mkdtemp(prefix="edgepack-onnx-"))
        return self._own

    def lives_with(self, part: Part) -> None:
        """Keep the folder for as long as `part` lives, if the part's file is in it."""
        if self._own is not None and part.path.is_relative_to(self._own):
            weakref.finalize(part, shutil.rmtree, self._own, ignore_errors=True)
            self._kept = True

    def __exit__(self, *_: object) -> None:
        if self._own is not None and not self._kept:
            shutil.rmtree(self._own, ignore_errors=True)


def _check_sums(own: Signature, asked: Sequence[TensorSpec], sizes: Mapping[str, int]) -> None:
    """Raise unless dimensions that follow from others are given the size that follows."""
    for spec in asked:
        for wanted, dim in zip(spec.resolve(sizes), own.input(spec.name).shape, strict=True):
            if is_sum(dim) and size_of(dim, sizes) != wanted:
                raise UsageError(
                    f"--inputs gives {spec}, and the graph's dimension '{dim}' is {size_of(dim, sizes)} then",
                    where="--inputs",
                    todo="Give sizes that agree",
                )


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
    return {d: n for d, n in zip(own.shape, numbers, strict=True) if isinstance(d, str) and not is_sum(d)}


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
