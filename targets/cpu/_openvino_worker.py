"""The process that converts and compiles with OpenVINO.

    python -m edgepack.targets.cpu._openvino_worker request.json

Answers (`toolchain.answers`) with what one call really executed: {"nodes": how many, "products": matrix products
and convolutions by the type they were computed in, "any": all nodes by that type}.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.answers import write_answer
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.vendors.openvino_ir import (
    DEVICE,
    NOTE,
    WEIGHTS,
    import_openvino,
    note_settings,
    silence,
)

PRODUCTS = ("FullyConnected", "MatMul", "Convolution", "Deconvolution", "GroupConvolution")
"""What kinds of products begin with: there are FullyConnectedCompressed and others."""
_NOT_EXECUTED = frozenset({"Const", "Input", "Output"})
_KERNEL_TYPE = re.compile(r"_(i8|u8|bf16|f16|f32|i32|i64)$")
_INT8 = frozenset({"i8", "u8"})
_LACKING = re.compile(r"No conversion rule found for operations: ([^\s,]+(?:, [^\s,]+)*)")
_LONGEST = 400


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    silence()
    write_answer(Path(request["answer"]), lambda: work(request))


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Read a model, write it as IR if that is asked for, compile it, and run it once.

    Raises:
        TargetError: OpenVINO does not take the model.
    """
    core = import_openvino().Core()
    model = read(core, Path(request["input"]), request["part"])
    if request["output"]:
        write(model, Path(request["output"]), request["settings"])
    try:
        compiled = core.compile_model(model, DEVICE, {**request["settings"], "PERF_COUNT": "YES"})
    except Exception as error:
        raise _refused(error, request["part"]) from error
    return executed(compiled, request["inputs"]) | {
        "kinds": core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    }


def read(core: Any, path: Path, part: str) -> Any:
    """The model of an ONNX or IR file.

    Raises:
        TargetError: OpenVINO does not take it; operators that it lacks are named.
    """
    try:
        return core.read_model(path)
    except Exception as error:
        raise _refused(error, part) from error


def write(model: Any, path: Path, settings: Mapping[str, str]) -> None:
    """Write `.xml` and `.bin`, the settings and a hash of the weights within the `.xml`.

    Two files that differ in their constants alone (ranges from other calibration data) would otherwise have equal
    `.xml` files.
    """
    openvino = import_openvino()
    placeholder = "0" * 64
    note_settings(model, settings)
    model.set_rt_info(placeholder, [NOTE, WEIGHTS])
    openvino.save_model(model, path, compress_to_fp16=False)
    digest = hashlib.sha256()
    with path.with_suffix(".bin").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    path.write_text(
        path.read_text(encoding="utf-8").replace(placeholder, digest.hexdigest(), 1), encoding="utf-8"
    )


def executed(compiled: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Which kernels a call uses: some are chosen only when sizes are known.

    Args:
        compiled: `openvino.CompiledModel`, with PERF_COUNT.
        inputs: Shape and dtype of every input; the call is made with zeros.
    """
    import numpy as np

    known = {name for port in compiled.inputs for name in port.names}
    feed = {name: np.zeros(shape, dtype) for name, (shape, dtype) in inputs.items() if name in known}
    request = compiled.create_infer_request()
    try:
        request.infer(feed)
        kernels = [
            (info.node_type, info.exec_type)
            for info in request.profiling_info
            if info.status == info.Status.EXECUTED
        ]
    except RuntimeError:  # zeros are no legal input; what is planned without a call says most
        kernels = _planned(compiled)
    products, every = Counter[str](), Counter[str]()
    for kind, kernel in kernels:
        found = _KERNEL_TYPE.search(kernel.lower())
        name = "int8" if found and found[1] in _INT8 else found[1] if found else "unknown"
        every[name] += 1
        if kind.startswith(PRODUCTS):
            products[name] += 1
    return {"nodes": len(kernels), "products": dict(products), "any": dict(every)}


def _planned(compiled: Any) -> list[tuple[str, str]]:
    """Kind and kernel of every node of the runtime's graph, those that prepare constants included."""
    rows = [
        (_text(info, "layerType"), _text(info, "primitiveType") or _text(info, "execType"))
        for info in (node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops())
    ]
    return [row for row in rows if row[0] not in _NOT_EXECUTED]


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


def _refused(error: Exception, part: str) -> TargetError:
    """The error in words: the operators that are missing, or what the runtime says."""
    text = " ".join(str(error).split())
    found = _LACKING.search(text)
    if found:
        names = [re.sub(r"-\d+$", "", name) for name in found[1].rstrip(". ").split(", ")]
        return TargetError(
            f"OpenVINO does not have the operator{'s' * (len(names) > 1)} {', '.join(names)}",
            where=f"part {part}",
            todo="Use --target cpu:onnxruntime for this model",
        )
    return TargetError(
        f"OpenVINO cannot take this model: {text[:_LONGEST]}",
        where=f"part {part}",
        todo="Use --target cpu:onnxruntime for this model",
    )


if __name__ == "__main__":
    main(sys.argv[1])
