"""What the folders share of Qualcomm's HTP: the isolated environment, its worker, what a shipped file says of itself.

A compiled part is two files: `<part>_<chip>.onnx`, whose nodes are EPContext, and the context binary that it names.
The ONNX file says for which chip, whether every node was on the HTP, and the binary's hash::

    metadata "edgepack.qnn" = {"soc_model": "57", "htp_arch": "75", "strict": true, "contexts": {file: sha256}}

The binary says for which chip it was compiled (`soc_type=SM8650;arch=75;`), which `chip_in` reads: the compiler
takes an architecture that it does not know for another one, with a warning (onnxruntime-qnn 2.7.0, htp_arch=85).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.toolchain.environments import IsolatedEnvironment
from edgepack.toolchain.vendors.isolated_worker import Worker

ENVIRONMENT = IsolatedEnvironment("qnn", Path(__file__).with_name("qnn_requirements.txt"), (11, 13))
DISTRIBUTION = "onnxruntime-qnn"
SETUP = "edgepack setup npu:qnn-htp-v75"
WORKER = Worker(DISTRIBUTION, ENVIRONMENT, SETUP, Path(__file__).with_name("_qnn_worker.py"))
METADATA = "edgepack.qnn"
PROVIDER = "QNN"

_CHIP = re.compile(rb"soc_type=([A-Za-z0-9]+);arch=(\d+);")


def chips_in(binary: Path) -> set[tuple[str, str]]:
    """System-on-chip and HTP architecture that a context binary names, ("SM8650", "75")."""
    return {(soc.decode(), arch.decode()) for soc, arch in _CHIP.findall(binary.read_bytes())}


def note(path: Path, facts: Mapping[str, Any]) -> None:
    """Write what a session must know into an EPContext model's metadata."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(dict(facts), sort_keys=True)})
    path.write_bytes(model.SerializeToString(deterministic=True))


def facts_in(path: Path) -> dict[str, Any] | None:
    """What `note` wrote; None for another file."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    found = [entry.value for entry in model.metadata_props if entry.key == METADATA]
    return dict(json.loads(found[0])) if found else None
