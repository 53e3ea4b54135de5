"""ONNX Runtime's own quantizers: dynamic, static QDQ, and weights of 4 and 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peers import models
from tests.benchmarks.peers.base import Call, Peer, input_names, name_of
from tests.benchmarks.peers.models import Feed, Task

FILE = "model.onnx"
FP32 = "fp32"
_BLOCK = 32
_BITS = {"MatMulNBits 4": 4, "MatMulNBits 8": 8}


class OnnxRuntime(Peer):
    """`onnxruntime.quantization`."""

    title = "ONNX Runtime"
    distributions = ("onnxruntime",)
    takes_raw = True

    def forms(self, task: Task) -> Sequence[str]:
        """The raw file, which everybody is compared with, and the quantizers."""
        dynamic = ("dynamic int8", "dynamic int8 per channel") if task.transformer else ()
        return (FP32, *dynamic, "static QDQ u8s8 per channel", *(_BITS if "GPT" in name_of(task) else ()))

    def build(self, task: Task, form: str, raw: Path | None, folder: Path) -> None:
        """Quantize the raw file after `quant_pre_process`, as the documentation advises."""
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        assert raw is not None
        path = folder / FILE
        if form == FP32:
            path.write_bytes(raw.read_bytes())
            return
        clean = folder / "clean.onnx"
        model = onnx.load(raw)
        del model.graph.value_info[:]  # torch's own shapes make the quantizers' shape inference fail
        onnx.save(model, clean)
        if form in _BITS:  # pre-processing would turn MatMul and Add into Gemm, which this quantizer skips
            _nbits(clean, _BITS[form], path)
        elif form.startswith("dynamic"):
            quantize_dynamic(
                clean, path, per_channel=form.endswith("per channel"), weight_type=QuantType.QInt8
            )
        else:
            ready = folder / "ready.onnx"
            quant_pre_process(clean, ready, skip_symbolic_shape=True)
            quantize_static(
                ready,
                path,
                _Reader(models.samples(name_of(task)).calibration),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )

    def open(self, task: Task, form: str, folder: Path) -> Call:
        """A session with one thread and all optimizations, the default."""
        import onnxruntime

        del form
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
        known = {value.name for value in session.get_inputs()}
        names = [name for name in input_names(task) if name in known]

        def call(feed: Feed) -> np.ndarray:
            first: np.ndarray = session.run(None, {name: feed[name] for name in names})[0]
            return first

        return call


def _nbits(source: Path, bits: int, path: Path) -> None:
    import onnx
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    config = nbits.DefaultWeightOnlyQuantConfig(
        block_size=_BLOCK, is_symmetric=True, accuracy_level=4, bits=bits
    )
    quantizer: Any = nbits.MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path), use_external_data_format=False)


class _Reader:
    """What the calibrator reads, feed by feed."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._left: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next feed, None at the end."""
        return next(self._left, None)


PEER = OnnxRuntime()
