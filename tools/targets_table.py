# ruff: noqa: INP001 - a script, not a package
"""Prints the table of targets as Markdown, from the registry; README.md and docs/targets.md hold it.

    python tools/targets_table.py                                     print it
    python tools/targets_table.py README.md docs/targets.md           put it between the files' markers

The precisions are what a target offers for a model of one matrix product, those included that
`--precision auto` would not build for it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from edgepack.targets.base import Target, targets
from edgepack.toolchain import markdown
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.recipe import PRECISIONS

PLACE = markdown.Place("<!-- targets: written by `make docs` -->", "<!-- /targets -->")
HEAD = ("Target", "What it is", "Precisions", "Latency", "Toolchain, and what installs it")


def table() -> str:
    """The Markdown table, one row per target of edgepack's own, sorted by name."""
    with tempfile.TemporaryDirectory() as folder:
        own = [kind for _, kind in targets.items() if kind.__module__.startswith("edgepack.")]
        return markdown.table(HEAD, (_row(kind(), Path(folder)) for kind in own))


def _row(target: Target, folder: Path) -> tuple[str, ...]:
    offered = {offer.precision for offer in target.offers(_small_model(target.session, folder))}
    known = [name for name in PRECISIONS if name in offered] + sorted(offered.difference(PRECISIONS))
    needs = target.requirements()
    return (
        f"`{target.name}`",
        target.title,
        ", ".join(known),
        "measured here" if target.runs_here else "vendor's estimate" if target.estimated else "none",
        "; ".join(
            f"{', '.join(need.distribution for need in needs if need.command == command)}: `{command}`"
            for command in dict.fromkeys(need.command for need in needs)
        ),
    )


def _small_model(session: str, folder: Path) -> Lowered:
    """A product with one matrix, y = x W, in the form of file that a session opens."""
    form, suffix, make = _FORMS.get(session, ("onnx", "onnx", _onnx))
    path = folder / f"model.{suffix}"
    if not path.exists():
        make(path)
    specs = (TensorSpec("x", "float32", (1, 4)),), (TensorSpec("y", "float32", (1, 4)),)
    return Lowered("main", form, path, Signature(*specs))


def _onnx(path: Path) -> None:
    import numpy as np
    import onnx_ir as ir

    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape((1, 4)))
    w = ir.Value(name="w", const_value=ir.tensor(np.eye(4, dtype=np.float32), name="w"))
    node = ir.node("MatMul", [x, w])
    y = node.outputs[0]
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape((1, 4))
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 20}, name="main")
    ir.save(ir.Model(graph, ir_version=10), path)


def _tflite(path: Path) -> None:
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    from edgepack.toolchain import tflite

    model, graph, code, operator = (
        schema.ModelT(),
        schema.SubGraphT(),
        schema.OperatorCodeT(),
        schema.OperatorT(),
    )
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    empty, weights = schema.BufferT(), schema.BufferT()
    weights.data = np.frombuffer(np.eye(4, dtype=np.float32).tobytes(), np.uint8)
    model.buffers = [empty, weights]
    graph.tensors = []
    for name, shape, buffer in (("x", [1, 4], 0), ("w", [4, 4], 1), ("y", [1, 4], 0)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer, tensor.type = name, shape, buffer, schema.TensorType.FLOAT32
        graph.tensors.append(tensor)
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [2]
    tflite.write(model, path)


def _executorch(path: Path) -> None:
    """What lies beside a program; the program itself is not looked at."""
    from edgepack.toolchain.vendors.executorch import Facts

    path.touch()
    Facts("", delegated=1, subgraphs=1, integer=0, portable=(), convolutions=0, products=16, outputs=()).save(
        path
    )


def _ncnn(path: Path) -> None:
    """The layers and what lies beside them; the weights are not looked at."""
    from edgepack.toolchain.vendors.ncnn import Blobs

    layers = ("Input in0 0 1 in0", "Gemm gemm 1 1 in0 out0 4=0 5=1 3=1 7=1 8=4 9=4")
    path.write_text("\n".join(("7767517", "2 2", *layers)))
    path.with_suffix(".json").write_text(json.dumps(Blobs({}, {}, (0, 16)).to_json()))


_FORMS = {
    "litert": ("tflite", "tflite", _tflite),
    "executorch": ("executorch", "pte", _executorch),
    "ncnn": ("ncnn", "param", _ncnn),
}


def main(files: list[str]) -> None:
    """Print the table, or put it into the files."""
    made = table()
    if not files:
        sys.stdout.write(made)
    PLACE.write(made, map(Path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
