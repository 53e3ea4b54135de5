"""cpu:onnxruntime: `.onnx` files for ONNX Runtime's CPU provider, run here.

Which precision suits which model follows from where its multiplications are (`convolution_share`):
dynamic int8 has a fast kernel for matrix products and none for convolutions, where it ran at a tenth of
fp32's speed; static int8 (QDQ) has both. Products of few rows (a decode step) gain most by small weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.quantized import AS_GIVEN, already_quantized
from edgepack.toolchain.results import Placement, Tool

if TYPE_CHECKING:
    import onnx_ir as ir

RUNTIME = Requirement("onnxruntime", "pip install edgepack")
ONE_FILE_BYTES = 32 << 20
"""Weights above this lie in `<part>.onnx.data`, which the runtime maps; below, one file is handier."""
_CONVOLUTIONAL = 0.5
# With results of products left in float and outlier channels levelled, MiniLM keeps a cosine of 0.9976;
# with every operator quantized it falls to 0.83.
_PRODUCTS_STATIC = Offer(
    "int8-static", "onnx-static", {"operators": ("MatMul", "Gemm", "Gather"), "smooth": "outliers"}
)
FEW_ROWS = 4
"""Products of at most this many rows take the time of reading their weights: 4-bit weights ran there at 2.7 to 5.1
times float32's speed, 8-bit ones at 2.1 to 2.6; at 16 rows dynamic int8 had 3.3 and they 1.4 and 1.3
(tests/benchmarks/test_choices.py)."""
_WEIGHTS = (
    Offer("int4-weights", "onnx-weights", {"bits": 4}),
    Offer("int8-weights", "onnx-weights", {"bits": 8}),
)
_SIZE = "16-bit storage is built when it is asked for by name: it makes the file smaller and nothing faster"
_HALF = (
    "float16 is built when it is asked for by name: ONNX Runtime's CPU provider computes most operators in float32 "
    "and converts before and after them"
)
_WIDE = (
    "ONNX Runtime computes 16-bit activations in float32: for the numerics of a device that has them, by name"
)
_BY_NAME = (
    Offer("fp16-weights", "onnx-float16", {"storage": "float16"}, not_built=_SIZE),
    Offer("bf16-weights", "onnx-float16", {"storage": "bfloat16"}, not_built=_SIZE),
    Offer("fp16", "onnx-float16", {"compute": "float16"}, not_built=_HALF),
)
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_PRODUCTS = frozenset({"MatMul", "Gemm"})


@targets.register("cpu:onnxruntime")
class OnnxRuntimeCpu(Target):
    """ONNX Runtime on the CPU."""

    name = "cpu:onnxruntime"
    title = "ONNX Runtime on a CPU"
    session = "onnxruntime"

    def requirements(self) -> Sequence[Requirement]:
        """The runtime, in the default installation."""
        return (RUNTIME,)

    def lower_key(self) -> str:
        """The program's own ONNX form."""
        return "onnx"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The cleaned graph as it is; dimensions that vary go on varying, unless they are to be fixed."""
        del program
        return onnx_form(part, context, folder)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Int8 forms by where the multiplications are, weight-only forms for few rows, and fp32.

        A model that came quantized is offered as it is, and as nothing else.
        """
        import onnx_ir as ir

        model = ir.load(lowered.path)
        if already_quantized(model):
            return _as_given()
        convolutions, products = multiplications(model.graph)
        total = convolutions + products
        static = Offer("int8-static", "onnx-static")
        dynamic = Offer("int8-dynamic", "onnx-dynamic")
        if not total:
            none = "no convolution or matrix product with constant weights is in the graph"
            return (Offer("fp32"), *(replace(offer, not_built=none) for offer in (dynamic, static)))
        share = convolutions / total
        if share > _CONVOLUTIONAL:
            slow = f"{share:.0%} of the multiplications are convolutions: dynamic int8 is far slower than fp32 there"
            wide = replace(static, precision="int16x8-static", not_built=_WIDE)
            return (static, Offer("fp32"), replace(dynamic, not_built=slow), wide, *_BY_NAME)
        wide = replace(_PRODUCTS_STATIC, precision="int16x8-static", not_built=_WIDE)
        return (dynamic, _PRODUCTS_STATIC, Offer("fp32"), *_weights(rows), wide, *_BY_NAME)

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write the graph with the weights it uses and no others, streaming, tuned for this runtime.

        Raises:
            TargetError: The lowered file is not ONNX.
        """
        import onnx_ir as ir

        from edgepack.targets.cpu._onnx_tuning import keep_layer_norm_apart
        from edgepack.toolchain.passes.storage import save

        del context
        if lowered.format != "onnx":
            raise TargetError(f"{self.name} takes ONNX, not {lowered.format}", where=f"part {lowered.part}")
        model = ir.load(lowered.path)
        apart = keep_layer_norm_apart(model)
        weights = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
        if sum(weight.nbytes for weight in weights) <= ONE_FILE_BYTES:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{lowered.part}.onnx"
            ir.save(ir.external_data.load_to_model(model), path)
        else:
            path = save(model, folder, lowered.part, reuse=False)
        names = [path.name, *sorted(p.name for p in folder.glob(f"{path.name}.*"))]
        return Compiled(
            files=tuple(names),
            run_file=path.name,
            placement=Placement(accelerator=0, cpu=len(model.graph)),
            tool=Tool(name=RUNTIME.distribution, version=RUNTIME.version or "unknown"),
            notes=(f"{apart} additions kept out of a fused kernel that is slower than its parts",)
            * (apart > 0),
        )


def _as_given() -> Sequence[Offer]:
    """The file itself; the forms that would round it once more are listed with the reason against them."""
    why = "the model is quantized already: rounding it once more would only lose accuracy"
    rest = (Offer("int8-dynamic", "onnx-dynamic"), Offer("int8-static", "onnx-static"), *_WEIGHTS)
    return (Offer(AS_GIVEN), *(replace(offer, not_built=why) for offer in rest))


def _weights(rows: int | None) -> Sequence[Offer]:
    """The weight-only forms, which gain where few rows are multiplied."""
    if rows is not None and rows <= FEW_ROWS:
        return _WEIGHTS
    many = "a call of unknown size" if rows is None else f"{rows} rows in a call"
    why = f"weight-only forms are faster up to {FEW_ROWS} rows, as in a decode step, and slower with many: {many} here"
    return [replace(offer, not_built=why) for offer in _WEIGHTS]


def onnx_form(part: Part, context: Context, folder: Path) -> Lowered:
    """A part's ONNX file for one target, for one size if that was asked for."""
    from edgepack.toolchain.passes.pinned import pin_sizes
    from edgepack.toolchain.passes.storage import save

    model, signature = part.model(), part.signature
    if context.static and signature.symbols:
        pin_sizes(model, context.sizes)
        signature = signature.pinned(context.sizes)
    return Lowered(part.name, "onnx", save(model, folder, part.name), signature)


def multiplications(graph: ir.Graph) -> tuple[int, int]:
    """Multiplications with constant weights of one call: in convolutions, and in matrix products.

    A weight is used once for every position of the output that is not a channel of its own; positions
    along dimensions that vary count once.
    """
    convolutions = products = 0
    for node in graph.all_nodes():
        if len(node.inputs) < 2 or node.inputs[1] is None or not node.outputs:  # noqa: PLR2004 - data and weight
            continue
        weight, out = node.inputs[1], node.outputs[0]
        if weight.const_value is None or weight.shape is None or out.shape is None:
            continue
        size = math.prod(weight.shape.numpy())
        numbers = [dim if isinstance(dim, int) else 1 for dim in out.shape]
        if node.op_type in _CONVOLUTIONS:
            convolutions += size * math.prod(numbers[2:])
        elif node.op_type in _PRODUCTS:
            products += size * math.prod(numbers[:-1])
    return convolutions, products
