"""The process that compiles a network for an Ethos-U by ExecuTorch's delegate: the second route of `test_ethos_routes`.

    python ethos_route_worker.py request.json

It runs with the delegate's own Vela and TOSA tools before edgepack's on the path. Vela's summary of every subgraph is
kept as `summary-N.csv`; the outputs are those of the quantized graph in torch, for nothing here runs an Ethos-U.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any


def main(request_file: str) -> None:
    """Answer one request."""
    warnings.simplefilter("ignore")
    request = json.loads(Path(request_file).read_text())
    folder = Path(request["folder"])
    (folder / "answer.json").write_text(json.dumps(work(request, folder)))


def work(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Quantize as Arm's own quantizer does, delegate, and say what stayed outside."""
    import numpy as np
    import torch
    from executorch.backends.arm.ethosu import EthosUCompileSpec, EthosUPartitioner
    from executorch.backends.arm.quantizer import EthosUQuantizer, get_symmetric_quantization_config
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from edgepack.exporters import torch_program
    from edgepack.toolchain.vendors import executorch_lowering as lowering

    keep_summaries(folder)
    spec = EthosUCompileSpec(request["config"], request["system"], request["memory"])
    quantizer = EthosUQuantizer(spec).set_global(get_symmetric_quantization_config())
    program = torch_program(request["source"], request["part"], request["sizes"])
    # A module that checks its inputs' shapes is one more module than the quantizer's passes allow.
    prepared = prepare_pt2e(program.module(check_guards=False), quantizer)
    with np.load(request["samples"]) as arrays, torch.no_grad():
        for sample in arrays["calibrating"]:
            prepared(torch.from_numpy(sample))
        converted = convert_pt2e(prepared)
        judged = [converted(torch.from_numpy(sample)) for sample in arrays["judging"]]
    outputs = np.stack([(one[0] if isinstance(one, (tuple, list)) else one).numpy() for one in judged])
    np.save(folder / "outputs.npy", outputs)
    exported = torch.export.export(converted, program.example_inputs[0])
    edge = to_edge_transform_and_lower(
        exported,
        partitioner=[EthosUPartitioner(spec)],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    graph = edge.exported_program().graph_module
    inside = sum(len(lowering._computing(one)) for one in lowering._delegates(graph))
    size = len(edge.to_executorch().buffer)
    outside = [lowering.kind_of(node) for node in lowering._computing(graph)]
    return {
        "inside": inside,
        "outside": [kind for kind in outside if kind not in {"alloc", "out"}],
        "size": size,
    }


def keep_summaries(folder: Path) -> None:
    """Have Vela's summaries copied before the delegate deletes them."""
    from ethosu.vela import vela

    compile_, count = vela.main, iter(range(1000))

    def main(arguments: list[str]) -> None:
        compile_(arguments)
        out = next(Path(word.partition("=")[2]) for word in arguments if word.startswith("--output-dir="))
        shutil.copyfile(next(out.glob("*_summary_*.csv")), folder / f"summary-{next(count)}.csv")

    vela.main = main


if __name__ == "__main__":
    main(sys.argv[1])
