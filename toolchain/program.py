"""Program, Part, Signature, StateLink: the one thing that flows through the pipeline.

A Program is what an exporter makes of a source: named parts, each an ONNX graph held as an
`onnx_ir.Model` whose weights stay mapped from disk, with its signature and with reference inputs
and outputs recorded from the source framework. State links say which output of one call feeds
which input of the next. `Lowered` is one part in the file form that a target works on.

Dimensions are integers, or names when they may vary; dtypes are numpy's names ("float32", "int64").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from edgepack.toolchain.errors import EdgepackError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

PROGRAM_FILE = "program.json"
LOWERED_FILE = "lowered.json"


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of one input or output; a str dimension may vary, equal names agree."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def resolve(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape with every named dimension replaced by `sizes`; an unknown name is a KeyError."""
        return tuple(dim if isinstance(dim, int) else sizes[dim] for dim in self.shape)

    def __str__(self) -> str:
        return f"{self.name}:{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a part, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the dimensions that may vary, in order of first use by an input."""
        return tuple(dict.fromkeys(dim for spec in self.inputs for dim in spec.shape if isinstance(dim, str)))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Signature:
        """The inverse of `dataclasses.asdict`."""
        return Signature(
            inputs=tuple(TensorSpec(s["name"], s["dtype"], tuple(s["shape"])) for s in data["inputs"]),
            outputs=tuple(TensorSpec(s["name"], s["dtype"], tuple(s["shape"])) for s in data["outputs"]),
        )


@dataclass(frozen=True)
class StateLink:
    """`output` of `from_part` is fed to `input` of `to_part` at the next call (caches, SSM states)."""

    from_part: str
    output: str
    to_part: str
    input: str


@dataclass(frozen=True, eq=False)
class Case:
    """One recorded call of the source framework: inputs and reference outputs by name."""

    label: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


class StoredCases(Sequence[Case]):
    """Cases that `Program.save` wrote, read when the first one is asked for.

    Args:
        path: The .npz file.
        labels: The cases' labels.
    """

    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._path = path
        self._labels = labels

    @cached_property
    def _cases(self) -> list[Case]:
        import numpy as np

        with np.load(self._path, allow_pickle=False) as arrays:

            def side(index: int, name: str) -> dict[str, np.ndarray]:
                start = f"{index}/{name}/"
                return {key.removeprefix(start): arrays[key] for key in arrays.files if key.startswith(start)}

            return [Case(label, side(i, "in"), side(i, "out")) for i, label in enumerate(self._labels)]

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> Case: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Case]: ...

    def __getitem__(self, index: int | slice) -> Case | Sequence[Case]:
        return self._cases[index]


@dataclass
class Part:
    """One graph of a program.

    Attributes:
        name: "main"; "encoder", "decoder"; "prefill", "decode"; "step".
        path: The ONNX file on disk; its weights may lie in external files beside it.
        signature: Inputs and outputs.
        cases: Reference calls; the first is of the size that examples were given in, the others differ.
        sizes: Sizes of the named dimensions in the first case, where they are known already.
    """

    name: str
    path: Path
    signature: Signature
    cases: Sequence[Case] = ()
    sizes: dict[str, int] | None = None

    def example_sizes(self) -> dict[str, int]:
        """Size of every named dimension in the first case."""
        if self.sizes is None:
            first = self.cases[0].inputs
            self.sizes = {
                dim: int(first[spec.name].shape[axis])
                for spec in self.signature.inputs
                for axis, dim in enumerate(spec.shape)
                if isinstance(dim, str)
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
    """

    parts: dict[str, Part]
    links: tuple[StateLink, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts.values())

    def save(self, folder: Path) -> None:
        """Write `program.json` and the cases into `folder`, in which the ONNX files already are."""
        import numpy as np

        parts = []
        for part in self:
            arrays: dict[str, np.ndarray] = {}
            for index, case in enumerate(part.cases):
                arrays |= {f"{index}/in/{name}": value for name, value in case.inputs.items()}
                arrays |= {f"{index}/out/{name}": value for name, value in case.outputs.items()}
            np.savez(folder / f"{part.name}.cases.npz", **arrays)  # type: ignore[arg-type]
            parts.append(
                {
                    "name": part.name,
                    "file": part.path.relative_to(folder).as_posix(),
                    "signature": asdict(part.signature),
                    "labels": [case.label for case in part.cases],
                    "sizes": part.example_sizes(),
                }
            )
        data = {
            "parts": parts,
            "links": [asdict(link) for link in self.links],
            "source": self.source,
            "notes": self.notes,
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
            cases = StoredCases(folder / f"{entry['name']}.cases.npz", tuple(entry["labels"]))
            parts[entry["name"]] = Part(
                entry["name"],
                folder / entry["file"],
                Signature.from_json(entry["signature"]),
                cases,
                entry["sizes"],
            )
        links = tuple(StateLink(**link) for link in data["links"])
        return Program(parts, links, data["source"], data["notes"])


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
