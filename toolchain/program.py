"""Program, Part, Signature, StateLink: the one thing that flows through the pipeline.

A Program is what an exporter makes of a source: named parts, each an ONNX graph held as an
`onnx_ir.Model` whose weights stay mapped from disk, with its signature and with reference inputs
and outputs recorded from the source framework. State links say which output of one call feeds
which input of the next. `Lowered` is one part in the file form that a target works on.

Dimensions are integers, or names when they may vary, or sums of names and numbers ("past+step", "past + 1");
dtypes are numpy's names ("float32", "int64").
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.stored import Stored, initial, read_initial, side

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

PROGRAM_FILE = "program.json"
LOWERED_FILE = "lowered.json"
ROLLOUT_FILE = "rollout.npz"
LOOP_NOTE = "a loop over time is written out"
"""What the note on such a loop begins with; the pipeline makes it a warning."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of one input or output; a str dimension may vary, equal names agree.

    A dimension such as "past+step" is the sum of the named ones, and "past + 1" is one more than "past".
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def resolve(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape with every named dimension replaced by `sizes`; an unknown name is a KeyError."""
        return tuple(size_of(dim, sizes) for dim in self.shape)

    def __str__(self) -> str:
        return f"{self.name}:{self.dtype}[{','.join(map(str, self.shape))}]"


_NAME = re.compile(r"[^\W\d][\w.:]*")


def _pieces(dim: str) -> list[str]:
    """What a dimension is the sum of: names and numbers, or itself where it is anything else."""
    pieces = [piece.strip() for piece in dim.split("+")]
    named = [piece for piece in pieces if _NAME.fullmatch(piece)]
    if len(pieces) > 1 and named and all(piece in named or piece.isdecimal() for piece in pieces):
        return pieces
    return [dim]


def terms(dim: int | str) -> tuple[str, ...]:
    """The names that a dimension is the sum of, numbers left out; none for a number."""
    if isinstance(dim, int):
        return ()
    pieces = _pieces(dim)
    return tuple(piece for piece in pieces if len(pieces) == 1 or not piece.isdecimal())


def is_sum(dim: int | str) -> bool:
    """Whether a dimension's size follows from those of other names."""
    return isinstance(dim, str) and terms(dim) != (dim,)


def size_of(dim: int | str, sizes: Mapping[str, int]) -> int:
    """A dimension's size; an unknown name is a KeyError. A sum that has a size of its own has that one."""
    if isinstance(dim, int):
        return dim
    if dim in sizes or not is_sum(dim):
        return sizes[dim]
    return sum(int(piece) if piece.isdecimal() else sizes[piece] for piece in _pieces(dim))


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a part, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the dimensions that may vary, in order of first use by an input."""
        return tuple(dict.fromkeys(name for spec in self.inputs for dim in spec.shape for name in terms(dim)))

    def input(self, name: str) -> TensorSpec:
        """The input of that name; a KeyError if there is none."""
        return {spec.name: spec for spec in self.inputs}[name]

    def output(self, name: str) -> TensorSpec:
        """The output of that name; a KeyError if there is none."""
        return {spec.name: spec for spec in self.outputs}[name]

    def pinned(self, sizes: Mapping[str, int]) -> Signature:
        """The same with every named dimension replaced by its size; an input's unknown name is a KeyError.

        An output's dimension keeps its name where no size decides it, but the values of the inputs, as the number
        of elements that are not zero.
        """

        def fixed(spec: TensorSpec) -> TensorSpec:
            return TensorSpec(spec.name, spec.dtype, spec.resolve(sizes))

        def known(dim: int | str) -> int | str:
            with contextlib.suppress(KeyError):
                return size_of(dim, sizes)
            return dim

        outputs = (TensorSpec(spec.name, spec.dtype, tuple(map(known, spec.shape))) for spec in self.outputs)
        return Signature(tuple(map(fixed, self.inputs)), tuple(outputs))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Signature:
        """The inverse of `dataclasses.asdict`."""
        return Signature(
            inputs=tuple(TensorSpec(s["name"], s["dtype"], tuple(s["shape"])) for s in data["inputs"]),
            outputs=tuple(TensorSpec(s["name"], s["dtype"], tuple(s["shape"])) for s in data["outputs"]),
        )


@dataclass(frozen=True)
class StateLink:
    """`output` of `from_part` is fed to `input` of `to_part` at the next call (caches, SSM states).

    A state that nothing was linked to yet is `Part.initial`, or zeros: of the size of the dimensions
    that it shares with the call's other inputs, and of length 0 along the others (an empty cache).
    """

    from_part: str
    output: str
    to_part: str
    input: str


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a rollout: a part's inputs that no state link feeds, and what must come out.

    Attributes:
        part: Which part is called.
        inputs: Its other inputs by name.
        outputs: Reference outputs by name, from the source framework run over the whole sequence.
    """

    part: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """One recorded call of the source framework: inputs and reference outputs by name."""

    label: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


@dataclass
class Part:
    """One graph of a program.

    Attributes:
        name: "main"; "encoder", "decoder"; "prefill", "decode"; "step".
        path: The ONNX file on disk; its weights may lie in external files beside it.
        signature: Inputs and outputs.
        cases: Reference calls; the first is of the size that examples were given in, the others differ.
        sizes: Sizes of the named dimensions in the first case, where they are known already.
        initial: Values of state inputs before the first call, where they are not zeros.
        form_of: Name of the source's part that this is one form of; None: it is that part itself.
    """

    name: str
    path: Path
    signature: Signature
    cases: Sequence[Case] = ()
    sizes: dict[str, int] | None = None
    initial: Mapping[str, np.ndarray] = field(default_factory=dict)
    form_of: str | None = None

    @property
    def origin(self) -> str:
        """What the source calls it."""
        return self.form_of or self.name

    def example_sizes(self) -> dict[str, int]:
        """Size of every named dimension in the first case."""
        if self.sizes is None:
            first = self.cases[0].inputs
            self.sizes = {
                dim: int(first[spec.name].shape[axis])
                for spec in self.signature.inputs
                for axis, dim in enumerate(spec.shape)
                if isinstance(dim, str) and not is_sum(dim)
            }
        return self.sizes

    def model(self) -> ir.Model:
        """The graph, weights mapped from disk and not read."""
        import onnx_ir as ir

        return ir.load(self.path)


@dataclass
class Program:
    """Everything that an exporter knows of a model.

    Attributes:
        parts: By name, in calling order.
        links: State links between (or within) parts.
        source: Facts about the source, as `results.SourceFacts.model_dump()`.
        notes: What the exporter wants the report to say, such as rungs it left and why.
        rollout: Calls one after the other, from a fresh state: step by step against the full sequence.
    """

    parts: dict[str, Part]
    links: tuple[StateLink, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rollout: Sequence[Call] = ()

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts.values())

    def states(self, part: str) -> dict[str, StateLink]:
        """The inputs of a part that state links feed, each with one of its links."""
        return {link.input: link for link in self.links if link.to_part == part}

    def save(self, folder: Path) -> None:
        """Write `program.json` and the cases into `folder`, in which the ONNX files already are."""
        import numpy as np

        parts = []
        for part in self:
            arrays = initial(part.initial)
            for index, case in enumerate(part.cases):
                arrays |= side(index, "in", case.inputs) | side(index, "out", case.outputs)
            np.savez(folder / f"{part.name}.cases.npz", **arrays)  # type: ignore[arg-type]
            parts.append(
                {
                    "name": part.name,
                    "file": part.path.relative_to(folder).as_posix(),
                    "signature": asdict(part.signature),
                    "labels": [case.label for case in part.cases],
                    "sizes": part.example_sizes(),
                    "initial": list(part.initial),
                }
            )
        if self.rollout:
            calls: dict[str, np.ndarray] = {}
            for index, call in enumerate(self.rollout):
                calls |= side(index, "in", call.inputs) | side(index, "out", call.outputs)
            np.savez(folder / ROLLOUT_FILE, **calls)  # type: ignore[arg-type]
        data = {
            "parts": parts,
            "links": [asdict(link) for link in self.links],
            "source": self.source,
            "notes": self.notes,
            "rollout": [call.part for call in self.rollout],
        }
        (folder / PROGRAM_FILE).write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(folder: Path) -> Program:
        """Read what `save` wrote.

        Raises:
            EdgepackError: The folder does not hold a program.
        """
        try:
            data = json.loads((folder / PROGRAM_FILE).read_text())
        except (OSError, ValueError) as error:
            raise EdgepackError(f"A stored program cannot be read: {error}", where=str(folder)) from error
        parts = {}
        for entry in data["parts"]:
            stored = folder / f"{entry['name']}.cases.npz"
            parts[entry["name"]] = Part(
                entry["name"],
                folder / entry["file"],
                Signature.from_json(entry["signature"]),
                Stored(stored, entry["labels"], Case),
                entry["sizes"],
                read_initial(stored) if entry["initial"] else {},
            )
        links = tuple(StateLink(**link) for link in data["links"])
        rollout = Stored(folder / ROLLOUT_FILE, data["rollout"], Call) if data["rollout"] else ()
        return Program(parts, links, data["source"], data["notes"], rollout)


@dataclass(frozen=True)
class Lowered:
    """A part in the file form that a target, its quantizers and its compiler work on.

    Attributes:
        part: Name of the part.
        format: "onnx" or "tflite".
        path: The file, inside a folder of its own.
        signature: As a caller sees it; static targets have integers only.
        precision: "fp32", "int8-dynamic", "int8-static", "int16x8-static", ...
        changed_nodes: How many nodes the quantizer changed; None before quantization.
        notes: What the report should say.
    """

    part: str
    format: str
    path: Path
    signature: Signature
    precision: str = "fp32"
    changed_nodes: int | None = None
    notes: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write `lowered.json` beside the file, which must lie inside `folder`."""
        data = asdict(self) | {"path": self.path.relative_to(folder).as_posix()}
        (folder / LOWERED_FILE).write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(folder: Path) -> Lowered:
        """Read what `save` wrote."""
        data = json.loads((folder / LOWERED_FILE).read_text())
        data["path"] = folder / data["path"]
        data["signature"] = Signature.from_json(data["signature"])
        data["notes"] = tuple(data["notes"])
        return Lowered(**data)

    def quantized(self, path: Path, precision: str, changed_nodes: int, *notes: str) -> Lowered:
        """The same part after a quantizer wrote `path`."""
        return replace(
            self, path=path, precision=precision, changed_nodes=changed_nodes, notes=(*self.notes, *notes)
        )
