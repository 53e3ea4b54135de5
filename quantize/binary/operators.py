"""How torch.onnx writes the operators of `_operator` when it is given a program that torch.export made.

    torch.onnx.export(torch.export.export(frozen, inputs), dynamo=True, custom_translation_table=translations())

`edgepack export` uses the table by itself. Given the frozen module, torch.onnx.export needs none: the layers write
their own nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from edgepack.toolchain.native_operators import DOMAIN, VERSION, TorchOperators, torch_operators

_INPUTS = (("x", "T"), ("packed", "tensor(uint8)"), ("alpha", "T"), ("bias", "T"), ("shift", "T"))
_WINDOW = {"strides": "INTS", "pads": "INTS", "dilations": "INTS", "group": "INT"}


def define() -> None:
    """Make the operators known to torch."""
    import_module("edgepack.quantize.binary._operator")


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Torch's operators to functions that record one node each."""
    import torch

    define()
    linear = _recorder("BinLinear", {"K": "INT"})
    conv = _recorder("BinConv", {"K": "INT", **_WINDOW})

    def bin_linear(x: Any, packed: Any, alpha: Any, bias: Any, shift: Any, k: int) -> Any:
        return linear(x, packed, alpha, bias, shift, K=k)

    def bin_conv(  # noqa: PLR0913 - the operator's inputs and attributes
        x: Any,
        packed: Any,
        alpha: Any,
        bias: Any,
        shift: Any,
        k: int,
        strides: Sequence[int],
        pads: Sequence[int],
        dilations: Sequence[int],
        groups: int,
    ) -> Any:
        window = {"strides": list(strides), "pads": list(pads), "dilations": list(dilations)}
        return conv(x, packed, alpha, bias, shift, K=k, group=groups, **window)

    return {
        torch.ops.edgepack.bin_linear.default: bin_linear,
        torch.ops.edgepack.bin_conv.default: bin_conv,
    }


def _recorder(name: str, attributes: dict[str, str]) -> Callable[..., Any]:
    """The operator as onnxscript calls it, from a schema that is not added to ONNX's own."""
    from onnx.defs import OpSchema
    from onnxscript.values import Op, Opset

    schema = OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[OpSchema.FormalParameter(title, kind) for title, kind in _INPUTS],
        outputs=[OpSchema.FormalParameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[
            OpSchema.Attribute(title, getattr(OpSchema.AttrType, kind)) for title, kind in attributes.items()
        ],
    )
    made: Callable[..., Any] = Op(Opset(DOMAIN, VERSION), name, schema)
    return made


torch_operators.register("binary")(TorchOperators(define, translations))
