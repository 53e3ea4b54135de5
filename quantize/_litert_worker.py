"""The process that runs ai-edge-quantizer.

    python -m edgepack.quantize._litert_worker request.json

Answers with {"ok": true, "changed": operators that became integer, "notes": [...]} or
{"ok": false, "what": why not}.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain import tflite
from edgepack.toolchain.answers import write_words

if TYPE_CHECKING:
    import numpy as np

ALL = ".*"
_NARROW = 4
_WIDE = 16
_BIAS_SAMPLES = 32
"""Channel means settle long before ranges do."""
_CONVOLUTIONAL = 0.5
"""Share of the multiplications from which biases are corrected: a transformer's layers are normalized again
right behind, and gained nothing (MiniLM with 16-bit activations: mean cosine 0.9975 without, 0.9973 with)."""


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    write_words(Path(request["answer"]), lambda: work(request))


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Quantize one file.

    Returns:
        The operators that became integer, and notes for the report.
    """
    from ai_edge_quantizer import quantizer

    from edgepack.quantize._tflite_order import order_integers
    from edgepack.quantize._tflite_outputs import name_outputs

    source, notes = Path(request["input"]), list[str]()
    wide = request.get("ends") == "int16"
    # What is kept is kept in 16 bits there, which some operators have only in other words.
    if request.get("integer_npu") or (wide and request["keep"]):
        from edgepack.quantize._tflite_rewrite import rewrite_for_integer_npu

        model = tflite.read(source)
        counts = rewrite_for_integer_npu(model)
        source = Path(request["scratch"]) / "rewritten.tflite"
        tflite.write(model, source)
        notes = [f"Rewrote {count} x {rule}" for rule, count in counts.items() if count]
    recipe = _recipe(request)
    if request.get("ends"):
        from edgepack.quantize._tflite_ends import widen_ends

        notes += widen_ends(recipe, tflite.read(source), request["ends"])
    if request.get("bits") == _NARROW:
        notes.append(_four_bits(recipe, tflite.read(source), request["block"]))
    if request["keep"]:
        from edgepack.quantize._tflite_keep import keep_operators

        notes.append(keep_operators(recipe, tflite.read(source), request["keep"], wide=wide))
    tool = quantizer.Quantizer(str(source), recipe.get_quantization_recipe())
    ranges = calibrate(source, recipe, request) if request["mode"] == "static" else None
    result = tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    output = Path(request["output"])
    result.export_model(str(output), overwrite=True)
    model = tflite.read(output)
    if request.get("integer_npu"):
        from edgepack.quantize._tflite_lookups import integer_lookups

        found = integer_lookups(model)
        if found:
            tflite.write(model, output)
            notes.append(f"Quantized {found} tables of lookups to the activations' own integers")
    if order_integers(model) + name_outputs(model):
        tflite.write(model, output)
        model = tflite.read(output)  # what was read before are views on a file that is another one now
    if request.get("correct_biases") and (tflite.convolution_share(model) or 0) > _CONVOLUTIONAL:
        from edgepack.quantize._tflite_bias import correct_biases

        samples = islice(_samples(Path(request["samples"]), source), _BIAS_SAMPLES)
        corrected = correct_biases(tflite.read(source), model, source, samples, request["threads"])
        tflite.write(model, output)
        notes.append(
            f"Corrected the biases of {corrected} layers for the mean error of their rounded weights"
        )
    if not request.get("integer_npu"):
        _load(output)
    return {"changed": tflite.count_integer(model), "notes": notes}


def _load(path: Path) -> None:
    """Have LiteRT prepare a file once, here: on ranges that no kernel can hold it may abort its whole process.

    Raises:
        ValueError: LiteRT refuses the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(str(path)).allocate_tensors()
    except RuntimeError as error:
        raise ValueError(f"LiteRT cannot load what it made ({error})") from error


def _recipe(request: Mapping[str, Any]) -> Any:
    """Rules of the quantizer; a later rule goes before an earlier one."""
    from ai_edge_quantizer import qtyping, recipe_manager

    operation = qtyping.TFLOperationName
    recipe = recipe_manager.RecipeManager()
    if request["mode"] == "dynamic":
        recipe.add_dynamic_config(ALL, operation.ALL_SUPPORTED, num_bits=8)
        return recipe
    bits = request["activation_bits"]
    recipe.add_static_config(ALL, operation.ALL_SUPPORTED, activation_num_bits=bits, weight_num_bits=8)
    if not request.get("integer_npu"):
        recipe.add_dynamic_config(ALL, operation.EMBEDDING_LOOKUP, num_bits=8)
    if request["matmul_bits"]:
        recipe.add_static_config(
            ALL, operation.BATCH_MATMUL, activation_num_bits=request["matmul_bits"], weight_num_bits=8
        )
    return recipe


def _four_bits(recipe: Any, model: Any, block: int) -> str:
    """Add the rules for 4-bit weights of matrix products, a scale for every `block` along a row; a note on them.

    The kernels take whole blocks only: other products stay at 8 bits.

    Raises:
        ValueError: No product of the model can have them.
    """
    from ai_edge_quantizer import qtyping

    product = qtyping.TFLOperationName.FULLY_CONNECTED
    recipe.add_dynamic_config(
        ALL, product, num_bits=_NARROW, granularity=qtyping.QuantGranularity(f"BLOCKWISE_{block}")
    )
    narrow = odd = 0
    for operator in tflite.operators(model):
        weights = operator.inputs[1] if operator.op == "FULLY_CONNECTED" else None
        if weights is None or not weights.constant:
            continue
        if weights.shape[-1] % block == 0:
            narrow += 1
        else:
            odd += 1
            recipe.add_dynamic_config(f"^{re.escape(operator.name)};?$", product, num_bits=8)
    if not narrow:
        raise ValueError(f"no matrix product has rows of whole blocks of {block} weights")
    rest = f"; {odd} with other lengths of rows have 8" if odd else ""
    return f"Weights of {narrow} matrix products in 4 bits, {block} to a scale{rest}"


def calibrate(path: Path, recipe: Any, request: Mapping[str, Any]) -> Any:
    """Ranges of every tensor, from one sample after the other."""
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    from edgepack.quantize._tflite_headroom import add_headroom
    from edgepack.quantize._tflite_ranges import widen

    update: Callable[..., Any] = {
        "min-max": qsv_utils.min_max_update,
        "moving-average": qsv_utils.moving_average_update,
    }[request["ranges"]]
    # The same ranges in a quarter of the time: extremes are taken in native code while the graph runs.
    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    tool = calibrator.Calibrator(str(path), num_threads=request["threads"], mode=mode, qsv_update_func=update)
    for sample in _samples(Path(request["samples"]), path):
        tool.calibrate({tflite.SIGNATURE_KEY: [sample]}, recipe)
    graph = tflite.read(path).subgraphs[0]
    ranks = {
        tensor.name.decode(): 0 if tensor.shape is None else len(tensor.shape) for tensor in graph.tensors
    }
    # The quantizer wants an extreme to have as many axes as its tensor; the native code gives one.
    found = {
        name: {kind: value.reshape([1] * max(ranks[name], 1)) for kind, value in extremes.items()}
        for name, extremes in tool.get_model_qsvs().items()
    }
    widen(found, tflite.read(path))
    if request["activation_bits"] == _WIDE:
        narrow = {"BATCH_MATMUL"} if request["matmul_bits"] not in {None, _WIDE} else ()
        add_headroom(found, tflite.read(path), narrow)
    return found


def _samples(folder: Path, path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Samples as the file takes them: images channels-last, integers as narrow as the file's."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner(tflite.SIGNATURE_KEY)
    details = runner.get_input_details()
    channels_last = tflite.read_note(path).get(tflite.CHANNELS_LAST, ())
    for file in sorted(folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as arrays:
            yield {
                name: np.asarray(
                    arrays[name].transpose(0, 2, 3, 1) if name in channels_last else arrays[name],
                    detail["dtype"],
                    order="C",
                )
                for name, detail in details.items()
            }


if __name__ == "__main__":
    main(sys.argv[1])
