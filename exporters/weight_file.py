"""One file of weights for all parts of a model, written while they are exported.

Parts share the model's modules, so their graphs hold tensors over the same memory: each is written
once, found again by its address, and every graph refers to the same bytes. Tied weights are one
tensor for the same reason.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir
    from typing_extensions import Self

_ALIGNMENT = 4096
# Below this a weight goes into the graph file: constants that passes want to look into.
_SMALL_BYTES = 1024


class WeightFile:
    """The file, open for appending.

    Args:
        path: Where it lies; graphs that refer to it must lie in the same folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._places: dict[tuple[Any, ...], tuple[int, int]] = {}
        # Memory that was given back could hold another tensor at the same address.
        self._alive: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def save(self, model: ir.Model, path: Path) -> None:
        """Write `model` to `path`, its large weights here. The model's own tensors are replaced."""
        import onnx_ir as ir

        for graph in model.graphs():
            for value in graph.initializers.values():
                tensor = value.const_value
                if tensor is None or tensor.nbytes < _SMALL_BYTES or tensor.dtype is ir.DataType.STRING:
                    continue
                offset, length = self._place(tensor)
                value.const_value = ir.ExternalTensor(
                    self.path.name, offset, length, tensor.dtype,
                    shape=ir.Shape(tensor.shape.numpy()), name=value.name or "", base_dir=self.path.parent,
                )  # fmt: skip
        self._file.flush()
        ir.save(model, path)

    def _place(self, tensor: ir.TensorProtocol) -> tuple[int, int]:
        """Offset and length of a tensor's bytes, written now unless they were before."""
        key = _address(tensor)
        if key is not None and key in self._places:
            return self._places[key]
        end = self._file.tell()
        offset = -(-end // _ALIGNMENT) * _ALIGNMENT
        self._file.write(b"\0" * (offset - end))
        write = getattr(tensor, "tofile", None)
        if write is not None:
            write(self._file)
        else:
            self._file.write(tensor.tobytes())
        place = offset, self._file.tell() - offset
        if key is not None:
            self._places[key] = place
            self._alive.append(tensor)
        return place


def _address(tensor: ir.TensorProtocol) -> tuple[Any, ...] | None:
    """What tells whether two torch-backed tensors are the same memory; None for others."""
    import torch

    raw = getattr(tensor, "raw", None)
    if not isinstance(raw, torch.Tensor) or type(raw).__name__ == "FakeTensor":
        return None
    return raw.data_ptr(), tuple(raw.shape), tuple(raw.stride()), raw.dtype
