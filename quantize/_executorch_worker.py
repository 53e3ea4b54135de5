"""The process that quantizes torch.export's program for XNNPACK and compiles it with ExecuTorch.

    python -m edgepack.quantize._executorch_worker request.json

XNNPACK's quantizer notes which tensors get integers, torchao's pt2e flow puts observers there, runs the samples and
writes pairs of quantize and dequantize; XNNPACK's partitioner makes integer kernels of them. Answers
(`toolchain.answers`) with {"facts": as of `toolchain.vendors.executorch.Facts`}.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.vendors import executorch_lowering
from edgepack.toolchain.vendors.executorch import EXPORTED_FILE, METHOD, PROGRAM_FILE, answer


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Quantize one program and compile it.

    Raises:
        TargetError: The quantizer or ExecuTorch does not take it.
    """
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    torch.set_num_threads(max(1, request["threads"]))
    part = request["part"]
    exported = torch.export.load(request["input"])
    args, _ = exported.example_inputs or ((), {})
    try:
        prepared = prepare_pt2e(exported.module(), _quantizer(request))
        with torch.no_grad():
            for sample in _samples(request) if request["samples"] else (args,):
                prepared(*sample)
            converted = convert_pt2e(prepared)
            quantized = torch.export.export(converted, args)
    except Exception as error:
        raise executorch_lowering.refused(error, part) from error
    folder = Path(request["folder"])
    torch.export.save(quantized, folder / EXPORTED_FILE)
    return executorch_lowering.write({METHOD: quantized}, folder / PROGRAM_FILE, part)


def _quantizer(request: Mapping[str, Any]) -> Any:
    """XNNPACK's own, for all operators that it knows or for those of some kinds."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    config = get_symmetric_quantization_config(
        is_per_channel=request["per_channel"], is_dynamic=request["dynamic"]
    )
    aten = torch.ops.aten
    kinds = {
        "linear": (aten.linear.default,),
        "convolution": (
            aten.conv1d.default,
            aten.conv2d.default,
            aten.conv_transpose1d.default,
            aten.conv_transpose2d.input,
        ),
        "add": (aten.add.Tensor, aten.add_.Tensor),
        "multiply": (aten.mul.Tensor, aten.mul_.Tensor),
        "pool": (aten.adaptive_avg_pool2d.default,),
        "concatenate": (aten.cat.default,),
    }
    quantizer = XNNPACKQuantizer()
    if not request["operators"]:
        return quantizer.set_global(config)
    for name in request["operators"]:
        for operator in kinds[name]:
            quantizer.set_operator_type(operator, config)
    return quantizer


def _samples(request: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Calibration samples, one `.npz` file each, in the order of the program's inputs."""
    import numpy as np
    import torch

    for file in sorted(Path(request["samples"]).glob("*.npz")):
        with np.load(file, allow_pickle=False) as arrays:
            yield tuple(torch.from_numpy(arrays[name]) for name in request["inputs"])


if __name__ == "__main__":
    answer(sys.argv[1], work)
