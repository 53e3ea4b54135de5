"""Quantization-aware training: a network learns with the rounding that it will have, and ships as an ONNX QDQ file.

    q(x) = s (clip(round(x / s) + z, lowest, highest) - z)         in the forward pass
    dq/dx = 1 where x is in range, else 0                          in the backward pass (straight through)

(Jacob et al. 2018, arXiv:1712.05877, section 3.) torchao inserts the fake quantizers and converts them (its pt2e
flow); where they go, so that ONNX Runtime runs integer kernels, says `_qat_scheme`. Batch normalizations are folded
into the layers before them first, and dropout is left out: this is for the last epochs of a trained network.

    model = prepare(network, (images,))            # a module with the network's parameters
    for images, labels in batches: ...             # the training loop of your own
    save_onnx(model, (images,), Path("net.onnx"))  # edgepack export net.onnx --target cpu:onnxruntime

Needs the extra `qat` (torchao).
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgepack.toolchain.errors import ExportError, TargetError, ToolchainMissingError, UsageError

if TYPE_CHECKING:
    import torch

_BITS = range(2, 9)


def prepare(
    model: torch.nn.Module,
    example_inputs: tuple[Any, ...],
    *,
    activations: Literal["uint8", "int8"] | None = None,
    weight_bits: int = 8,
    per_channel: bool = True,
    dynamic_shapes: Any = None,
) -> torch.fx.GraphModule:
    """A module that computes with rounded weights and activations, to be trained by the caller's own loop.

    Its parameters are the model's, batch normalizations folded in. In the forward pass it observes ranges, until
    `freeze` fixes them; call it with real inputs even if nothing is to be trained.

    Args:
        model: The trained float network; it is put into eval mode, and not changed otherwise.
        example_inputs: Positional inputs.
        activations: "uint8" or "int8"; by default what this machine's processor multiplies fastest.
        weight_bits: From 2 to 8. Fewer than 8 use so many of int8's levels: smaller numbers, no smaller file.
        per_channel: Whether every output channel of a weight has a scale of its own.
        dynamic_shapes: As for `torch.export.export`.

    Raises:
        ToolchainMissingError: torchao is not installed.
        UsageError: No such number of bits, or type.
        ExportError: torch.export cannot export the model.
        TargetError: The model has no layer that can be quantized.
    """
    _check_installed()
    if weight_bits not in _BITS:
        raise UsageError(f"Weights cannot have {weight_bits} bits", todo="Use 2 to 8")
    if activations not in {None, "uint8", "int8"}:
        raise UsageError(f"Activations cannot be {activations}", todo="Use uint8 or int8")
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.utils import _fuse_conv_bn_

    from edgepack.quantize._qat_scheme import IntegerKernels, Scheme

    arm = platform.machine().lower().startswith(("arm", "aarch64"))
    scheme = Scheme(activations or ("int8" if arm else "uint8"), weight_bits, per_channel)
    exported = _exported(copy.deepcopy(model).eval(), example_inputs, dynamic_shapes).module()
    _fuse_conv_bn_(exported)
    quantizer = IntegerKernels(scheme)
    prepared: torch.fx.GraphModule = prepare_qat_pt2e(exported, quantizer)
    if not quantizer.count:
        raise TargetError(
            "The model has no convolution, linear layer or sum that can be quantized",
            todo="Ship it in floating point",
        )
    return prepared


def freeze(prepared: torch.fx.GraphModule) -> None:
    """Fix the ranges of activations and weights where they are; rounding goes on."""
    from torchao.quantization.pt2e import FakeQuantizeBase

    for module in prepared.modules():
        if isinstance(module, FakeQuantizeBase):
            module.disable_observer()


def convert(
    prepared: torch.fx.GraphModule, example_inputs: tuple[Any, ...], *, dynamic_shapes: Any = None
) -> torch.export.ExportedProgram:
    """The trained network with integer weights and quantize-dequantize operators; `prepared` is left as it is.

    Args:
        prepared: From `prepare`, trained.
        example_inputs: Positional inputs.
        dynamic_shapes: As for `torch.export.export`.

    Raises:
        ExportError: torch.export cannot export the converted network.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    mine = copy.deepcopy(prepared)
    freeze(mine)
    return _exported(convert_pt2e(mine), example_inputs, dynamic_shapes)


def save_onnx(
    prepared: torch.fx.GraphModule,
    example_inputs: tuple[Any, ...],
    path: Path,
    *,
    dynamic_shapes: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> int:
    """Write the trained network as ONNX with QuantizeLinear and DequantizeLinear pairs at the learned scales.

    Returns:
        How many nodes compute on dequantized values.

    Raises:
        ExportError: torch cannot export it.
        TargetError: Nothing in the file is quantized.
    """
    import onnx
    import torch

    from edgepack.quantize._onnx_qdq import fed_by_dequantize

    program = convert(prepared, example_inputs, dynamic_shapes=dynamic_shapes)
    try:
        made = torch.onnx.export(
            program, (), dynamo=True, verbose=False, input_names=input_names, output_names=output_names
        )
    except Exception as error:
        raise _refused(error) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    assert made is not None  # noqa: S101 - dynamo=True gives a program
    made.save(path)
    graph = onnx.load(path, load_external_data=False)
    changed = fed_by_dequantize(graph, {node.name for node in graph.graph.node})
    if not changed:
        path.unlink()
        raise TargetError("No node of the exported network computes on quantized values", where=str(path))
    return changed


def _check_installed() -> None:
    try:
        metadata.version("torchao")
    except metadata.PackageNotFoundError:
        raise ToolchainMissingError(
            "Quantization-aware training needs torchao", todo='Run: pip install "edgepack[qat]"'
        ) from None


def _exported(
    model: torch.nn.Module, example_inputs: tuple[Any, ...], dynamic_shapes: Any
) -> torch.export.ExportedProgram:
    import torch

    try:
        return torch.export.export(model, example_inputs, dynamic_shapes=dynamic_shapes)
    except Exception as error:
        raise _refused(error) from error


def _refused(error: Exception) -> ExportError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return ExportError(
        f"torch cannot export the network: {type(error).__name__}: {first[:300]}",
        todo="Quantization-aware training needs a network that torch.export takes",
    )
