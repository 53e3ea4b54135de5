"""Quantizes `.tflite` files with ai-edge-quantizer: int8 weights, and activations in one of three ways.

- ``litert-dynamic``: activations stay float in the file and are quantized row by row at run time, by
  the products' own kernels. Needs no data.
- ``litert-static``: activations have fixed ranges, 8 bits ("int8-static") or 16 ("int16x8-static"),
  found by running the float model on calibration samples.

Token embeddings get int8 rows and float results in every case: a table is looked up, not multiplied,
and static ranges for it would only add error.

The quantizer runs in a process of its own (`_litert_worker`): it keeps every tensor of a run in memory,
prints, and calls native code. Samples travel one file each and are read one at a time.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgepack.quantize._calibrating import lacking, required, store
from edgepack.quantize._keep import kept_in_tflite
from edgepack.quantize.base import CalibrationData, Quantizer, quantizers
from edgepack.quantize.options import Names, Options, fixed
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import TargetError, ToolchainFailedError, UsageError
from edgepack.toolchain.program import Lowered
from edgepack.toolchain.subprocesses import run_tool

WORKER = "edgepack.quantize._litert_worker"
ACTIVATION_BITS = {"int8-static": 8, "int16x8-static": 16, "int16-static": 16}
"""By precision; the two of 16 bits differ in what the graph was rewritten to before."""
TIME_LIMIT_S = 1800.0


class LitertOptions(Options):
    """What both quantizers can be told."""

    time_limit_s: float = Field(TIME_LIMIT_S, gt=0, description="seconds that the quantizer may take")
    keep: Names = Field(
        (), description='nodes that stay float, by name; in 16 bits where the ends are "int16"'
    )


class LitertDynamicOptions(LitertOptions):
    """What dynamic quantization can be told."""

    bits: Literal[4, 8] = fixed(8, "bits of a weight of a matrix product; other weights have 8")
    block: Literal[32, 64, 128, 256] = Field(32, description="weights that share a scale, with 4 bits")


class LitertStaticOptions(LitertOptions):
    """What static quantization can be told."""

    ranges: Literal["min-max", "moving-average"] = Field(
        "min-max",
        description="extremes of all samples, or 0.95 of the old and 0.05 of the new extreme, "
        "ai-edge-quantizer's own habit",
    )
    threads: int = Field(2, ge=1, description="threads that run the samples")
    integer_npu: bool = Field(
        default=False, description="whether operators that integer NPUs lack with 16 bits are rewritten"
    )
    matmul_bits: Literal[8, 16] | None = Field(
        None, description="width of products of two activations, by default the activations'"
    )
    ends: Literal["float", "int16"] | None = Field(
        None, description="precision of a convolutional stem and of scores, by default the rest's"
    )
    correct_biases: bool = Field(
        default=True,
        description="whether biases of convolutional models make up for the error of rounded weights",
    )


class _LitertQuantizer(Quantizer):
    """What both quantizers share: a request for the worker, and its answer."""

    format = "tflite"

    def _run(self, lowered: Lowered, precision: str, request: dict[str, Any], folder: Path) -> Lowered:
        limit = float(request.pop("time_limit_s", TIME_LIMIT_S))
        if request["keep"]:
            kept = kept_in_tflite(request["keep"], tflite.read(lowered.path), lowered.part)
            request["keep"] = sorted(kept)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "model.tflite"
        # The worker runs in `folder`: relative paths would mean something else there.
        request |= {"input": str(lowered.path.resolve()), "output": str(path.resolve())}
        with tempfile.TemporaryDirectory(prefix="quantize-", dir=folder.resolve()) as scratch:
            request_file, answer_file = Path(scratch) / "request.json", Path(scratch) / "answer.json"
            request["scratch"], request["answer"] = scratch, str(answer_file)
            request_file.write_text(json.dumps(request))
            run_tool(
                "ai-edge-quantizer",
                [sys.executable, "-m", WORKER, str(request_file)],
                time_limit_s=limit,
                cwd=folder,
                expect=[answer_file],
            )
            answer = json.loads(answer_file.read_text())
        if not answer["ok"]:
            raise TargetError(
                f"ai-edge-quantizer cannot quantize this model to {precision}: {answer['what']}",
                where=f"part {lowered.part}",
                todo="Choose another --precision",
            )
        if not path.is_file() or path.stat().st_size == 0:
            raise ToolchainFailedError(
                "ai-edge-quantizer ended with exit code 0 and wrote no model", where=f"part {lowered.part}"
            )
        changed = int(answer["changed"])
        if changed == 0:
            path.unlink()
            raise TargetError(
                f"Quantizing to {precision} changed no operator of the model",
                where=f"part {lowered.part}",
                todo="Use --precision fp32: the model has none that ai-edge-quantizer knows",
            )
        return lowered.quantized(path, precision, changed, *answer["notes"])


@quantizers.register("litert-dynamic")
class LitertDynamic(_LitertQuantizer):
    """Per-channel int8 weights, or int4 in blocks; activations are quantized row by row at run time."""

    static = False
    options_type = LitertDynamicOptions

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write the quantized file into `folder`.

        Args:
            lowered: The float file.
            precision: "int8-dynamic", or "int4-weights"; the option `bits` decides.
            data: Not used.
            folder: Receives `model.tflite`.
            options: Those of `LitertDynamicOptions`.

        Raises:
            TargetError: No operator was changed, or the quantizer refuses the model.
            ToolchainFailedError: The quantizer crashed or hung.
        """
        del data
        asked = LitertDynamicOptions.of(options, "litert-dynamic", f"part {lowered.part}")
        request = {"mode": "dynamic", **asked.model_dump()}
        return self._run(lowered, precision, request, folder)


@quantizers.register("litert-static")
class LitertStatic(_LitertQuantizer):
    """Per-channel int8 weights; activations of 8 or 16 bits with ranges from calibration data."""

    static = True
    options_type = LitertStaticOptions

    def quantize(
        self, lowered: Lowered, precision: str, data: CalibrationData | None, folder: Path, **options: Any
    ) -> Lowered:
        """Write the quantized file into `folder`.

        Args:
            lowered: The float file.
            precision: "int8-static", "int16x8-static" or "int16-static".
            data: Calibration samples; those of the file's (static) sizes are used.
            folder: Receives `model.tflite`.
            options: Those of `LitertStaticOptions`; `_tflite_rewrite` has more on `integer_npu`, `_tflite_ends`
                on `ends`, `_tflite_bias` on `correct_biases`.

        Raises:
            UsageError: There is no calibration data of the right sizes.
            TargetError: No operator was changed, or the quantizer refuses the model.
            ToolchainFailedError: The quantizer crashed or hung.
        """
        asked = LitertStaticOptions.of(options, "litert-static", f"part {lowered.part}")
        if precision not in ACTIVATION_BITS:
            raise UsageError(
                f"'{precision}' is not a static precision", todo=f"Known: {', '.join(ACTIVATION_BITS)}"
            )
        data = required(data, precision, lowered.part)
        request = {
            "mode": "static",
            "activation_bits": ACTIVATION_BITS[precision],
            **asked.model_dump(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="samples-", dir=folder.resolve()) as samples:
            used, left = _store(data, lowered, Path(samples))
            request["samples"] = samples
            result = self._run(lowered, precision, request, folder)
        if left:
            note = (
                f"{left} of {used + left} calibration samples were left out: their sizes are not the model's"
            )
            return lowered.quantized(
                result.path, precision, result.changed_nodes or 0, *result.notes[len(lowered.notes) :], note
            )
        return result


def _store(data: CalibrationData, lowered: Lowered, folder: Path) -> tuple[int, int]:
    """Write the samples that fit, one file each, never holding more than one.

    Returns:
        How many were written, and how many have other sizes.

    Raises:
        UsageError: None fits.
    """
    used = left = 0
    for sample in data:
        if lacking(sample, lowered.signature) is None:
            store(sample, lowered.signature, folder, used)
            used += 1
        else:
            left += 1
    if not used:
        wanted = ", ".join(map(str, lowered.signature.inputs))
        raise UsageError(
            f"None of the {left} calibration samples has the inputs of the model: {wanted}",
            where=f"part {lowered.part}",
            todo="Give samples of these names and sizes (text is padded to the model's length)",
        )
    return used, left
