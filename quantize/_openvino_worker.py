"""The process that makes weight-only forms for OpenVINO with NNCF.

    python -m edgepack.quantize._openvino_worker request.json

Answers with {"ok": true, "changed": constants that are stored in fewer bits} or {"ok": false, "what": why not}.
NNCF draws progress bars, warns and logs; none of it reaches the caller.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.answers import write_words
from edgepack.toolchain.vendors.openvino_ir import import_openvino, silence

HALF = 16


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    silence()
    write_words(Path(request["answer"]), lambda: work(request))


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Compress the weights of one ONNX file and write it as IR.

    Returns:
        How many constants became integer or float16.
    """
    openvino = import_openvino()
    model = openvino.Core().read_model(request["input"])
    output = request["output"]
    if request["bits"] == HALF:
        openvino.save_model(model, output, compress_to_fp16=True)
        return {"changed": _constants(openvino.Core().read_model(output), {"f16"})}
    import nncf

    nncf.set_log_level(logging.CRITICAL)
    made = _compressed(nncf, model, request)
    changed = _constants(made, {"i8", "u8", "i4", "u4"})
    openvino.save_model(made, output, compress_to_fp16=False)
    return {"changed": changed}


def _compressed(nncf: Any, model: Any, request: Mapping[str, Any]) -> Any:
    """Weights of 8 bits per channel, or of 4 bits in groups, whose scales follow the data where there is any."""
    modes = nncf.CompressWeightsMode
    if request["bits"] != 4:  # noqa: PLR2004 - bits
        return nncf.compress_weights(model, mode=modes.INT8_SYM)
    data = nncf.Dataset(Samples(Path(request["samples"]))) if request.get("samples") else None
    return nncf.compress_weights(
        model,
        mode=modes.INT4_SYM,
        group_size=request["group"],
        ratio=1.0,
        all_layers=True,
        dataset=data,
        scale_estimation=True if data is not None else None,
        awq=True if data is not None else None,
    )


def _constants(model: Any, kinds: set[str]) -> int:
    """Constants of at least a row that are stored in one of these types."""
    return sum(
        node.get_type_name() == "Constant"
        and node.get_output_element_type(0).to_string() in kinds
        and len(node.get_output_shape(0)) > 1
        for node in model.get_ops()
    )


class Samples:
    """Calibration samples, one `.npz` file each, read when they are asked for; NNCF goes through them repeatedly.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._files = sorted(folder.glob("*.npz"))

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        import numpy as np

        for file in self._files:
            with np.load(file, allow_pickle=False) as arrays:
                yield {name: arrays[name] for name in arrays.files}


if __name__ == "__main__":
    main(sys.argv[1])
