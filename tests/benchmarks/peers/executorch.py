"""ExecuTorch with XNNPACK: float, dynamic and static int8 by torchao's pt2e flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peers import models
from tests.benchmarks.peers.base import Call, Peer, exported, input_names, name_of
from tests.benchmarks.peers.models import Feed, Task

FILE = "model.pte"
FLOAT, DYNAMIC, STATIC = "fp32", "dynamic int8", "static int8"


class ExecuTorch(Peer):
    """The XNNPACK backend, which is what ExecuTorch has for CPUs."""

    title = "ExecuTorch"
    distributions = ("executorch", "torchao")

    def forms(self, task: Task) -> Sequence[str]:
        """Dynamic int8 for matrix products, static for all."""
        return (FLOAT, *((DYNAMIC,) if task.transformer else ()), STATIC)

    def build(self, task: Task, form: str, raw: Path | None, folder: Path) -> None:
        """Export, quantize, lower."""
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        del raw
        module, names, args = exported(task)
        if form != FLOAT:
            module = _quantized(module, args, names, form, models.samples(name_of(task)).calibration)
        program = torch.export.export(module, args)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        (folder / FILE).write_bytes(lowered.to_executorch().buffer)

    def open(self, task: Task, form: str, folder: Path) -> Call:
        """The program's method, on a pool of one thread."""
        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        del form
        portable_lib._unsafe_reset_threadpool(1)
        program = Runtime.get().load_program(folder / FILE)
        method: Any = program.load_method("forward")
        names = input_names(task)

        def call(feed: Feed) -> np.ndarray:
            outputs = method.execute([torch.from_numpy(feed[name]) for name in names])
            found = [np.asarray(value.numpy()) for value in outputs]
            return found[0].copy()  # the runtime uses the memory again

        vars(call)["program"] = program  # a method does not keep its program alive
        return call


def _quantized(
    module: Any, args: tuple[Any, ...], names: Sequence[str], form: str, feeds: Sequence[Feed]
) -> Any:
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=form == DYNAMIC)
    prepared = prepare_pt2e(torch.export.export(module, args).module(), XNNPACKQuantizer().set_global(config))
    with torch.no_grad():
        for feed in feeds if form == STATIC else feeds[:1]:
            prepared(*models.arguments(names, feed))
    return convert_pt2e(prepared)


PEER = ExecuTorch()
