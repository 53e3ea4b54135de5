"""What ExecuTorch's workers have in common before they open a model: their imports, and the compiler's tables.

Importing torch, ExecuTorch and torchao takes seconds, and the first program that is compiled as many again, for tables
of decompositions and operators. Both are the same for every model.
"""

from __future__ import annotations

import warnings


def prepare() -> None:
    """Import all that the workers do, and compile a program of one product; leaves no thread running."""
    warnings.simplefilter("ignore")  # torch's, torchao's and ExecuTorch's of their own interfaces
    import torch
    import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401 - a quantized program's operators
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer  # noqa: F401 - for the quantizer's
    from executorch.exir import to_edge_transform_and_lower
    from tqdm import tqdm

    import edgepack.toolchain.vendors.executorch_lowering  # noqa: F401 - for all
    from edgepack.toolchain.torch_source import OPENER, torch_openers

    torch_openers.get(OPENER)
    tqdm.monitor_interval = 0  # its thread would watch progress that nobody sees
    torch.set_num_threads(1)  # or the products below would leave threads behind
    example = (torch.zeros(1, 2),)
    exported = torch.export.export(torch.nn.Linear(2, 2).eval(), example, strict=False)
    to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
