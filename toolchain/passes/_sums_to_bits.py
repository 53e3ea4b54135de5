"""The bits of a layer as a function of its sums, computed for every sum there can be.

What stands between two layers is run by ONNX Runtime itself, on alpha d + bias for every whole number d that a channel
can give: all of one parity, or all where padding leaves products out. Operators that the runtime computes a vector at a
time may round otherwise at a row's end (a product and a sum at once, or one after the other), so that everything is
computed at two places, and what differs is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.toolchain.passes._binary_layers import Unfit

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgepack.toolchain.passes._binary_links import Link

_AT_A_TIME = 1 << 22  # values of a call
_MOST = 1 << 27  # values of a layer
_LEAST_SUM, _GREATEST_SUM = -(2**31), 2**31 - 1
_OFFSET = 3  # no multiple of any vector


def intervals(link: Link, model: ir.Model) -> tuple[ir.TensorProtocol, ir.TensorProtocol]:
    """`low` and `high`, int32 [channels of the source].

    Raises:
        Unfit: The sums with the bit 1 do not lie side by side, or are too many to try.
    """
    import numpy as np
    import onnx_ir as ir

    most = link.source.products
    sums = np.arange(-most, most + 1, 1 if any(link.source.pads) else 2)
    if sums.size * link.source.outputs > _MOST:
        raise Unfit(f"{sums.size} sums of {link.source.outputs} channels are too many to try")
    bits = _bits(link, sums, model)
    changes = (bits[1:] != bits[:-1]).sum(0)
    if (changes > 2).any():  # noqa: PLR2004 - into an interval and out of it
        raise Unfit(f"the sign changes {changes.max()} times from the least to the greatest sum of a channel")
    first = np.argmax(bits[1:] != bits[:-1], axis=0) + 1  # where the first change is
    last = len(bits) - 1 - np.argmax((bits[1:] != bits[:-1])[::-1], axis=0)
    begins = bits[0]
    low = np.where(begins, _LEAST_SUM, sums[first])
    high = np.where(begins, sums[first], _GREATEST_SUM)
    high = np.where(~begins & (changes == 2), sums[last], high)  # noqa: PLR2004
    low = np.where(begins & (changes == 2), sums[last], low)  # noqa: PLR2004
    constant = changes == 0
    low = np.where(constant, np.where(begins, _LEAST_SUM, 0), low)
    high = np.where(constant, np.where(begins, _GREATEST_SUM, 0), high)
    return ir.Tensor(low.astype(np.int32), name="low"), ir.Tensor(high.astype(np.int32), name="high")


def _bits(link: Link, sums: np.ndarray, model: ir.Model) -> np.ndarray:
    """[sums, channels], True for -1."""
    import numpy as np

    alpha, bias = link.source.parameter(2), link.source.parameter(3)
    run = _Runner(link, model)
    bits = np.empty((sums.size, alpha.size), bool)
    step = max(1, _AT_A_TIME // alpha.size)
    with np.errstate(all="ignore"):
        for begin in range(0, sums.size, step):
            part = sums[begin : begin + step].astype(np.float32)
            values = part[:, None] * alpha + bias
            once = run(values) < -link.shift
            if link.between:
                again = (
                    run(np.concatenate([values[:_OFFSET], values])[::-1])[::-1][-len(values) :] < -link.shift
                )
                if not np.array_equal(once, again):
                    raise Unfit("the runtime rounds what stands between differently from place to place")
            bits[begin : begin + step] = once
    return bits


class _Runner:
    """What stands between two layers, from values [rows, channels] to values [rows, channels]."""

    def __init__(self, link: Link, model: ir.Model) -> None:
        self._session = None
        self._is_conv = link.source.is_conv
        if link.between:
            import onnxruntime

            from edgepack.toolchain.onnx_sessions import opened

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 3
            self._session = opened(_model(link, model), options)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        import numpy as np

        if self._session is None:
            return values
        x = (
            np.ascontiguousarray(values.T)[None, :, :, None]
            if self._is_conv
            else np.ascontiguousarray(values)
        )
        (y,) = self._session.run(None, {self._session.get_inputs()[0].name: x})
        if self._is_conv:
            images: np.ndarray = np.broadcast_to(y, x.shape)[0, :, :, 0].T
            return images
        rows: np.ndarray = np.broadcast_to(y.reshape(-1, values.shape[1]), values.shape)
        return rows


def _model(link: Link, model: ir.Model) -> bytes:
    """The nodes between as a model of their own; those that only move rows are left out."""
    import onnx_ir as ir
    from onnx import TensorProto, helper

    names: dict[str, str] = {}
    for node in link.shapes:
        source = node.inputs[0]
        assert source is not None  # noqa: S101 - they have one
        names[str(node.outputs[0].name)] = str(source.name)

    def known(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    protos, constants = [], {}
    for node in link.between:
        proto = ir.serde.serialize_node(node)
        proto.input[:] = [known(name) for name in proto.input]
        protos.append(proto)
        for value in node.inputs:
            if value is not None and value.const_value is not None and value.name not in constants:
                tensor = ir.serde.serialize_tensor(ir.Tensor(value.const_value.numpy(), name=value.name))
                constants[value.name] = tensor
    target = link.target.node.inputs[0]
    assert target is not None  # noqa: S101 - a layer reads something
    graph = helper.make_graph(
        protos,
        "between",
        [helper.make_tensor_value_info(str(link.source.node.outputs[0].name), TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(known(str(target.name)), TensorProto.FLOAT, None)],
        list(constants.values()),
    )
    opsets = [helper.make_opsetid("", model.graph.opset_imports.get("", 18))]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content
