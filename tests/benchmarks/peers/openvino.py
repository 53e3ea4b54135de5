"""OpenVINO: the raw ONNX file in its default precision (bfloat16 where the processor has it), and NNCF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.toolchain.vendors.openvino_ir import import_openvino
from tests.benchmarks.peers import models
from tests.benchmarks.peers.base import Call, Peer, name_of
from tests.benchmarks.peers.models import Feed, Task

FILE = "model.xml"
DEFAULT, F32 = "default precision", "float32"
STATIC, STATIC_F32 = "NNCF int8", "NNCF int8, rest float32"
_WEIGHTS = {"NNCF 8-bit weights": "INT8_ASYM", "NNCF 4-bit weights": "INT4_SYM"}


class OpenVino(Peer):
    """`openvino` and `nncf`; importing them here leaves their telemetry out."""

    title = "OpenVINO"
    distributions = ("openvino", "nncf")
    takes_raw = True

    def forms(self, task: Task) -> Sequence[str]:
        """Default and pinned precision, NNCF's static int8, and its weight compression for decoders."""
        return (DEFAULT, F32, STATIC, STATIC_F32, *(_WEIGHTS if "GPT" in name_of(task) else ()))

    def build(self, task: Task, form: str, raw: Path | None, folder: Path) -> None:
        """Write IR; the two precisions of one IR share it."""
        openvino = import_openvino()
        model = openvino.Core().read_model(raw)
        if form.startswith(STATIC):
            import nncf

            feeds = [dict(feed) for feed in models.samples(name_of(task)).calibration]
            made = nncf.quantize(
                model,
                nncf.Dataset(feeds),
                model_type=nncf.ModelType.TRANSFORMER if task.transformer else None,
                subset_size=len(feeds),
            )
        elif form in _WEIGHTS:
            import nncf

            made = nncf.compress_weights(model, mode=nncf.CompressWeightsMode[_WEIGHTS[form]])
        else:
            made = model
        openvino.save_model(made, folder / FILE, compress_to_fp16=False)

    def open(self, task: Task, form: str, folder: Path) -> Call:
        """Compiled for latency on one thread."""
        openvino = import_openvino()
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if form in {F32, STATIC_F32}:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        request = openvino.Core().compile_model(folder / FILE, "CPU", settings).create_infer_request()
        known = {name for port in request.model_inputs for name in port.names}
        names = [name for name in models.samples(name_of(task)).timed if name in known]

        def call(feed: Feed) -> np.ndarray:
            results = request.infer({name: feed[name] for name in names}, share_inputs=True)
            return np.asarray(results[0])

        return call


PEER = OpenVino()
