"""A trained network as the file that ships: ONNX with one node a binary layer, and functions for where no kernel is.

The file is checked against the frozen network in edgepack's own session: classes of the same test inputs. Both add the
same whole numbers up, but round in other places, and a sign of a value next to zero may differ; so not every class can
be asked for, only `AGREEMENT` of them.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepack.quantize.binary import freeze
from edgepack.runtime.kernels import DOMAIN
from edgepack.toolchain.bibench.cells.training import logits
from edgepack.toolchain.bibench.results import Artifact
from edgepack.toolchain.errors import ExportError, GateError
from edgepack.toolchain.files import hash_file
from edgepack.toolchain.program import Signature, TensorSpec

FILE = "model.onnx"
AGREEMENT = 0.97
_INPUT, _OUTPUT, _BATCH = "inputs", "logits", "n"


def frozen(network: nn.Module, *, binary: bool) -> nn.Module:
    """What is exported: packed bits, or the float network itself."""
    return freeze(network) if binary else network


def signature(one: Tensor, classes: int) -> Signature:
    """Of the file."""
    shape = (_BATCH, *one.shape[1:])
    return Signature(
        (TensorSpec(_INPUT, str(one.dtype).removeprefix("torch."), shape),),
        (TensorSpec(_OUTPUT, "float32", (_BATCH, classes)),),
    )


def write(network: nn.Module, inputs: Tensor, classes: int, folder: Path) -> Artifact:
    """Export a frozen network, and run it.

    Args:
        network: From `frozen`, in eval mode.
        inputs: Of the test.
        classes: How many logits.
        folder: Receives the file.

    Raises:
        ExportError: torch cannot export it.
        GateError: The file answers other than the network.
        SourceError: ONNX Runtime does not load or run it.
    """
    import onnx_ir as ir

    from edgepack.runtime.kernels.functions import add_fallbacks

    path = folder / FILE
    model = ir.serde.deserialize_model(_exported(network, inputs[:2]))
    native = _completed(model)
    add_fallbacks(model)
    ir.save(model, path)
    answers = _run(path, inputs, signature(inputs[:1], classes))
    same = float((answers.argmax(1) == logits(network, inputs).argmax(1).numpy()).mean())
    if same < AGREEMENT:
        raise GateError(
            f"The exported file gives the class of the frozen network for {same:.1%} of the test inputs "
            f"(from {AGREEMENT:.0%} on)"
        )
    return Artifact(
        size_bytes=path.stat().st_size,
        sha256=hash_file(path).sha256,
        native_nodes=native,
        agreement=same,
    )


def _exported(network: nn.Module, inputs: Tensor) -> Any:
    """The ONNX model of torch's exporter."""
    import contextlib
    import io
    import logging

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network.eval(),
                (inputs,),
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                dynamic_shapes=({0: torch.export.Dim(_BATCH)},),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(f"torch cannot export it: {' '.join(str(error).split())[:300]}") from error
    finally:
        logger.setLevel(level)
    if program is None:
        raise ExportError("torch exported nothing")
    return program.model_proto


def _completed(model: Any) -> int:
    """Give binary nodes what the operator's function needs: a shift of zero, dilations of 1. Returns how many."""
    import onnx_ir as ir

    nodes = [node for node in model.graph if node.domain == DOMAIN]
    zero = None
    for node in nodes:
        inputs = 5
        if len(node.inputs) < inputs or node.inputs[inputs - 1] is None:
            if zero is None:
                zero = ir.Value(
                    name="no_shift", const_value=ir.tensor(np.zeros(1, np.float32), name="no_shift")
                )
                zero.type, zero.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape((1,))
                model.graph.register_initializer(zero)
            node.resize_inputs(inputs)
            node.replace_input_with(inputs - 1, zero)
        if node.op_type == "BinConv" and "dilations" not in node.attributes:
            node.attributes["dilations"] = ir.AttrInt64s("dilations", [1, 1])
    return len(nodes)


def _run(path: Path, inputs: Tensor, of: Signature) -> np.ndarray:
    from edgepack.runtime.sessions.base import sessions

    session = sessions.get("onnxruntime")(path, of, threads=1)
    try:
        parts = [session.run({_INPUT: part.numpy()})[_OUTPUT] for part in inputs.split(256)]  # type: ignore[no-untyped-call]
    finally:
        session.close()
    return np.concatenate(parts)
