"""What calibration samples tell about a float graph, found once for any number of mixed-precision assignments.

- peaks of the channels of every product's input, from which the factors follow that level outliers
  (`_onnx_channels`): x W = (x / f) (f W);
- ranges of every tensor that a static form may quantize, of a leveled input those of x / f;
- mean square of every such input, which a rounding error is held against (`_onnx_mixed_noise`);
- means of the channels that convolutions read, for the correction of biases (`_onnx_bias`);
- GPTQ's blocks of a product's weight, when a form asks for them.

Each is computed when it is first asked for. Noise says nothing of outliers, nor of what a weight's error costs: with
synthetic samples there are ranges only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.quantize._onnx_bias import _channel_means
from edgepack.quantize._onnx_channels import channel_peaks, leveling
from edgepack.quantize._onnx_edit import Builder
from edgepack.quantize._onnx_gptq import gptq
from edgepack.quantize._onnx_gram import moments
from edgepack.quantize._onnx_layers import Linear, linears
from edgepack.quantize._onnx_mixed_convolutions import convolution_tensors, is_constant
from edgepack.quantize._onnx_mixed_groups import BLOCK
from edgepack.quantize._onnx_mixed_static import LEVELED
from edgepack.quantize._onnx_observe import observe, reduce_nodes
from edgepack.quantize._onnx_ranges import ranges
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.passes.weights import array

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.quantize._onnx_blocks import Blocks
    from edgepack.quantize.base import CalibrationData
    from edgepack.toolchain.program import Lowered

_GPTQ_SAMPLES = 128
_SQUARE_SAMPLES = 8


class Facts:
    """Facts about one float file and its calibration data.

    Args:
        lowered: The float file.
        data: Samples; None when there are none.
    """

    def __init__(self, lowered: Lowered, data: CalibrationData | None) -> None:
        import onnx_ir as ir

        self.path = lowered.path
        self.part = lowered.part
        self._data = data
        graph = ir.load(lowered.path).graph
        self._linears = {str(value.name): group for value, group in linears(graph).items()}
        self._static = list(dict.fromkeys([*self._linears, *convolution_tensors(graph)]))
        self._kernels: dict[str, int] = {}
        for node in graph:
            kernel = node.inputs[1] if node.op_type == "Conv" else None
            if node.inputs and node.inputs[0] is not None and is_constant(kernel):
                assert kernel is not None and kernel.const_value is not None  # noqa: S101, PT018 - asked above
                self._kernels[str(node.inputs[0].name)] = len(kernel.const_value.shape)
        self._blocks: dict[int, dict[str, Blocks]] = {}

    @property
    def real(self) -> bool:
        """Whether there are samples that are not noise."""
        return self._data is not None and self._data.facts.kind != "synthetic"

    @property
    def data(self) -> CalibrationData:
        """The samples.

        Raises:
            UsageError: There are none.
        """
        if self._data is None:
            raise UsageError(
                "The form int8-static needs calibration data",
                where=f"part {self.part}",
                todo="Give it with --calibration, or assign other forms",
            )
        return self._data

    @cached_property
    def factors(self) -> dict[str, np.ndarray]:
        """Leveling factors f by input name, float32 [channels]; none without real samples."""
        if not self.real or not self._linears:
            return {}
        widths = {name: group[0].inputs for name, group in self._linears.items()}
        return leveling(channel_peaks(self.path, widths, self.data.samples))

    @cached_property
    def ranges(self) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """Lowest and highest value of every tensor that may be static; of leveled inputs as name + `LEVELED` too."""
        with tempfile.TemporaryDirectory(prefix="edgepack-") as scratch:
            path, names = self._leveled(Path(scratch))
            return ranges(path, [*self._static, *names], self.data)

    @cached_property
    def squares(self) -> Mapping[str, float]:
        """Mean square of what every product and convolution reads, of leveled inputs as name + `LEVELED`."""

        def probe(value: ir.Value, version: int) -> Sequence[tuple[str, Sequence[ir.Node]]]:
            import onnx_ir as ir

            square = ir.node("Mul", [value, value])
            return [(str(value.name), [square, *reduce_nodes("ReduceMean", square.outputs[0], version)])]

        totals: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory(prefix="edgepack-") as scratch:
            path, names = self._leveled(Path(scratch))
            wanted = dict.fromkeys([*self._linears, *self._kernels, *names])
            for seen in observe(path, wanted, probe, self.data.samples[:_SQUARE_SAMPLES]):
                for name, value in seen.items():
                    totals.setdefault(name, []).append(float(value))
        return {name: sum(values) / len(values) for name, values in totals.items()}

    @cached_property
    def means(self) -> Mapping[str, np.ndarray]:
        """Mean of every channel that convolutions read, by tensor."""
        if not self._kernels:
            return {}
        return _channel_means(self.path, self._kernels, self.data)

    def blocks(self, linear: Linear, bits: int) -> Blocks | None:
        """GPTQ's blocks of a product's weight; all of the graph's are solved at once. None without real samples."""
        if not self.real:
            return None
        if bits not in self._blocks:
            widths = {name: group[0].inputs for name, group in self._linears.items()}
            self._blocks[bits] = {
                _output(one): gptq(one.oriented(array(one.weight)), found.gram, bits, BLOCK)
                for name, found in moments(self.path, widths, self.data.samples[:_GPTQ_SAMPLES])
                for one in self._linears[name]
            }
        return self._blocks[bits].get(_output(linear))

    def _leveled(self, scratch: Path) -> tuple[Path, list[str]]:
        """The float file with x / f added to it under the name of x and `LEVELED`, and these names."""
        import onnx_ir as ir

        from edgepack.toolchain.passes.storage import save

        if not self.factors:
            return self.path, []
        model = ir.load(self.path)
        names = []
        for value in linears(model.graph):
            factors = self.factors.get(str(value.name))
            if factors is not None:
                build = Builder(model.graph, f"{value.name}{LEVELED}")
                made = build.add("Mul", [value, build.constant(1 / factors, "factor")])
                build.insert_before(next(node for node in model.graph if value in node.inputs))
                made.name = f"{value.name}{LEVELED}"
                names.append(str(made.name))
        return save(model, scratch, self.part), names


def _output(linear: Linear) -> str:
    return str(linear.node.outputs[0].name)
