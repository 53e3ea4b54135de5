"""The process that compiles several of torch.export's programs to the methods of one of ExecuTorch's.

    python -m edgepack.targets.mobile._executorch_methods_worker request.json

It reads `.pt2` files that other workers wrote, writes `model.pte` into the request's folder, and answers
(`toolchain.answers`) with {"facts": as of `toolchain.vendors.executorch.Facts`}.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.vendors.executorch import PROGRAM_FILE, answer


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Compile the programs together.

    Raises:
        TargetError: ExecuTorch does not take them.
    """
    import torch
    import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401 - a quantized program's operators

    from edgepack.toolchain.vendors import executorch_lowering

    torch.set_num_threads(max(1, request["threads"]))
    methods = {name: torch.export.load(file) for name, file in request["methods"].items()}
    return executorch_lowering.write(methods, Path(request["folder"]) / PROGRAM_FILE, request["part"])


if __name__ == "__main__":
    answer(sys.argv[1], work)
