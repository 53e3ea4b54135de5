"""`.pt2`: a torch ExportedProgram saved by torch.export.save.

The archive is a zip whose parts may be pickles. Unless pickles are trusted they are read with
weights_only, so that nothing in them is run; by itself torch falls back to running them.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources.base import Source, TorchModel, TorchPart, sources
from edgepack.exporters.sources.inputs import random_inputs
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.files import hash_file
from edgepack.toolchain.native_operators import define_torch_operators
from edgepack.toolchain.program import Signature, TensorSpec
from edgepack.toolchain.results import SourceFacts

if TYPE_CHECKING:
    import numpy as np

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@sources.register("pt2")
class ExportedProgramSource(Source):
    """An ExportedProgram on disk."""

    kind = "pt2"

    @classmethod
    def accepts(cls, model: str) -> bool:
        return model.endswith(".pt2")

    def check(self) -> None:
        path = Path(self.request.model)
        if not path.is_file():
            raise SourceError(f"There is no file {path}", where=self.request.model)
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise SourceError(
                f"{path.name} is not a whole .pt2 archive: {error}",
                where=str(path),
                todo="Save it again with torch.export.save, or copy it again",
            ) from error
        if broken:
            raise SourceError(f"{path.name} is damaged at '{broken}'", where=str(path), todo="Copy it again")

    def fingerprint(self) -> str | None:
        return hash_file(Path(self.request.model)).sha256

    def open_torch(self) -> TorchModel:
        import torch

        path = Path(self.request.model)
        define_torch_operators()
        try:
            with _weights_only(only=not self.request.trust_pickle):
                exported = torch.export.load(path)
        except Exception as error:
            raise SourceError(
                f"torch {torch.__version__} cannot load {path.name}: {type(error).__name__}: {error}",
                where=str(path),
                todo="Save it again with torch.export.save of a matching torch version",
            ) from error
        specs, sizes, ranges, values = _inputs(exported, str(path))

        def example(wanted: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
            if seed == 0 and values and dict(wanted) == sizes:
                return dict(values)
            upper = {
                name: int(array.max(initial=0)) + 1
                for name, array in values.items()
                if array.dtype.kind in "iu"
            }
            return random_inputs(specs, wanted, seed, upper)

        facts = SourceFacts(
            kind=self.kind,
            location=str(path),
            fingerprint="",
            architecture="ExportedProgram",
            parameters=sum(p.numel() for p in exported.parameters()),
            weight_bytes=sum(t.numel() * t.element_size() for t in exported.state_dict.values()),
        )
        module = exported.module()
        part = TorchPart(module, Signature(specs, ()), example, facts.location, sizes=sizes, limits=ranges)
        return TorchModel({"main": part}, facts)


@contextmanager
def _weights_only(*, only: bool) -> Iterator[None]:
    """Have every torch.load within refuse what is not tensors, whatever its caller asks for."""
    before = os.environ.get(_FORCE)
    if only:
        os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_FORCE, None)
        else:
            os.environ[_FORCE] = before


def _inputs(
    exported: Any, where: str
) -> tuple[tuple[TensorSpec, ...], dict[str, int], dict[str, int], dict[str, np.ndarray]]:
    """Specs, example sizes, upper limits of the named dimensions, and example values where saved."""
    import torch

    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    examples = exported.example_inputs
    given = [*examples[0], *examples[1].values()] if examples else []
    specs: list[TensorSpec] = []
    sizes: dict[str, int] = {}
    limits: dict[str, int] = {}
    values: dict[str, np.ndarray] = {}
    ranges = {str(symbol): bounds for symbol, bounds in exported.range_constraints.items()}
    for index, name in enumerate(exported.graph_signature.user_inputs):
        fake = nodes[name].meta["val"] if name in nodes else None
        if not isinstance(fake, torch.Tensor):
            raise SourceError(f"The input '{name}' of the exported program is not a tensor", where=where)
        actual = given[index] if index < len(given) and isinstance(given[index], torch.Tensor) else None
        shape: list[int | str] = []
        dims: list[Any] = list(fake.shape)  # integers, or torch.SymInt, which torch types as int
        for axis, dim in enumerate(dims):
            if isinstance(dim, int):
                shape.append(dim)
                continue
            symbol = str(dim)
            bounds = ranges.get(symbol)
            lower = max(2, int(bounds.lower)) if bounds is not None else 2
            sizes.setdefault(symbol, int(actual.shape[axis]) if actual is not None else lower + 4)
            if bounds is not None and bounds.upper.is_finite:
                limits[symbol] = int(bounds.upper)
            shape.append(symbol)
        specs.append(TensorSpec(name, str(fake.dtype).removeprefix("torch."), tuple(shape)))
        if actual is not None:
            values[name] = actual.detach().cpu().numpy()
    return tuple(specs), sizes, limits, values
