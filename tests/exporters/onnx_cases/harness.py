"""ONNX's shipped test cases, and the way through edgepack that each of them takes.

A case is a model with inputs and the outputs that it must give. It is written to disk as a user would have
it (`model.onnx`, `test_data_set_0/`), opened as a source, cleaned, saved, lowered and compiled for
`cpu:onnxruntime`, and run by the session; the outputs are compared with the case's own.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from edgepack.exporters.sources import SourceRequest, open_source
from edgepack.exporters.sources.onnx_file import OnnxSource
from edgepack.runtime.sessions.onnxruntime import OnnxRuntimeSession
from edgepack.targets.base import Context
from edgepack.targets.cpu.onnxruntime import OnnxRuntimeCpu
from edgepack.toolchain.errors import EdgepackError
from edgepack.toolchain.passes.clean_up import clean_up
from edgepack.toolchain.passes.storage import save
from edgepack.toolchain.program import Lowered

DATA = Path(onnx.__file__).parent / "backend/test/data"
GROUPS = ("simple", "light", "pytorch-converted", "pytorch-operator", "node")
REASONS = {
    "type": r"has the type \w+, which numpy's arrays do not have",
    "not-a-tensor": r"only tensors are taken",
    "too-new": r"has operator set \d+ of \S+, ONNX Runtime knows",
    "attribute": r"does not know the attribute",
    "unknown-operator": r"does not know the operator",
    "no-kernel": r"has no CPU kernel",
    "refused": r"does not accept|does not run on its example",
    "random": r"draws random numbers|^random ",
    "runtime-differs": r"^differs ",
    "changed": r"^changed ",
}
"""Classes of reasons, and what their messages have in common."""
WORDS = {
    "type": "an input or output is of a type that numpy lacks (string, bfloat16, 8-bit floats, below a byte)",
    "not-a-tensor": "an input or output is a sequence or an optional",
    "too-new": "an operator is newer than ONNX Runtime, and cannot be written out by older ones",
    "attribute": "an attribute of an operator is newer than ONNX Runtime",
    "unknown-operator": "ONNX Runtime does not have the operator (training, mostly)",
    "no-kernel": "ONNX Runtime has no CPU kernel for the types",
    "refused": "ONNX Runtime refuses the model or its inputs",
    "random": "the outputs are random",
    "runtime-differs": "ONNX Runtime itself gives other outputs than the case",
}
Data = Sequence[tuple[Sequence[Any], Sequence[Any]]]


@dataclass(frozen=True)
class OnnxCase:
    """One model with its data sets; outputs may differ by `atol + rtol |expected|`."""

    group: str
    name: str
    model: onnx.ModelProto
    data: Data
    rtol: float
    atol: float


def cases(group: str) -> Iterator[OnnxCase]:
    """The cases of a group, by name."""
    if group == "node":
        yield from _node_cases()
    elif group == "light":
        yield from map(_light_case, sorted((DATA / "light").glob("*.onnx")))
    else:
        from onnx.backend.test.loader import load_model_tests

        for case in sorted(load_model_tests(kind=group), key=lambda case: case.name):
            folder = Path(case.model_dir)
            sets = sorted(folder.glob("test_data_set_*"))
            data = [(_tensors(each, "input"), _tensors(each, "output")) for each in sets]
            yield OnnxCase(group, case.name, onnx.load(folder / "model.onnx"), data, case.rtol, case.atol)


def _node_cases() -> Iterator[OnnxCase]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of the cases' own Python code, which makes the data
        loaded = load_model_tests(kind="node")
    for case in sorted(loaded, key=lambda case: case.name):
        yield OnnxCase("node", case.name, case.model, case.data_sets, case.rtol, case.atol)


def _light_case(path: Path) -> OnnxCase:
    """Inputs 0, 1/n, 2/n, ..., as onnx's own runner feeds them (onnx/backend/test/runner)."""
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    (value,) = (value for value in model.graph.input if value.name not in weights)
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    inputs = [(np.arange(count).reshape(shape) / count).astype(np.float32)]
    outputs = [_load(path.with_name(f"{path.stem}_output_0.pb"))]
    return OnnxCase("light", path.stem, model, [(inputs, outputs)], 1e-3, 1e-7)


def _tensors(folder: Path, side: str) -> list[Any]:
    files = sorted(folder.glob(f"{side}_*.pb"), key=lambda file: int(file.stem.rpartition("_")[2]))
    return [_load(file) for file in files]


def _load(file: Path) -> Any:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(file.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception:  # noqa: BLE001 - a sequence or an optional
        return None


def outcome(case: OnnxCase, folder: Path) -> str | None:
    """None when every step held and every output is right, else what went wrong, as a message.

    Args:
        case: The case.
        folder: To work in; what an earlier case left there is removed.
    """
    for file in folder.rglob("*"):
        # Folders stay: removing one costs as much as a case.
        if file.is_file():
            file.unlink()
    try:
        return _run(case, folder)
    except EdgepackError as error:
        return f"{type(error).__name__}: {error.what}"


def reason(message: str) -> str:
    """The class of a message of `outcome`."""
    return next((name for name, pattern in REASONS.items() if re.search(pattern, message)), "other")


def _run(case: OnnxCase, folder: Path) -> str | None:
    path = folder / "model.onnx"
    path.write_bytes(case.model.SerializeToString())
    data = [([_array(v) for v in inputs], outputs) for inputs, outputs in case.data]
    _write_data(case.data, folder)
    source = open_source(SourceRequest(str(path)))
    assert isinstance(source, OnnxSource)
    source.check()
    program = source.program(folder)
    raw = program.parts["main"]
    model = raw.model()
    chance = random(model)
    clean_up(model)
    # What `lower` of this target does is this very `save`.
    lowered = Lowered("main", "onnx", save(model, folder / "clean", "main"), raw.signature)
    compiled = OnnxRuntimeCpu().compile(lowered, Context({}, {}), folder / "compiled")
    names = [spec.name for spec in raw.signature.inputs]
    with OnnxRuntimeSession(folder / "compiled" / compiled.run_file, raw.signature) as session:
        for recorded in raw.cases[: 1 if case.group == "light" else 3]:
            got = session.run(recorded.inputs)
            for name, expected in recorded.outputs.items():
                trouble = _difference(got[name], expected, case)
                if trouble and not chance:
                    return f"changed {name}: {trouble}"
        for inputs, outputs in data:
            got = session.run(dict(zip(names, inputs, strict=True)))
            for spec, expected in zip(raw.signature.outputs, outputs, strict=False):
                trouble = _difference(got[spec.name], expected, case)
                if trouble:
                    return f"{'random' if chance else 'differs'} {spec.name}: {trouble}"
    return None


def random(model: ir.Model) -> bool:
    """Whether two runs of the model differ by design."""
    ops = {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Dropout",
    }
    return any(node.op_type in ops for node in model.graph.all_nodes())


def _write_data(data: Data, folder: Path) -> None:
    for number, (inputs, outputs) in enumerate(data):
        place = folder / f"test_data_set_{number}"
        place.mkdir(exist_ok=True)
        for side, values in (("input", inputs), ("output", outputs)):
            for index, value in enumerate(values):
                tensor = value if isinstance(value, onnx.TensorProto) else None
                if isinstance(value, (np.ndarray, np.generic)):
                    tensor = numpy_helper.from_array(np.asarray(value))
                if tensor is not None:
                    (place / f"{side}_{index}.pb").write_bytes(tensor.SerializeToString())


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _difference(got: np.ndarray, expected: Any, case: OnnxCase) -> str | None:
    expected = np.asarray(_array(expected))
    if got.shape != expected.shape:
        return f"shape {list(got.shape)}, expected {list(expected.shape)}"
    # Sessions give 16-bit floats as float32.
    wide = expected.astype(np.float32) if expected.dtype == np.float16 else expected
    if got.dtype != wide.dtype:
        return f"type {got.dtype}, expected {expected.dtype}"
    if not np.allclose(got, wide, rtol=case.rtol, atol=case.atol, equal_nan=True):
        return "values differ"
    return None
