"""The process that converts an ONNX file to MNN's form. It can open no socket.

    python -m edgepack.targets.mobile._mnn_worker request.json

Answers (`toolchain.answers`) with {"sockets": whether the kernel refuses them}.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.answers import write_answer
from edgepack.toolchain.errors import TargetError
from edgepack.toolchain.vendors.mnn import quiet
from edgepack.toolchain.vendors.no_sockets import forbid_sockets

_LACKING = re.compile(r"These Op Not Support: (.*)")
_WORDS = re.compile(r"error|fail|not support|can't|cannot", re.IGNORECASE)
_LONGEST = 400


def main(request_file: str) -> None:
    """Answer one request."""
    request = json.loads(Path(request_file).read_text())
    # Before anything of MNN is loaded: its packages have code that reports home.
    held = forbid_sockets(kill=bool(request.get("kill")))
    write_answer(Path(request["answer"]), lambda: {"sockets": held, **work(request)})


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Convert one file.

    Raises:
        TargetError: MNN does not take the model; operators that it lacks are named.
    """
    import _tools

    source, output = _whole(Path(request["input"])), Path(request["output"])
    log = output.with_suffix(".log")
    command = ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(output)]
    with quiet(str(log)):
        _tools.mnnconvert([*command, "--bizCode", "edgepack", *request["options"]])
    said = log.read_text(errors="replace")
    log.unlink()
    # It returns True whatever came of it.
    lacking = _LACKING.search(said)
    if lacking or not output.is_file() or output.stat().st_size == 0:
        raise _refused(said, lacking[1] if lacking else "", request["part"])
    return {}


def _whole(path: Path) -> Path:
    """The ONNX file with its weights inside, as far as one file can hold them."""
    import onnx_ir as ir

    limit = 2**31 - 2**24  # of protobuf's messages, less what the graph takes
    model = ir.load(path)
    beside = [
        tensor
        for value in model.graph.initializers.values()
        if isinstance(tensor := value.const_value, ir.ExternalTensor)
    ]
    if not beside or sum(tensor.nbytes for tensor in beside) > limit:
        return path
    whole = Path("whole.onnx").resolve()
    ir.save(ir.external_data.load_to_model(model), whole)
    return whole


def _refused(said: str, lacking: str, part: str) -> TargetError:
    names = sorted({name.rpartition("::")[2] for name in lacking.replace("|", " ").split()})
    if names:
        return TargetError(
            f"MNN does not have the operator{'s' * (len(names) > 1)} {', '.join(names)}",
            where=f"part {part}",
            todo="Use --target cpu:onnxruntime for this model",
        )
    words = (
        " ".join(line.strip() for line in said.splitlines() if _WORDS.search(line)) or "it does not say why"
    )
    return TargetError(
        f"MNN cannot take this model: {words[:_LONGEST]}",
        where=f"part {part}",
        todo="Use --target cpu:onnxruntime for this model",
    )


if __name__ == "__main__":
    main(sys.argv[1])
