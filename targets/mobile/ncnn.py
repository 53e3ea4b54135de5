"""mobile:ncnn: networks for ncnn, converted by pnnx from ONNX and run here by ncnn's Python wheel.

pnnx ends with exit code 0 whatever it met, and writes layers that ncnn does not have under their own names. So every
layer of what it wrote is looked up in the runtime, and the network is called once, in a process of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.targets.base import Compiled, Context, Offer, Requirement, Target, targets
from edgepack.targets.cpu.onnxruntime import multiplications, onnx_form
from edgepack.targets.mobile._litert_lowering import refuse_growing
from edgepack.toolchain.answers import ANSWER_FILE, error_in, read_answer
from edgepack.toolchain.errors import TargetError, ToolchainFailedError
from edgepack.toolchain.native_operators import refuse_native
from edgepack.toolchain.program import Lowered, Part, Program
from edgepack.toolchain.quantized import already_quantized
from edgepack.toolchain.results import Placement, Tool
from edgepack.toolchain.subprocesses import run_tool
from edgepack.toolchain.vendors import ncnn

if TYPE_CHECKING:
    import onnx_ir as ir

RUNTIME = Requirement(ncnn.DISTRIBUTION, ncnn.INSTALL)
CONVERTER = Requirement(ncnn.CONVERTER, ncnn.INSTALL)
WORKER = "edgepack.targets.mobile._ncnn_worker"
NO_SOCKETS = "edgepack.toolchain.vendors.no_sockets"
_NAMES = {"float32": "f32", "int64": "i64", "int32": "i32", "bool": "bool", "float16": "f16"}
_ROWS = 10
_LARGEST = 2**31 - 2**24  # bytes of weights within one ONNX file
_BATCHED = re.compile(r"ncnn\.Mat\(in(\d+)\.numpy\(\)(?:, batch_index=(\d+))?\)")
_UNBATCHED = re.compile(r"from_numpy\(out(\d+)\.numpy\((?:batch_index=(\d+))?\)\)")
_INSTEAD = "Use --target cpu:onnxruntime for this model"


@targets.register("mobile:ncnn")
class Ncnn(Target):
    """ncnn on the CPU."""

    name = "mobile:ncnn"
    title = "ncnn on a mobile CPU"
    session = "ncnn"
    static_shapes = True
    lowered_session = "onnxruntime"
    pnnx: Sequence[str] = ()
    """What starts pnnx: another program in its place for tests."""

    def requirements(self) -> Sequence[Requirement]:
        """Converter and runtime, both in the extra `ncnn`."""
        return (CONVERTER, RUNTIME)

    def lower_key(self) -> str:
        """The program's own ONNX form at its sizes, once ncnn has run it."""
        return "onnx for ncnn"

    def lower(self, program: Program, part: Part, context: Context, folder: Path) -> Lowered:
        """The cleaned graph at fixed sizes, after ncnn has shown that it takes it.

        Raises:
            TargetError: It does not; operators that it lacks are named.
            UsageError: A named dimension has no size.
            ToolchainFailedError: pnnx or ncnn crashed or hung on it.
        """
        refuse_native(part.model(), self.name, part.name)
        refuse_growing(self.name, program, part)
        lowered = onnx_form(part, replace(context, static=True), folder)
        if already_quantized(part.model()):
            raise TargetError(
                "ncnn has no form for QuantizeLinear and DequantizeLinear",
                where=f"part {part.name}",
                todo="Give the model in floating point",
            )
        with tempfile.TemporaryDirectory(prefix="edgepack-ncnn-") as scratch:
            self._convert(lowered, context, Path(scratch), half=False)
        return lowered

    def offers(self, lowered: Lowered, rows: int | None = None) -> Sequence[Offer]:
        """fp32, and weights of 16 bits."""
        import onnx_ir as ir

        del rows
        why = "the weights are float32 again while it runs: half the size, no speed"
        if not sum(multiplications(ir.load(lowered.path).graph)):
            why = "no convolution or matrix product with constant weights is in the graph"
        return (Offer("fp32"), Offer("fp16-weights", "by-compiler", not_built=why))

    def compile(self, lowered: Lowered, context: Context, folder: Path) -> Compiled:
        """Write `<part>.param`, `<part>.bin` and `<part>.json`, which says what inputs and outputs are called.

        Raises:
            TargetError: ncnn lacks a layer, or its outputs have other shapes.
            ToolchainFailedError: pnnx or ncnn crashed or hung.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="edgepack-ncnn-") as scratch:
            param, layers = self._convert(
                lowered, context, Path(scratch), half=lowered.precision == "fp16-weights"
            )
            files = [param, param.with_suffix(".bin"), param.with_suffix(".json")]
            for file in files:
                shutil.copyfile(file, folder / file.name)
        return Compiled(
            files=tuple(file.name for file in files),
            run_file=param.name,
            placement=Placement(accelerator=0, cpu=sum(layers.values())),
            tool=Tool(name=CONVERTER.distribution, version=CONVERTER.version or "unknown"),
            notes=(
                f"inputs and outputs are called as {param.stem}.json says, and lie without the axis named there",
            ),
        )

    def _convert(
        self, lowered: Lowered, context: Context, folder: Path, *, half: bool
    ) -> tuple[Path, Counter[str]]:
        """Convert and try; the `.param` file, and how many layers of each kind are in it."""
        folder = folder.resolve()
        names = _whole(lowered, folder / "model.onnx")
        specs = [spec for spec in lowered.signature.inputs if spec.name in names]
        shapes = ",".join(
            f"[{','.join(map(str, spec.shape))}]{_NAMES.get(spec.dtype, 'f32')}" for spec in specs
        )
        made = folder / "model.ncnn.param"
        # It writes what it made, and its words, whatever came of it: the file is what counts.
        run = run_tool(
            "pnnx",
            [
                *([sys.executable, "-m", NO_SOCKETS] if not self.pnnx else []),
                *(self.pnnx or (str(_program()),)),
                "model.onnx",
                f"inputshape={shapes}",
                f"fp16={int(half)}",
            ],
            time_limit_s=context.time_limit_s,
            cwd=folder,
        )
        weights, script = folder / "model.ncnn.bin", folder / "model_ncnn.py"
        if not (made.is_file() and weights.is_file() and script.is_file()):
            words = " ".join((run.stderr or run.stdout).split())[-300:]
            raise TargetError(
                f"pnnx ended with exit code 0 and wrote no network. Its last words: {words}",
                where=f"part {lowered.part}",
                todo=_INSTEAD,
            )
        layers = layers_of(made)
        _refuse_unknown(layers, lowered.part)
        param = folder / f"{lowered.part}.param"
        made.rename(param)
        weights.rename(param.with_suffix(".bin"))
        outputs = [spec.name for spec in lowered.signature.outputs]
        blobs = blobs_of(script.read_text(), [spec.name for spec in specs], outputs, lowered.part)
        param.with_suffix(".json").write_text(json.dumps(blobs.to_json(), indent=1))
        _try(lowered, context, param)
        return param, layers


def layers_of(param: Path) -> Counter[str]:
    """How many layers of each kind a `.param` file has, its inputs left out.

    The file's first line is a mark, the second counts layers and blobs, and every other begins with a layer's kind.
    """
    lines = param.read_text().splitlines()[2:]
    kinds = Counter(line.split()[0] for line in lines if line.split())
    del kinds["Input"]
    return kinds


def blobs_of(script: str, inputs: Sequence[str], outputs: Sequence[str], part: str) -> ncnn.Blobs:
    """Which blob is which, by the example that pnnx writes beside a network: it knows the axes that it left out.

    Args:
        script: The example's text.
        inputs: The signature's names, in order, without those that no operator reads.
        outputs: The same.
        part: Name of the part, for messages.

    Raises:
        TargetError: The example speaks of others.
    """
    sides = []
    for pattern, kind, names in ((_BATCHED, "in", inputs), (_UNBATCHED, "out", outputs)):
        found = {int(index): int(batch or ncnn.WHOLE) for index, batch in pattern.findall(script)}
        if sorted(found) != list(range(len(names))):
            raise TargetError(
                f"pnnx made a network with {len(found)} {kind}puts where the model has {len(names)}",
                where=f"part {part}",
                todo=_INSTEAD,
            )
        sides.append({name: ncnn.Blob(f"{kind}{i}", found[i]) for i, name in enumerate(names)})
    return ncnn.Blobs(*sides)


def _program() -> Path:
    """Where the pnnx program lies; looked up, not imported."""
    spec = find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise ToolchainFailedError("pnnx is not there", todo=f"Run: {ncnn.INSTALL}")
    return Path(spec.origin).parent / ("pnnx.exe" if sys.platform == "win32" else "pnnx")


def _whole(lowered: Lowered, path: Path) -> set[str]:
    """Write the graph as one file without inputs that nothing reads; the names of the others.

    Raises:
        TargetError: One file cannot hold its weights.
    """
    import onnx_ir as ir

    model = ir.load(lowered.path)
    size = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    if size > _LARGEST:
        raise TargetError(
            f"pnnx reads a model from one file, which holds less than 2 GiB, and this has {size / 2**30:.1f}",
            where=f"part {lowered.part}",
            todo=_INSTEAD,
        )
    for value in list(model.graph.inputs):
        if not value.uses() and not value.is_graph_output():
            model.graph.inputs.remove(value)
    _lengthen_tables(model.graph)
    ir.save(ir.external_data.load_to_model(model), path)
    return {value.name or "" for value in model.graph.inputs}


def _lengthen_tables(graph: ir.Graph) -> None:
    """Give tables that are looked up in by computed indices rows of zeros, up to `_ROWS`.

    pnnx tries a graph with integers of its own, 0 to 9, to learn shapes, and crashes where a table (of BERT's two kinds
    of tokens) has no such row. No index that was legal reaches the new ones.
    """
    import numpy as np
    import onnx_ir as ir

    for node in list(graph):
        table = node.inputs[0] if node.op_type == "Gather" else None
        axis = node.attributes.get("axis")
        if table is None or table.const_value is None or (axis is not None and axis.as_int() != 0):
            continue
        indices = node.inputs[1]
        count = next(iter(table.const_value.shape.numpy()), 0)
        if indices is None or indices.const_value is not None or not 0 < count < _ROWS:
            continue
        rows = table.const_value.numpy()
        longer = np.zeros((_ROWS, *rows.shape[1:]), rows.dtype)
        longer[: len(rows)] = rows
        made = ir.Value(
            name=f"{table.name}/longer", const_value=ir.tensor(longer, name=f"{table.name}/longer")
        )
        made.shape, made.type = ir.Shape(longer.shape), table.type
        graph.initializers.setdefault(made.name or "", made)
        node.replace_input_with(0, graph.initializers[made.name or ""])


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


def _try(lowered: Lowered, context: Context, param: Path) -> None:
    """Call the network once with zeros, in a process of its own.

    Raises:
        TargetError: Its outputs have other shapes than the part's.
        ToolchainFailedError: It crashed or hung.
    """
    request, answer = param.with_name("request.json"), param.with_name(ANSWER_FILE)
    inputs = {
        spec.name: (list(spec.shape), "float32" if spec.dtype.startswith(("float", "bfloat")) else "int32")
        for spec in lowered.signature.inputs
    }
    request.write_text(
        json.dumps({"param": str(param), "inputs": inputs, "threads": context.threads, "answer": str(answer)})
    )
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
