"""How torch.onnx writes the operators of `_operator` when it is given a program that torch.export made.

    torch.onnx.export(torch.export.export(frozen, inputs), dynamo=True, custom_translation_table=translations())

Given the frozen module itself, torch.onnx.export needs no table: the layers write their own nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from edgepack.quantize.binary import _operator  # noqa: F401 - registers the operators
from edgepack.quantize.binary._packed import DOMAIN, VERSION

_INPUTS = (("x", "T"), ("packed", "tensor(uint8)"), ("alpha", "T"), ("bias", "T"))


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Torch's operators to functions that record one node each."""
    linear = _recorder("BinLinear", {"K": "INT"})
    conv = _recorder(
        "BinConv", {"K": "INT", "kernel_shape": "INTS", "strides": "INTS", "pads": "INTS", "group": "INT"}
    )

    def bin_linear(x: Any, packed: Any, alpha: Any, bias: Any, shift: Any, k: int) -> Any:
        return linear(x, packed, alpha, bias, shift, K=k)

    def bin_conv(  # noqa: PLR0913 - the operator's inputs and attributes
        x: Any,
        packed: Any,
        alpha: Any,
        bias: Any,
        shift: Any,
        channels: int,
        kernel: Sequence[int],
        strides: Sequence[int],
        pads: Sequence[int],
        groups: int,
    ) -> Any:
        window = {"kernel_shape": list(kernel), "strides": list(strides), "pads": list(pads)}
        return conv(x, packed, alpha, bias, shift, K=channels, group=groups, **window)

    return {
        torch.ops.edgepack.bin_linear.default: bin_linear,
        torch.ops.edgepack.bin_conv.default: bin_conv,
    }


def _recorder(name: str, attributes: dict[str, str]) -> Callable[..., Any]:
    """The operator as onnxscript calls it, from a schema that is not added to ONNX's own."""
    from onnx.defs import OpSchema
    from onnxscript.values import Op, Opset

    optional = OpSchema.FormalParameterOption.Optional
    schema = OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[
            *(OpSchema.FormalParameter(title, kind) for title, kind in _INPUTS),
            OpSchema.FormalParameter("shift", "T", param_option=optional),
        ],
        outputs=[OpSchema.FormalParameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[
            OpSchema.Attribute(title, getattr(OpSchema.AttrType, kind)) for title, kind in attributes.items()
        ],
    )
    made: Callable[..., Any] = Op(Opset(DOMAIN, VERSION), name, schema)
    return made
