"""mobile:ncnn: networks for ncnn, converted from ONNX and run here by ncnn's Python wheel.

The network in floating point is what quantizers start from (`quantize/ncnn.py`); a phone takes the files as they are.

pnnx comes first: it knows whole patterns, such as an attention or a convolution with what follows it, as one layer. It
ends with exit code 0 whatever it met, and writes layers that ncnn does not have under their own names. So every layer
of what it wrote is looked up in the runtime, and the network is called once, in a process of its own, and gives the
graph's numbers or is not kept. What it makes no such network of is translated operator by operator (`_ncnn/`), with
what ncnn has no layer for in arithmetic.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.cpu.onnxruntime import multiplications
from edgepack.targets.fixed import fixed
from edgepack.targets.mobile._litert_lowering import refuse_growing
from edgepack.targets.mobile._ncnn.network import write
from edgepack.targets.mobile._ncnn_graph import ready
from edgepack.targets.mobile._ncnn_numbers import example, other_numbers
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.errors import TargetError, ToolchainFailedError
from edgepack.toolchain.native_operators import refuse_native
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.quantized import already_quantized
from edgepack.toolchain.results import Placement, Tool
from edgepack.toolchain.subprocesses import run_tool
from edgepack.toolchain.vendors import ncnn
from edgepack.toolchain.vendors.ncnn_network import read_layers

if TYPE_CHECKING:
    import numpy as np

RUNTIME = Requirement(ncnn.DISTRIBUTION, ncnn.INSTALL)
CONVERTER = Requirement(ncnn.CONVERTER, ncnn.INSTALL)
WORKER = "edgepack.targets.mobile._ncnn_worker"
NO_SOCKETS = "edgepack.toolchain.vendors.no_sockets"
_NAMES = {"float32": "f32", "int64": "i64", "int32": "i32", "bool": "bool", "float16": "f16"}
_LARGEST = 2**31 - 2**24  # bytes of weights within one ONNX file
_BATCHED = re.compile(r"ncnn\.Mat\(in(\d+)\.numpy\(\)(?:, batch_index=(\d+))?\)")
_UNBATCHED = re.compile(r"from_numpy\(out(\d+)\.numpy\((?:batch_index=(\d+))?\)\)")
_INSTEAD = "Use --target cpu:onnxruntime for this model"
_SIZE = "the weights are float32 again while it runs: half the size, no speed"


@targets.register("mobile:ncnn")
class Ncnn(Target):
    """ncnn on the CPU."""

    name = "mobile:ncnn"
    title = "ncnn on a mobile CPU"
    session = "ncnn"
    static_shapes = True
    pnnx: Sequence[str] = ()
    """What starts pnnx: another program in its place for tests."""

    def requirements(self) -> Sequence[Requirement]:
        """Converter and runtime, both in the extra `ncnn`."""
        return (CONVERTER, RUNTIME)

    def lower_key(self) -> str:
        """Its own: ncnn's network in floating point."""
        return "ncnn"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The network of the cleaned graph at fixed sizes, by pnnx or by edgepack, after ncnn has run it.

        Writes `<part>.param`, `<part>.bin` and `<part>.json`, which says what inputs and outputs are called.

        Raises:
            TargetError: An operator, which is named, has no layer in ncnn, or outputs have other shapes.
            UsageError: A named dimension has no size.
            ToolchainFailedError: ncnn crashed or hung on it.
        """
        refuse_native(part.model(), self.name, part.name)
        refuse_growing(self.name, program, part)
        if already_quantized(part.model()):
            raise TargetError(
                "ncnn has no form for QuantizeLinear and DequantizeLinear",
                where=f"part {part.name}",
                todo="Give the model in floating point",
            )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="edgepack-ncnn-") as scratch:
            form = _form(part, context, Path(scratch) / "onnx")
            notes: tuple[str, ...] = ()
            try:
                param = self._convert(form, context, Path(scratch).resolve(), example(part, form))
            except TargetError as error:
                try:
                    param = _translated(form, context, Path(scratch).resolve())
                except TargetError as own:
                    both = f"{own.what}. And with pnnx: {error.what}"
                    raise type(own)(both, where=f"part {part.name}", todo=_INSTEAD) from error
                why = error.what.split(" Its last words:")[0]
                notes = (f"translated by edgepack, operator by operator, because with pnnx: {why}",)
            for file in files_of(param):
                shutil.copyfile(file, folder / file.name)
        return Lowered(part.name, ncnn.FORMAT, folder / param.name, form.signature, notes=notes)

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """Static int8 for convolutions, dynamic int8 for matrix products, fp32, and narrow weights by name."""
        del rows
        kinds = layers_of(lowered.path)
        convolutions, multiplied = ncnn.Blobs.of(lowered.path).multiplications
        half = Offer("fp16-weights", "ncnn-float16", not_built=_SIZE)
        static = Offer("int8-static", "ncnn-static")
        dynamic = Offer("int8-dynamic", "ncnn-dynamic")
        if not convolutions + multiplied:
            none = "no convolution or matrix product with constant weights is in the graph"
            return (Offer("fp32"), *(replace(offer, not_built=none) for offer in (static, dynamic, half)))
        shares = f"{convolutions / (convolutions + multiplied):.0%} of the multiplications are convolutions"
        if convolutions > multiplied or not kinds["Gemm"]:  # products of vectors are InnerProduct
            left = (
                f"{shares}, which it leaves in float" if kinds["Gemm"] else "no product of matrices is in it"
            )
            return (static, Offer("fp32"), replace(dynamic, not_built=left), half)
        left = "it leaves products of matrices in float"
        return (dynamic, Offer("fp32"), replace(static, not_built=f"{shares}, and {left}"), half)

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Copy the three files: a phone takes them as they are. What was quantized is called once before.

        Raises:
            TargetError: ncnn does not run it any more.
            ToolchainFailedError: ncnn crashed or hung.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="edgepack-ncnn-") as scratch:
            for file in files_of(lowered.path):
                shutil.copyfile(file, Path(scratch) / file.name)
            param = Path(scratch).resolve() / lowered.path.name
            if lowered.precision != "fp32":
                _try(lowered, context, param)
            for file in files_of(param):
                shutil.copyfile(file, folder / file.name)
        return Compiled(
            files=tuple(file.name for file in files_of(lowered.path)),
            run_file=lowered.path.name,
            placement=Placement(accelerator=0, cpu=sum(layers_of(lowered.path).values())),
            tool=Tool(name=CONVERTER.distribution, version=CONVERTER.version or "unknown"),
            notes=(
                f"inputs and outputs are called as {lowered.path.stem}.json says, and lie without the axis named there",
            ),
        )

    def _convert(
        self, form: Lowered, context: Context, folder: Path, given: Mapping[str, np.ndarray] | None
    ) -> Path:
        """Convert a part in ONNX, and try it with inputs, where there are some; the `.param` file."""
        inputs, counts = _whole(form, folder / "model.onnx")
        shapes = {spec.name: spec.shape for spec in form.signature.inputs}
        told = ",".join(
            f"[{','.join(map(str, shapes[name]))}]{_NAMES.get(dtype, 'f32')}"
            for name, dtype in inputs.items()
        )
        made = folder / "model.ncnn.param"
        # It writes what it made, and its words, whatever came of it: the file is what counts.
        run = run_tool(
            "pnnx",
            [
                *([sys.executable, "-m", NO_SOCKETS] if not self.pnnx else []),
                *(self.pnnx or (str(_program()),)),
                "model.onnx",
                f"inputshape={told}",
                "fp16=0",
            ],
            time_limit_s=context.time_limit_s,
            cwd=folder,
        )
        weights, script = folder / "model.ncnn.bin", folder / "model_ncnn.py"
        if not (made.is_file() and weights.is_file() and script.is_file()):
            words = " ".join((run.stderr or run.stdout).split())[-300:]
            raise TargetError(
                f"pnnx ended with exit code 0 and wrote no network. Its last words: {words}",
                where=f"part {form.part}",
                todo=_INSTEAD,
            )
        _refuse_unknown(layers_of(made), form.part)
        param = folder / f"{form.part}.param"
        made.rename(param)
        weights.rename(param.with_suffix(".bin"))
        outputs = [spec.name for spec in form.signature.outputs]
        blobs = blobs_of(script.read_text(), inputs, outputs, form.part)
        blobs = replace(blobs, multiplications=counts)
        param.with_suffix(".json").write_text(json.dumps(blobs.to_json(), indent=1))
        results = _try(form, context, param, given)
        wrong = other_numbers(form, given, results) if given is not None else None
        if wrong is not None:
            raise TargetError(wrong, where=f"part {form.part}", todo=_INSTEAD)
        return param


def files_of(param: Path) -> tuple[Path, ...]:
    """The three files of a network; its `.param` is the first."""
    return (param, param.with_suffix(".bin"), param.with_suffix(".json"))


def layers_of(param: Path) -> Counter[str]:
    """How many layers of each kind a `.param` file has, its inputs left out."""
    kinds = Counter(layer.kind for layer in read_layers(param))
    del kinds["Input"]
    return kinds


def blobs_of(script: str, inputs: Mapping[str, str], outputs: Sequence[str], part: str) -> ncnn.Blobs:
    """Which blob is which, by the example that pnnx writes beside a network: it knows the axes that it left out.

    Args:
        script: The example's text.
        inputs: Dtypes in the graph by the signature's names, in order, without those that no operator reads.
        outputs: The signature's names, in order.
        part: Name of the part, for messages.

    Raises:
        TargetError: The example speaks of others.
    """
    sides: list[dict[str, ncnn.Blob]] = []
    floats = dict.fromkeys(outputs, "float32")
    for pattern, kind, names in ((_BATCHED, "in", inputs), (_UNBATCHED, "out", floats)):
        found = {int(index): int(batch or ncnn.WHOLE) for index, batch in pattern.findall(script)}
        if sorted(found) != list(range(len(names))):
            raise TargetError(
                f"pnnx made a network with {len(found)} {kind}puts where the model has {len(names)}",
                where=f"part {part}",
                todo=_INSTEAD,
            )
        types = ["float32" if dtype.startswith(("float", "bfloat")) else "int32" for dtype in names.values()]
        sides.append({name: ncnn.Blob(f"{kind}{i}", found[i], types[i]) for i, name in enumerate(names)})
    return ncnn.Blobs(sides[0], sides[1])


def _form(part: Part, context: Context, folder: Path) -> Lowered:
    """The part in ONNX, every dimension a number."""
    from edgepack.toolchain.passes.storage import save

    model = part.model()
    signature = fixed(part, model, context.sizes, Ncnn.name)
    return Lowered(part.name, "onnx", save(model, folder, part.name), signature)


def _translated(form: Lowered, context: Context, folder: Path) -> Path:
    """Translate without pnnx, and try a part in ONNX; the `.param` file.

    Raises:
        TargetError: An operator has no layer, or outputs have other shapes.
        ToolchainFailedError: ncnn crashed or hung.
    """
    import onnx_ir as ir

    graph = ir.load(form.path).graph
    param = folder / f"{form.part}.param"
    write(graph, form.part, multiplications(graph), param)
    _try(form, context, param)
    return param


def _program() -> Path:
    """Where the pnnx program lies; looked up, not imported."""
    spec = find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise ToolchainFailedError("pnnx is not there", todo=f"Run: {ncnn.INSTALL}")
    return Path(spec.origin).parent / ("pnnx.exe" if sys.platform == "win32" else "pnnx")


def _whole(form: Lowered, path: Path) -> tuple[dict[str, str], tuple[int, int]]:
    """Write the graph as one file in operators that pnnx knows, without inputs that nothing reads.

    Returns:
        Dtypes of the other inputs by name; multiplications as of `Blobs`.

    Raises:
        TargetError: One file cannot hold its weights.
    """
    import onnx_ir as ir

    model = ir.load(form.path)
    size = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    if size > _LARGEST:
        raise TargetError(
            f"pnnx reads a model from one file, which holds less than 2 GiB, and this has {size / 2**30:.1f}",
            where=f"part {form.part}",
            todo=_INSTEAD,
        )
    counts = multiplications(model.graph)
    ready(model.graph)
    ir.save(ir.external_data.load_to_model(model), path)
    return {
        value.name or "": "float32" if value.dtype is None else value.dtype.numpy().name
        for value in model.graph.inputs
    }, counts


def _refuse_unknown(layers: Counter[str], part: str) -> None:
    """Raise TargetError when the runtime does not have every layer."""
    runtime = ncnn.import_ncnn()
    lacking = sorted(kind for kind in layers if runtime.layer_to_index(kind) < 0)
    if lacking:
        raise TargetError(
            f"ncnn does not have the layer{'s' * (len(lacking) > 1)} {', '.join(lacking)}",
            where=f"part {part}",
            todo=_INSTEAD,
        )


def _try(
    lowered: Lowered, context: Context, param: Path, given: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Call the network once, in a process of its own.

    Args:
        lowered: The part.
        context: Of the run.
        param: The `.param` file.
        given: Inputs; None: zeros.

    Returns:
        The outputs for `given`; for zeros nothing.

    Raises:
        TargetError: Its outputs have other shapes than the part's.
        ToolchainFailedError: It crashed or hung.
    """
    import numpy as np

    request, answer = param.with_name("request.json"), param.with_name(ANSWER_FILE)
    inputs = {spec.name: list(spec.shape) for spec in lowered.signature.inputs}
    asked = {"param": str(param), "inputs": inputs, "threads": context.threads, "answer": str(answer)}
    made = param.with_name("made.npz")
    if given is not None:
        asked |= {"given": str(param.with_name("given.npz")), "made": str(made)}
        np.savez(str(asked["given"]), **{str(index): given[name] for index, name in enumerate(inputs)})  # type: ignore[arg-type]
    request.write_text(json.dumps(asked))
    run_tool(
        "ncnn",
        [sys.executable, "-m", WORKER, str(request)],
        time_limit_s=context.time_limit_s,
        cwd=param.parent,
        expect=[answer],
    )
    found = read_answer(answer)
    error = error_in(found)
    if error is not None:
        raise TargetError(
            f"ncnn cannot run what pnnx made of this model: {error.what}",
            where=f"part {lowered.part}",
            todo=_INSTEAD,
        )
    for spec in lowered.signature.outputs:
        shape = found["shapes"].get(spec.name)
        if len(shape) != len(spec.shape) or any(
            isinstance(dim, int) and dim != size for dim, size in zip(spec.shape, shape, strict=True)
        ):
            raise TargetError(
                f"ncnn gives the output '{spec.name}' the shape {shape}, and the model has {list(spec.shape)}",
                where=f"part {lowered.part}",
                todo=_INSTEAD,
            )
    if given is None:
        return {}
    with np.load(made, allow_pickle=False) as results:
        return {spec.name: results[str(index)] for index, spec in enumerate(lowered.signature.outputs)}
