"""From a model to a `.tflite` file: the lowering that LiteRT and Arm's Ethos-U share.

The program's verified ONNX graph is converted by edgepack's own converter (`_onnx_lowering`), whatever the source was.
Where that has no translation, and the source is torch, litert-torch (the extra `litert-torch`) is asked when it is
installed (`_torch_lowering`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepack.targets.base import Context, Requirement
from edgepack.targets.fixed import settled
from edgepack.targets.mobile import _onnx_lowering, _open_sizes, _torch_lowering
from edgepack.targets.mobile._tflite.base import NotServed
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import TargetError, UsageError
from edgepack.toolchain.native_operators import refuse_native
from edgepack.toolchain.program import Lowered, Part, Program, Signature, TensorSpec
from edgepack.toolchain.results import Tool

INSTALL = "pip install edgepack"
SECOND = Requirement("litert-torch", "pip install 'edgepack[litert-torch]'")
"""The converter from torch, which is not needed: it may have what edgepack's own lacks."""
QUANTIZER = Requirement("ai-edge-quantizer", INSTALL)
RUNTIME = Requirement("ai-edge-litert", INSTALL)


def lower_key() -> str:
    """Name of the lowering: with another converter at hand the same program may become another file."""
    second = SECOND.version
    return "tflite" if second is None else f"tflite (litert-torch {second} at hand)"


def lower(
    target: str,
    program: Program,
    part: Part,
    context: Context,
    folder: Path,
    change: _onnx_lowering.Change = lambda _: (),
    opened: Sequence[str] = (),
) -> Lowered:
    """Convert one part to a `.tflite`, inputs and outputs named as in the signature.

    Args:
        target: Name of the asking target, for messages.
        program: Where the part comes from.
        part: The part; its named dimensions are pinned to `context.sizes` unless they are to be open.
        context: The source, the sizes, the time limit.
        folder: Receives the file.
        change: Rewrites the part's graph first; litert-torch, which does not see it, goes without.
        opened: Dimensions that callers choose, as far as operators can do without the number; the notes name those
            that are pinned all the same, with the operator and its reason.

    Raises:
        TargetError: The model cannot be converted, as one with native operators; the operator is named.
        UsageError: A named dimension has no size.
        ToolchainFailedError: The converter crashed, hung or wrote nothing.
    """
    refuse_native(part.model(), target, part.name)
    given = Signature(part.signature.inputs, ())
    inputs = pin(given, context.sizes, target).inputs
    if opened:
        return _lower_open(target, program, part, context, folder, change, opened)
    refuse_growing(target, program, part)
    try:
        return _onnx_lowering.lower(part, inputs, context.sizes, folder, change)
    except NotServed as refusal:
        if program.source.get("kind") == "onnx":
            raise
        if SECOND.version is None:
            raise _with_second(refusal) from refusal
        pinned = pin(part.signature, context.sizes, target)
        made = _torch_lowering.lower(part, pinned, context, folder, refusal.what)
        if all(isinstance(dim, int) for spec in pinned.outputs for dim in spec.shape):
            return made
        shapes = tflite.output_shapes(tflite.read(made.path), [spec.name for spec in pinned.outputs])
        return replace(made, signature=settled(pinned, shapes, target, f"part {part.name}"))


def _lower_open(
    target: str,
    program: Program,
    part: Part,
    context: Context,
    folder: Path,
    change: _onnx_lowering.Change,
    opened: Sequence[str],
) -> Lowered:
    """With these dimensions open, or as many of them as can be; errors as of `lower`."""
    sizes, needed = context.sizes, _open_sizes.growing(program, part)

    def attempt(names: tuple[str, ...]) -> Lowered:
        inputs = _open_sizes.partly(Signature(part.signature.inputs, ()), sizes, names).inputs
        own = _open_sizes.pinned(sizes, names)
        return _onnx_lowering.lower(part, inputs, own, folder, change, sizes)

    try:
        lowered, notes = _open_sizes.fewest_pinned(opened, attempt, sizes, needed)
    except NotServed as refusal:
        if needed:
            raise
        said = f"No dimension is open: edgepack's own converter refuses the part at any size ({refusal.what})"
        lowered, notes = lower(target, program, part, context, folder, change), [said]
    return replace(lowered, notes=(*lowered.notes, *notes))


def _with_second(refusal: NotServed) -> NotServed:
    """The refusal, with the other converter among its cures."""
    first = f"{refusal.todo}, or try" if refusal.todo else "Try"
    return NotServed(refusal.what, where=refusal.where, todo=f"{first} litert-torch: {SECOND.command}")


def converter(model: Any) -> Tool:
    """What made a file: edgepack's own converter, which leaves its name in it, or litert-torch."""
    name = "edgepack" if model.description == b"edgepack" else SECOND.distribution
    try:
        return Tool(name=name, version=metadata.version(name))
    except metadata.PackageNotFoundError:  # a source tree that is not installed
        return Tool(name=name, version="unknown")


def pin(signature: Signature, sizes: Any, where: str) -> Signature:
    """The signature with every named dimension replaced by its size.

    An output's dimension keeps its name where only the graph tells its size: `fixed.settled` is for those.

    Raises:
        UsageError: An input's dimension has no size.
    """

    def fixed(spec: TensorSpec) -> TensorSpec:
        try:
            return TensorSpec(spec.name, spec.dtype, spec.resolve(sizes))
        except KeyError as error:
            raise UsageError(
                f"{where} needs a fixed size for the dimension '{error.args[0]}' of {spec}",
                todo=f"Give one, for example: --size {error.args[0]}=128",
            ) from None

    return Signature(tuple(map(fixed, signature.inputs)), signature.outputs).pinned(sizes)


def refuse_growing(target: str, program: Program, part: Part) -> None:
    """Raise TargetError for a part with a state that a target with fixed shapes cannot have."""
    growing = _open_sizes.growing(program, part)
    if growing:
        raise TargetError(
            f"{target} has fixed shapes, and the state '{next(iter(growing.values()))}' grows from call to call",
            where=f"part {part.name}",
            todo="Use --target cpu:onnxruntime or mobile:litert, or give the model a cache of fixed length",
        )
