"""mobile:litert: `.tflite` files for LiteRT (TensorFlow Lite) on a phone's CPU, run here with XNNPACK.

Which precision suits which model was measured (one thread, x86-64, against fp32 in the same process):
dynamic int8 makes a transformer 3 to 5 times as fast and a convolutional network twice as slow, static
int8 the other way round; 16-bit activations have no fast kernels at all.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.cpu.onnxruntime import FEW_ROWS
from edgepack.targets.mobile import _litert_lowering as lowering
from edgepack.targets.mobile._open_sizes import OpenSizes, wanted
from edgepack.targets.mobile.phases import Phase, Phases, Quantize, as_lowered, lower_each
from edgepack.toolchain import tflite
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.quantized import AS_GIVEN
from edgepack.toolchain.results import Placement

JOINT = "program.tflite"
_CONVOLUTIONAL = 0.5
"""Share of the multiplications from which a model counts as a convolutional network."""


@targets.register("mobile:litert")
class Litert(Target):
    """LiteRT with XNNPACK, on the CPU."""

    name = "mobile:litert"
    title = "LiteRT (TFLite) on a mobile CPU, XNNPACK"
    session = "litert"
    static_shapes = True
    growing_states = True
    options_type = OpenSizes
    lowering_options = frozenset({"open"})

    def requirements(self) -> Sequence[Requirement]:
        """Quantizer and runtime, both in the default installation."""
        return (lowering.QUANTIZER, lowering.RUNTIME)

    def lower_key(self) -> str:
        """The lowering that is shared with npu:ethos-u*."""
        return lowering.lower_key()

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """A `.tflite`, in float unless the model came quantized; errors as in `_litert_lowering` and `_open_sizes`.

        Sizes are fixed, but for the dimensions that are asked to be open, and for programs whose states grow.
        """
        opened = wanted(self.name, program, part, context)
        return lowering.lower(self.name, program, part, context, folder, opened=opened)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Dynamic int8 first for products of matrices, static int8 first for convolutions; 4 bits for few rows."""
        if lowered.precision == AS_GIVEN:
            return (Offer(AS_GIVEN),)
        share = tflite.convolution_share(tflite.read(lowered.path)) or 0.0
        static = Offer("int8-static", "litert-static", {"ends": "float"})
        wide = Offer(
            "int16x8-static",
            "litert-static",
            not_built="LiteRT runs 16-bit activations with reference kernels: 20 to 50 times slower than fp32",
        )
        if share > _CONVOLUTIONAL:
            slow = Offer(
                "int8-dynamic",
                "litert-dynamic",
                not_built=f"{share:.0%} of the multiplications are convolutions, and LiteRT quantizes their inputs "
                "anew at every call: about half the speed of fp32, or less",
            )
            return (static, Offer("fp32"), slow, wide)
        few = rows is not None and rows <= FEW_ROWS
        narrow = Offer(
            "int4-weights",
            "litert-dynamic",
            {"bits": 4},
            not_built=None
            if few
            else f"4-bit weights gain up to {FEW_ROWS} rows, as in a decode step: "
            f"{rows or 'an unknown number of'} here",
        )
        return (Offer("int8-dynamic", "litert-dynamic"), narrow, static, Offer("fp32"), wide)

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Copy the file: a phone takes it as it is."""
        del context
        folder.mkdir(parents=True, exist_ok=True)
        file = f"{lowered.part}.tflite"
        shutil.copyfile(lowered.path, folder / file)
        model = tflite.read(lowered.path)
        count = sum(1 for _ in tflite.operators(model))
        return Compiled(
            files=(file,),
            run_file=file,
            placement=Placement(accelerator=0, cpu=count),
            tool=lowering.converter(model),
        )

    def join(self, files: Mapping[str, Path], folder: Path) -> str | None:
        """One `.tflite` with a signature for each part, called by the part's name, and every weight once."""
        from edgepack.toolchain.tflite_join import join

        return JOINT if join(files, folder / JOINT) is not None else None

    def phases(
        self,
        program: Program,
        context: Context,
        wanted: Mapping[str, Phase],
        folder: Path,
        quantize: Quantize = as_lowered,
    ) -> Phases:
        """One `.tflite` in which a part has several signatures of different sizes, and every weight once (`phases.py`).

        Args:
            program: The program.
            context: The source and the sizes that all signatures have in common.
            wanted: By the signature's name.
            folder: Receives the file.
            quantize: What a signature's graph is quantized by; not at all by default.

        Raises:
            TargetError: A part cannot be converted, or the signatures do not fit into one file: two take and give the
                same, or together they are too large.
            UsageError: A named dimension has no size.
        """
        from edgepack.toolchain.tflite_join import join

        with tempfile.TemporaryDirectory(prefix="edgepack-litert-") as scratch:
            made = lower_each(self, program, context, wanted, quantize, Path(scratch))
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / JOINT
            shared = join({name: lowered.path for name, lowered in made.items()}, path)
        if shared is None:
            raise TargetError(
                f"The signatures {', '.join(wanted)} do not fit into one file: two of them take and give the same, or "
                "together they have 2 GiB of weights",
                where=self.name,
                todo="Give each another size, or export them as files of their own",
            )
        return Phases(path, {name: lowered.signature for name, lowered in made.items()}, shared)
