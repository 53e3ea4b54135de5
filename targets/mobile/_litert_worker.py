"""The process that converts a torch model to a float `.tflite` file with litert-torch.

    python -m edgepack.targets.mobile._litert_worker request.json

It writes `model.tflite` and `answer.json` into the request's folder. Inputs and outputs carry the
names of the signature. Images that go straight into a convolution are taken channels-last, which
is how TFLite's convolutions and an NPU read them: the file then needs no transposition at its
entrance, and a note in the file tells a session which inputs these are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.targets.mobile._onnx_lowering import MODEL_FILE, layout_note
from edgepack.toolchain.answers import ANSWER_FILE, write_answer
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    import torch

# Operators through which an image stays an image of the same layout on its way to a convolution.
_EXTENTS = ("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "slice")
_POINTWISE = (
    "add",
    "sub",
    "mul",
    "div",
    "clamp",
    "native_batch_norm",
    "_native_batch_norm_legit_no_training",
)
_TRANSPARENT = frozenset({*_EXTENTS, *_POINTWISE, "clone", "detach", "alias", "contiguous", "_to_copy"})
_CONVOLUTIONS = frozenset({"convolution", "conv2d", "_convolution", "mkldnn_convolution"})


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    folder = Path(request["folder"])
    write_answer(folder / ANSWER_FILE, lambda: {"notes": work(request, folder)})


def work(request: Mapping[str, Any], folder: Path) -> list[str]:
    """Open the model, convert it and write the file.

    Returns:
        Notes for the report.

    Raises:
        SourceError: The model cannot be opened.
        TargetError: It cannot be converted.
    """
    from edgepack.toolchain.torch_source import open_torch

    model = open_torch(request["source"], request["part"])
    signature = Signature.from_json(request["signature"])
    example = model.example(request["sizes"], 0)
    arguments = [_argument(example, spec.name, spec.shape) for spec in model.signature.inputs]
    return convert(model.module, arguments, signature, folder / MODEL_FILE, threads=request["threads"])


def _argument(example: Mapping[str, Any], name: str, shape: tuple[int | str, ...]) -> torch.Tensor:
    import numpy as np
    import torch

    if name not in example:
        raise TargetError(f"The source gives no example for its input '{name}' of shape {list(shape)}")
    return torch.from_numpy(np.asarray(example[name], order="C"))


def convert(
    module: torch.nn.Module,
    arguments: Sequence[torch.Tensor],
    signature: Signature,
    path: Path,
    *,
    threads: int = 1,
) -> list[str]:
    """Convert `module`, called positionally with `arguments`, to a float `.tflite` file.

    Args:
        module: In eval mode; returns a tensor or a tuple of tensors in the signature's order.
        arguments: Example inputs of the final sizes, in the signature's order.
        signature: Names of inputs and outputs, integers only as dimensions.
        path: Where the file goes.
        threads: Threads that torch may use meanwhile.

    Returns:
        Notes for the report.

    Raises:
        TargetError: litert-torch does not convert this model.
    """
    import torch

    torch.set_num_threads(max(1, threads))
    images = image_inputs(module, arguments)
    try:
        import litert_torch

        wrapped, sample = module, list(arguments)
        if images:
            wrapped = litert_torch.to_channel_last_io(module, args=images).eval()
            for index in images:
                sample[index] = sample[index].permute(0, 2, 3, 1).contiguous()
        litert_torch.convert(wrapped, tuple(sample)).export(str(path))
    except Exception as error:
        raise TargetError(
            f"litert-torch cannot convert this model: {_reason(error)}",
            where=type(module).__name__,
            todo="Replace the operator named above in the model, or use --target cpu:onnxruntime",
        ) from error
    names = [signature.inputs[index].name for index in images]
    _name(path, signature, names)
    return [layout_note(signature.inputs[index].name, list(sample[index].shape)) for index in images]


def image_inputs(module: torch.nn.Module, arguments: Sequence[torch.Tensor]) -> list[int]:
    """Positions of the float inputs [N, C, H, W] that reach a convolution in that layout.

    The model is run once and every operator watched; padding and pointwise arithmetic on the way
    are allowed.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    rank = 4
    origin = {
        id(tensor): index
        for index, tensor in enumerate(arguments)
        if tensor.dim() == rank and tensor.is_floating_point()
    }
    found: set[int] = set()
    keep: list[Any] = list(arguments)  # an id means something only as long as its tensor lives

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            del types
            result = func(*args, **(kwargs or {}))
            source = next((origin[id(a)] for a in args if id(a) in origin), None)
            if source is None:
                return result
            name = func.overloadpacket.__name__
            if name in _CONVOLUTIONS and id(args[0]) in origin:
                found.add(source)
            elif name in _TRANSPARENT:
                first = result[0] if isinstance(result, tuple) else result
                if isinstance(first, torch.Tensor) and first.dim() == rank:
                    keep.append(first)
                    origin[id(first)] = source
            return result

    if origin:
        with torch.no_grad(), Watch():  # type: ignore[no-untyped-call]
            module(*arguments)
    return sorted(found)


def _name(path: Path, signature: Signature, channels_last: Sequence[str]) -> None:
    """Give the file's signature the part's names and the note about layouts.

    litert-torch calls them args_0, args_1, ... and output_0, ... in order.
    """
    from edgepack.toolchain import tflite

    model = tflite.read(path)
    entry = model.signatureDefs[0]
    entry.signatureKey = tflite.SIGNATURE_KEY
    for maps, specs, prefix in (
        (entry.inputs, signature.inputs, "args_"),
        (entry.outputs, signature.outputs, "output_"),
    ):
        for item in maps:
            text = item.name.decode() if isinstance(item.name, bytes) else item.name
            number = text.removeprefix(prefix)
            if not number.isdigit() or int(number) >= len(specs):
                raise TargetError(
                    f"litert-torch gave the file a tensor '{text}' that the signature does not have",
                    todo="Return a tensor or a flat tuple of tensors from the model",
                )
            item.name = specs[int(number)].name.encode()
    tflite.set_note(model, {tflite.CHANNELS_LAST: list(channels_last)})
    tflite.write(model, path)


def _reason(error: BaseException) -> str:
    """The first telling lines of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"[:400]


if __name__ == "__main__":
    main(sys.argv[1])
