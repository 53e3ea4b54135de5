"""What is written otherwise for MNN, and what it is known to compute wrongly: asked of the real one.

All graphs go through one process, each in a child of it: some end the process that runs them.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgepack.runtime.sessions.mnn import MnnSession
from edgepack.targets.mobile import _mnn_worker
from edgepack.targets.mobile._mnn_graph import nearer, ready
from edgepack.toolchain.errors import EdgepackError, TargetError
from edgepack.toolchain.program import Signature, TensorSpec
from edgepack.toolchain.vendors.no_sockets import forbid_sockets

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("_mnncengine") is None, reason="the extra mnn is not installed"
)
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.standard_normal((2, 3, 5)).astype(np.float32)
IMAGE = RANDOM.standard_normal((2, 4, 6, 6)).astype(np.float32)
VOLUME = RANDOM.standard_normal((1, 2, 4, 5, 5)).astype(np.float32)
INTEGERS = RANDOM.integers(-5, 6, (2, 3, 5))
CACHE = RANDOM.standard_normal((1, 2, 5, 4)).astype(np.float32)
SLOTS = np.broadcast_to(np.array([3, 1])[:, None], (1, 2, 2, 4)).copy()
SQUARE = RANDOM.standard_normal((4, 4, 3, 3)).astype(np.float32)
LINE = RANDOM.standard_normal((4, 3, 3)).astype(np.float32)
GRID = RANDOM.uniform(-1.2, 1.2, (2, 3, 3, 2)).astype(np.float32)
CURVE = np.linspace(-6, 6, 200, dtype=np.float32)
LAST, SIZES = np.array([-1]), np.array([2, 4, 9, 8])
SCATTER = {"x": CACHE, "i": SLOTS, "u": CACHE[:, :, :2]}
Case = tuple[str, Mapping[str, np.ndarray], Mapping[str, np.ndarray]]

MENDED: Mapping[str, Case] = MappingProxyType({
    "ScatterElements": ('y = ScatterElements <reduction = "none", axis = 2> (x, i, u)', SCATTER, {}),
    "Where": ("y = Where (c, x, z)", {"c": ROWS > 0, "x": ROWS, "z": -ROWS[:, :1]}, {}),
    "Where, lower rank": ("y = Where (c, x, z)", {"c": ROWS[:1] > 0, "x": ROWS, "z": -ROWS[0, 0]}, {}),
    "Min": ("y = Min (x, z, w)", {"x": ROWS, "z": -ROWS, "w": ROWS[:, :1]}, {}),
    "Max": ("y = Max (x, z, w)", {"x": ROWS, "z": -ROWS, "w": ROWS[:1]}, {}),
    "Sum": ("y = Sum (x, z, w)", {"x": ROWS, "z": ROWS, "w": ROWS[:1]}, {}),
    "Mean": ("y = Mean (x, z, w)", {"x": ROWS, "z": ROWS, "w": ROWS[:1]}, {}),
    **{
        operator: (f"y = {operator} <keepdims = {keep}> (x, axes)", {"x": ROWS}, {"axes": LAST})
        for operator, keep in (("ReduceL1", 1), ("ReduceL2", 0), ("ReduceSumSquare", 1), ("ReduceLogSumExp", 0))
    },
    "ReduceLogSumExp, kept": ("y = ReduceLogSumExp (x, axes)", {"x": 90 * ROWS}, {"axes": LAST}),
    "ReduceLogSum": ("y = ReduceLogSum (x, axes)", {"x": np.exp(ROWS)}, {"axes": LAST}),
    "Cast": ("c = Cast <to = 9> (x) y = Where (c, z, x)", {"x": np.round(ROWS) / 4, "z": ROWS}, {}),
    "Gelu": ("y = Gelu (x)", {"x": CURVE}, {}),
    "Gelu, tanh": ('y = Gelu <approximate = "tanh"> (x)', {"x": CURVE}, {}),
    "Gemm": (
        "y = Gemm <transA = 1, transB = 1, alpha = 0.5> (x, w)", {"x": ROWS[0]}, {"w": LINE[:, :, 0].copy()}
    ),
    "Pad": ("y = Pad (x, p, , axes)", {"x": ROWS}, {"p": np.array([1, 2]), "axes": np.array([-2])}),
    "Split": (
        "v = Reshape (x, s) y, z = Split <axis = 2, num_outputs = 2> (v)", {"x": ROWS}, {"s": np.array([0, 0, 5])}
    ),
    "MaxPool": ("y = MaxPool <kernel_shape = [2]> (x)", {"x": ROWS}, {}),
    "AveragePool": ("y = AveragePool <kernel_shape = [2, 2]> (x)", {"x": IMAGE}, {}),
    "ConstantOfShape": ("s = Shape (x) n = ConstantOfShape (s) y = Add (n, x)", {"x": ROWS}, {}),
    "Conv": ("y = Conv <pads = [1, 1]> (x, w)", {"x": ROWS}, {"w": LINE}),
    "ConvTranspose": (
        "y = ConvTranspose <strides = [2]> (x, w)", {"x": ROWS}, {"w": LINE[:3]}
    ),
})  # fmt: skip
"""What MNN gets wrong as it stands, and right as `ready` writes it: nodes, inputs, constants."""

REFUSED: Mapping[str, tuple[Case, str]] = MappingProxyType({
    "ScatterElements": (
        ('y = ScatterElements <axis = 2, reduction = "add"> (x, i, u)', SCATTER, {}),
        "forgets its reduction.*'add'",
    ),
    "ScatterND": (
        ('y = ScatterND <reduction = "max"> (x, i, u)',
         {"x": ROWS[0], "i": np.array([[2], [1]]), "u": ROWS[1, :2]}, {}),
        "forgets its reduction.*'max'",
    ),
    "ArgMax": (("y = ArgMax <axis = 2, select_last_index = 1> (x)", {"x": np.round(ROWS)}, {}), "select_last"),
    "Mod": (("y = Mod <fmod = 1> (x, k)", {"x": ROWS}, {"k": np.array(0.7, np.float32)}), "divisor's sign"),
    "ReduceSum": (
        ("y = ReduceSum <noop_with_empty_axes = 1> (x, axes)", {"x": ROWS}, {"axes": np.array([], np.int64)}),
        "noop_with_empty_axes",
    ),
    "Pad": (("y = Pad (x, p)", {"x": ROWS}, {"p": np.array([0, 0, -1, 0, 0, 1])}), "padding is negative"),
    "Resize": (
        ('y = Resize <mode = "cubic"> (x, , , s)', {"x": IMAGE}, {"s": SIZES}), "places cubic samples elsewhere"
    ),
    "Resize, antialias": (
        ('y = Resize <mode = "linear", antialias = 1> (x, , , s)',
         {"x": IMAGE}, {"s": np.array([2, 4, 3, 3])}), "forgets antialias",
    ),
    "GridSample": (
        ('y = GridSample <mode = "cubic"> (x, g)', {"x": IMAGE, "g": GRID}, {}), "another interpolation"
    ),
    "GridSample, reflection": (
        ('y = GridSample <mode = "linear", padding_mode = "reflection"> (x, g)', {"x": IMAGE, "g": GRID}, {}),
        "does not reflect",
    ),
    "MatMul": (("y = MatMul (x, z)", {"x": INTEGERS, "z": INTEGERS[0].T.copy()}, {}), "not of integers"),
    "Conv, volumes": (
        ("y = Conv (x, w)", {"x": VOLUME}, {"w": np.ones((3, 2, 1, 2, 2), np.float32)}), "nothing for volumes"
    ),
    "MaxPool, volumes": (
        ("y = MaxPool <kernel_shape = [2, 2, 2], strides = [1, 1, 1]> (x)", {"x": VOLUME}, {}), "crashes on volumes"
    ),
    "MaxPool": (
        ("y = MaxPool <kernel_shape = [2, 2], strides = [1, 1], dilations = [2, 2]> (x)", {"x": IMAGE}, {}),
        "forgets its dilations",
    ),
    "Conv": (
        ('y = Conv <strides = [2, 2], auto_pad = "SAME_LOWER"> (x, w)', {"x": IMAGE}, {"w": SQUARE}),
        "pads the other side",
    ),
})  # fmt: skip
"""What MNN gets wrong, and edgepack refuses: the graph, and words of the refusal."""


def graph(case: Case) -> ir.Model:
    """A case as a model whose dimensions vary."""
    nodes, feeds, constants = case
    kinds = {"f": "float", "i": "int64", "b": "bool"}
    inputs = ", ".join(
        f"{kinds[value.dtype.kind]}[{','.join(f'{name}{axis}' for axis in range(value.ndim))}] {name}"
        for name, value in feeds.items()
    )
    outputs = ["y", "z"] if "y, z =" in nodes else ["y"]
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 20]> net ({inputs}) => ({", ".join(outputs)}) {{ {nodes} }}'
    )
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    model = onnx.shape_inference.infer_shapes(onnx.shape_inference.infer_shapes(proto))
    return ir.serde.deserialize_model(model)


def wanted(case: Case, model: ir.Model) -> dict[str, np.ndarray]:
    """What ONNX Runtime says that a graph computes."""
    names = [str(value.name) for value in model.graph.outputs]
    file = ir.serde.serialize_model(model).SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, dict(case[1])), strict=True))


def answer(folder: Path) -> None:
    """Let MNN convert and run every graph of a folder; of each that it can, what came out of it."""
    assert forbid_sockets()
    import _tools  # noqa: F401 - imported once for all
    import MNN  # noqa: F401

    for path in sorted(folder.glob("*.onnx")):
        child = os.fork()
        if not child:
            with np.load(path.with_suffix(".npz")) as stored:
                values = {
                    kind: {k[3:]: v for k, v in stored.items() if k.startswith(kind)}
                    for kind in ("in/", "to/")
                }
            specs = {
                kind: tuple(TensorSpec(name, str(value.dtype), value.shape) for name, value in found.items())
                for kind, found in values.items()
            }
            try:
                _mnn_worker.work(
                    {"input": str(path), "output": str(path.with_suffix(".mnn")), "part": "x", "options": []}
                )
                with MnnSession(path.with_suffix(".mnn"), Signature(specs["in/"], specs["to/"])) as session:
                    np.savez(path.with_suffix(".out.npz"), **session.run(values["in/"]))  # type: ignore[arg-type]
            except EdgepackError as error:
                path.with_suffix(".txt").write_text(str(error))
            os._exit(0)
        os.waitpid(child, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What MNN made of every case: of those in MENDED also after `ready`."""
    made = tmp_path_factory.mktemp("mnn")
    for name, case in [*MENDED.items(), *((f"no {name}", case) for name, (case, _) in REFUSED.items())]:
        model = graph(case)
        to = wanted(case, model)
        for mended in (False, True)[: 1 + (name in MENDED)]:
            if mended:
                ready(model, "main")
                nearer(model)
            file = made / f"{name}{', mended' * mended}.onnx"
            ir.save(model, file)
            values = {f"in/{k}": v for k, v in case[1].items()} | {f"to/{k}": v for k, v in to.items()}
            np.savez(file.with_suffix(".npz"), **values)  # type: ignore[arg-type]
    code = "import sys; from pathlib import Path; from tests.targets.mobile.test_mnn_graph import answer; "
    subprocess.run(
        [sys.executable, "-c", f"{code}answer(Path(sys.argv[1]))", str(made)],
        cwd=made,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=True,
        capture_output=True,
        timeout=300,
    )
    return made


def right(folder: Path, name: str) -> bool:
    """Whether MNN computed what ONNX says."""
    out = folder / f"{name}.out.npz"
    if not out.is_file():
        return False
    with np.load(folder / f"{name}.npz") as stored, np.load(out) as got:
        return all(
            got[k].shape == stored[f"to/{k}"].shape
            and np.allclose(got[k], stored[f"to/{k}"], rtol=1e-3, atol=1e-4)
            for k in got
        )


@pytest.mark.parametrize("name", MENDED)
def test_is_right_when_written_otherwise(name: str, folder: Path) -> None:
    # What the memory holds may be zeros.
    chance = name == "ConstantOfShape"
    assert chance or not right(folder, name), "MNN computes it rightly now: leave it as it is"
    assert right(folder, f"{name}, mended")
    case = MENDED[name]
    model = graph(case)
    before = wanted(case, model)
    ready(model, "main")
    assert nearer(model) == name.startswith("Gelu")
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    for key, value in wanted(case, model).items():
        np.testing.assert_allclose(value, before[key], rtol=1e-5, atol=3e-5 if name == "Gelu" else 1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_is_wrong_and_refused(name: str, folder: Path) -> None:
    assert not right(folder, f"no {name}"), "MNN computes it rightly now: refuse it no more"
    case, words = REFUSED[name]
    with pytest.raises(TargetError, match=rf"MNN takes {name.partition(',')[0]} and .*{words}.*part main, y"):
        ready(graph(case), "main")


def test_what_mnn_computes_rightly_stays_as_it_is() -> None:
    for nodes, feeds, constants in (
        ("y = Where (c, x, k)", {"c": ROWS > 0, "x": ROWS}, {"k": np.array(2, np.float32)}),
        ("y = Max (x, z)", {"x": ROWS, "z": ROWS[:1]}, {}),
        ("y = Split <axis = 1, num_outputs = 3> (x)", {"x": ROWS}, {}),
        ("y = Cast <to = 9> (x)", {"x": INTEGERS}, {}),
        ("y = ReduceL2 (x)", {"x": ROWS}, {}),
        ("y = Pad (x, p)", {"x": ROWS}, {"p": np.array([0, 0, 1, 0, 0, 1])}),
        ('y = Resize <mode = "linear"> (x, , , s)', {"x": IMAGE}, {"s": SIZES}),
        ("y = ScatterElements <axis = 2> (x, i, u)", SCATTER, {}),
    ):
        model = graph((nodes, feeds, constants))
        before = ir.serde.serialize_model(model).SerializeToString(deterministic=True)
        ready(model, "main")
        assert ir.serde.serialize_model(model).SerializeToString(deterministic=True) == before, nodes
