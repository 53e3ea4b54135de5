"""Quantizes for ExecuTorch: XNNPACK's own quantizer with torchao's pt2e flow, in a process of its own.

- ``executorch-dynamic``: weights of matrix products per channel in 8 bits; activations are quantized at run time, one
  scale for the tensor.
- ``executorch-static``: activations have fixed ranges too, found by running calibration samples through histograms.

Both are symmetric in the weights (-127 to 127) and asymmetric in the activations (-128 to 127), as XNNPACK's integer
kernels want them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field

from edgepack.quantize._calibrating import lacking, required, store
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Options, split
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.vendors import executorch
from edgepack.toolchain.vendors.executorch import EXPORTED_FILE, FORMAT, PROGRAM_FILE, Facts

WORKER = "edgepack.quantize._executorch_worker"
TIME_LIMIT_S = 1800.0
Kind = Literal["linear", "convolution", "add", "multiply", "pool", "concatenate"]
KINDS: tuple[str, ...] = get_args(Kind)


class ExecuTorchOptions(Options):
    """What both quantizers can be told."""

    per_channel: bool = Field(default=True, description="whether every output channel's weights have a scale")
    threads: int = Field(2, ge=1, description="threads that the quantizer may use")
    time_limit_s: float = Field(TIME_LIMIT_S, gt=0, description="seconds that the quantizer may take")


class ExecuTorchStaticOptions(ExecuTorchOptions):
    """What static quantization can be told."""

    samples: int = Field(
        32, ge=1, description="calibration samples that are used: each costs a call through histograms"
    )
    operators: Annotated[tuple[Kind, ...], BeforeValidator(split)] | None = Field(
        None, description=f"kinds to quantize, of {', '.join(KINDS)}; by default all"
    )


class _ExecuTorchQuantizer(Quantizer):
    """What both quantizers share: a request for the worker, and what it made."""

    format = FORMAT
    options_type: ClassVar[type[ExecuTorchOptions]]

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write `model.pte`, `model.json` and `model.pt2` into `folder`.

        Args:
            lowered: The float program.
            precision: "int8-dynamic" or "int8-static".
            data: Calibration samples, of the program's sizes; not used by the dynamic one.
            folder: Where to write.
            options: Those of `options_type`.

        Raises:
            UsageError: A static one has no calibration data, or a sample has other sizes.
            TargetError: No operator was changed, or the quantizer refuses the model.
            ToolchainFailedError: The quantizer crashed or hung.
        """
        name = "executorch-static" if self.static else "executorch-dynamic"
        asked = self.options_type.of(options, name, f"part {lowered.part}")
        if not isinstance(asked, ExecuTorchStaticOptions):
            return self._run(lowered, precision, asked, None, folder)
        data = required(data, precision, lowered.part)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="samples-", dir=folder.resolve()) as samples:
            _store(data, lowered, asked.samples, Path(samples))
            return self._run(lowered, precision, asked, Path(samples), folder)

    def _run(
        self,
        lowered: Lowered,
        precision: str,
        asked: ExecuTorchOptions,
        samples: Path | None,
        folder: Path,
    ) -> Lowered:
        request = {
            "input": str((lowered.path.parent / EXPORTED_FILE).resolve()),
            "part": lowered.part,
            "inputs": [spec.name for spec in lowered.signature.inputs],
            "dynamic": not self.static,
            "per_channel": asked.per_channel,
            "operators": list(getattr(asked, "operators", None) or ()),
            "threads": asked.threads,
            "samples": str(samples.resolve()) if samples else None,
        }
        facts = executorch.ask(WORKER, request, lowered.part, folder, asked.time_limit_s)
        path = folder / PROGRAM_FILE
        if not facts.integer:
            for file in (path, path.with_suffix(".json"), path.with_name(EXPORTED_FILE)):
                file.unlink(missing_ok=True)
            raise TargetError(
                f"Quantizing to {precision} changed no operator that XNNPACK runs",
                where=f"part {lowered.part}",
                todo="Use --precision fp32: the model has none that XNNPACK's quantizer knows",
            )
        left = _left_in_float(Facts.of(lowered.path), facts)
        return lowered.quantized(path, precision, facts.integer, *left)


@quantizers.register("executorch-dynamic")
class ExecuTorchDynamic(_ExecuTorchQuantizer):
    """Per-channel int8 weights of matrix products; activations are quantized at run time."""

    static = False
    options_type = ExecuTorchOptions


@quantizers.register("executorch-static")
class ExecuTorchStatic(_ExecuTorchQuantizer):
    """Per-channel int8 weights; activations with ranges from calibration data."""

    static = True
    options_type = ExecuTorchStaticOptions


def _store(data: CalibrationData, lowered: Lowered, most: int, folder: Path) -> None:
    """Write the samples, one file each, never holding more than one.

    Raises:
        UsageError: A sample does not have the program's inputs.
    """
    for index, sample in enumerate(data.samples[:most]):
        spec = lacking(sample, lowered.signature)
        if spec is not None:
            raise UsageError(
                f"Calibration sample {index + 1} does not have the input {spec}",
                where=f"part {lowered.part}",
                todo="Give samples of these names and sizes",
            )
        store(sample, lowered.signature, folder, index)


def _left_in_float(plain: Facts, made: Facts) -> tuple[str, ...]:
    """What the report should say of operators that XNNPACK runs in float still."""
    rest = plain.delegated - made.integer
    return (f"{rest} of {plain.delegated} operators in XNNPACK stay in float",) if rest > 0 else ()
