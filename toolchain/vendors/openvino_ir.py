"""OpenVINO's files: importing the package in silence, and how a file says what it is to be run with.

Importing `openvino` sends an event to an analytics service unless its telemetry package cannot be imported
(then its own stub takes over), the user opted out in their home folder, or `CI=true` is in the environment
(openvino/tools/ovc/telemetry_utils.py, nncf/telemetry/wrapper.py, openvino-telemetry 2025.2). Importing it
through `import_openvino` sends nothing and starts no thread, whatever the user's home folder says.

Float precision is no property of an intermediate-representation file (IR: `.xml` and `.bin`): the same file
runs in float32 or bfloat16, as the runtime is told when it compiles it, and by default in bfloat16 wherever the
processor has it. So the settings travel with the file, under `edgepack` in the `.xml`'s runtime information,
for the session, and as `<part>.json` beside it, for `Core.compile_model(model, "CPU", settings)`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edgepack.toolchain.errors import ToolchainMissingError

DEVICE = "CPU"
NOTE = "edgepack"
INSTALL = "pip install 'edgepack[openvino]'"
QUIET: Mapping[str, str] = {"CI": "true"}
"""For worker processes: what OpenVINO and NNCF take for a job of continuous integration, which is not reported."""

PRECISION, GROUP, WEIGHTS = "INFERENCE_PRECISION_HINT", "DYNAMIC_QUANTIZATION_GROUP_SIZE", "weights_sha256"
_LATENCY: Mapping[str, str] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
_TELEMETRY = "openvino_telemetry"


def silence() -> None:
    """Keep OpenVINO and NNCF from importing their telemetry, for the rest of this process."""
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes an import fail


def import_openvino() -> Any:
    """The module `openvino`, without its telemetry.

    Raises:
        ToolchainMissingError: It is not installed, or cannot be imported.
    """
    try:
        with _silenced():
            import openvino
    except ImportError as error:
        raise ToolchainMissingError(
            f"OpenVINO cannot be imported: {error}", todo=f"Run: {INSTALL}"
        ) from error
    return openvino


@contextmanager
def _silenced() -> Iterator[None]:
    """Telemetry cannot be imported within; afterwards everything is as it was."""
    known, before = _TELEMETRY in sys.modules, sys.modules.get(_TELEMETRY)
    silence()
    try:
        yield
    finally:
        if known:
            sys.modules[_TELEMETRY] = before  # type: ignore[assignment]
        else:
            del sys.modules[_TELEMETRY]


def settings(inference: str = "f32", group: int = 0) -> dict[str, str]:
    """What the runtime is told about a file.

    Args:
        inference: "f32" or "bf16": how floats are computed.
        group: Activations that share a scale where they are quantized at run time; 0: they are not.
    """
    return {**_LATENCY, PRECISION: inference, GROUP: str(group)}


def settings_in(model: Any) -> dict[str, str]:
    """The settings that a model (`openvino.Model`) carries; float32 where it carries none (an ONNX file)."""
    found = settings()
    for key in found:
        if model.has_rt_info([NOTE, key]):
            found[key] = str(model.get_rt_info([NOTE, key]).astype(str))
    return found


def note_settings(model: Any, values: Mapping[str, str]) -> None:
    """Write settings into a model, to be saved with it."""
    for key, value in values.items():
        model.set_rt_info(value, [NOTE, key])
