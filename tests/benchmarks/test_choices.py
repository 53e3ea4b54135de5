"""Figures on which choices in the code rest, each beside the choice; docs/quantization.md has the tables."""

import runpy
import textwrap
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import edgepack
from edgepack.runtime.sessions.base import sessions
from edgepack.runtime.timing import measure_together
from edgepack.targets.cpu.onnxruntime import FEW_ROWS
from edgepack.toolchain.program import Signature

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
LITE0 = Path(__file__).parents[2] / "examples" / "efficientnet_lite0.py"
ANYTHING = {"cosine": -1.0, "min_cosine": -1.0}  # a form is wanted here whether it passes or not


def opened(model, out, precision, **options):
    """A session of a model in a precision of the CPU target, and its signature."""
    bundle = edgepack.export(
        str(model),
        out=out,
        targets="cpu:onnxruntime",
        precision=precision,
        gate=ANYTHING,
        measure=False,
        **options,
    )
    artifact = next(a for a in bundle.artifacts if a.precision == precision)
    signature = Signature.from_json(artifact.run.signature)
    return sessions.get(artifact.run.session)(bundle.file(artifact.run.file), signature, threads=1), signature


def together(sessions_by_name, feed, baseline="fp32"):
    return measure_together(
        {name: partial(session.run, feed) for name, session in sessions_by_name.items()},
        baseline,
        threads=1,
        shapes={name: value.shape for name, value in feed.items()},
        max_seconds=30.0,
        give_up_ratio=None,
        clock=time.process_time_ns,
    )


@pytest.mark.parametrize("rows", [1, FEW_ROWS, 16, 64])
def test_weight_only_forms_gain_with_few_rows(rows, tmp_path):
    model = tmp_path / "stack.py"
    model.write_text(
        textwrap.dedent(
            f"""
            import torch

            def make():
                torch.manual_seed(0)
                pairs = [torch.nn.Sequential(torch.nn.Linear(768, 3072), torch.nn.Linear(3072, 768)) for _ in range(4)]
                return torch.nn.Sequential(*pairs).eval(), (torch.randn({rows}, 768),)
            """
        )
    )
    forms = ("fp32", "int4-weights", "int8-weights", "int8-dynamic")
    made = {
        form: opened(f"{model}:make", tmp_path / form, form, static=True, sizes={"batch": rows})
        for form in forms
    }
    (spec,) = made["fp32"][1].inputs
    feed = {spec.name: np.random.default_rng(0).standard_normal((rows, 768), np.float32)}
    timed = together({form: session for form, (session, _) in made.items()}, feed)
    ratios = {form: timed.comparisons[form].ratio for form in forms[1:]}
    print(f"\n| {rows} | " + " | ".join(f"{ratio:.1f}x" for ratio in ratios.values()) + " |")
    if rows <= FEW_ROWS:
        assert min(ratios["int4-weights"], ratios["int8-weights"]) > 1
    else:
        assert ratios["int8-dynamic"] > max(ratios["int4-weights"], ratios["int8-weights"])


def test_bias_correction_and_no_equalization_for_depthwise_networks(tmp_path):
    crops = list(runpy.run_path(str(LITE0))["photos"](160, seed=1))  # calibration uses seed 0
    reference, signature = opened(f"{LITE0}:model", tmp_path / "fp32", "fp32")
    name = signature.outputs[0].name
    expected = np.concatenate([reference.run(crop)[name] for crop in crops])
    made, found = {"fp32": reference}, {}
    for per_channel in ("true", "false"):
        for bias, equal in (("true", "false"), ("false", "false"), ("true", "true")):
            settings = {"per_channel": per_channel, "correct": bias, "equalize": equal}
            key = tuple(settings.values())
            made["/".join(key)], _ = opened(
                f"{LITE0}:model",
                tmp_path / "-".join(key),
                "int8-static",
                quantize=settings,
                calibration=f"{LITE0}:photos",
                calibration_samples=48,
            )
            got = np.concatenate([made["/".join(key)].run(crop)[name] for crop in crops])
            cosines = (got * expected).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(expected, axis=1)
            same = float((got.argmax(1) == expected.argmax(1)).mean())
            found[key] = (same, float(cosines.mean()), float(cosines.min()))
    timed = together(made, crops[0])
    print(f"\nfp32 {timed.latencies['fp32'].p50_ms:.0f} ms")
    for key, (same, mean, lowest) in found.items():
        words = [
            "per channel" if key[0] == "true" else "per tensor",
            *("yes" if k == "true" else "no" for k in key[1:]),
        ]
        speed = f"{timed.latencies['/'.join(key)].p50_ms:.0f}"
        print("| " + " | ".join([*words, f"{same:.1%}", f"{mean:.4f}", f"{lowest:.3f}", speed]) + " |")
    plain, corrected, both = (
        found["true", "false", "false"],
        found["true", "true", "false"],
        found["true", "true", "true"],
    )
    assert corrected[1] > plain[1], "bias correction is on in the plan"
    assert corrected[1] > both[1], "equalization is off in the plan"


def test_float16_gains_nothing_on_a_processor_without_it(minilm, tmp_path):
    made = {form: opened(minilm, tmp_path / form, form) for form in ("fp32", "fp16")}
    feed = {spec.name: np.ones((1, 128), np.int64) for spec in made["fp32"][1].inputs}
    ratio = together({form: session for form, (session, _) in made.items()}, feed).comparisons["fp16"]
    print(f"\nfp16: {ratio.ratio:.2f} of fp32's speed ({ratio.ci_low:.2f} to {ratio.ci_high:.2f})")
    assert ratio.verdict != "faster", "the plan leaves fp16 out because it gains no speed here"


@pytest.mark.parametrize("n", [256, 400, 512, 1000, 1024])
def test_a_product_against_the_fourier_operator(n):
    """64 real signals of length n, all bins: the operator DFT, and the product that edgepack writes instead."""
    x = np.random.default_rng(n).standard_normal((64, n, 1)).astype(np.float32)
    angle = -2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n
    matrix = np.concatenate([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    exact = np.fft.fft(x[..., 0].astype(np.float64))

    def session(nodes, shape, weights):
        graph = helper.make_graph(
            nodes,
            "fourier",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(model.SerializeToString(), options)

    axis = onnx.numpy_helper.from_array(np.int64(1), "axis")
    operator = session([helper.make_node("DFT", ["x", "", "axis"], ["y"])], [64, n, 1], [axis])
    weight = onnx.numpy_helper.from_array(matrix, "w")
    product = session([helper.make_node("MatMul", ["x", "w"], ["y"])], [64, n], [weight])
    calls = {
        "DFT": lambda: operator.run(None, {"x": x})[0],
        "product": lambda: product.run(None, {"x": x[..., 0]})[0],
    }
    timed = measure_together(
        calls, "DFT", threads=1, shapes={"x": x.shape}, max_seconds=10.0, give_up_ratio=None
    )
    by_operator = calls["DFT"]()
    by_product = calls["product"]()
    errors = [
        float(np.abs(by_operator[..., 0] + 1j * by_operator[..., 1] - exact).max()),
        float(np.abs(by_product[:, :n] + 1j * by_product[:, n:] - exact).max()),
    ]
    ratio = timed.comparisons["product"]
    print(
        f"\nn = {n}: the product {ratio.ratio:.1f} times as fast as DFT ({ratio.ci_low:.1f} to {ratio.ci_high:.1f}), "
        f"errors {errors[1]:.5f} and {errors[0]:.5f}"
    )
    assert errors[1] <= 1.5 * errors[0]
