"""The process in which onnxruntime-qnn lives: it stands alone, for its environment holds nothing of edgepack's.

    python -I _qnn_worker.py compile request.json    one session; the answer goes into a JSON file
    python -I _qnn_worker.py run request.json        one session, then a JSON line in and out for every call

Both open a model in ONNX Runtime with the HTP of one chip as execution provider (on x86-64 its simulator) and say
which provider every node was given to. Whether the CPU may take nodes is the request's to say ("fallback"). A call
that fails is never repeated on the CPU, which ONNX Runtime's Python class does by itself unless it is told not to.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PROVIDER = "QNN"
_ERROR, _VERBOSE = 3, 0


def main(what: str, request_file: str) -> None:
    """Answer one request, or serve calls."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # The vendor's libraries print on both streams; neither may mix with answers.
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        session = opened(request)
        answer: dict[str, Any] = {"ok": True, "assignment": assignment(session), "versions": versions()}
    except Exception as error:  # noqa: BLE001 - the runtime raises anything; the parent gets its words
        session, answer = None, {"ok": False, "error": words(error)}
    if what == "compile":
        part = Path(f"{request['answer']}.part")
        part.write_text(json.dumps(answer), encoding="utf-8")
        part.rename(request["answer"])
        return
    print(json.dumps(answer), file=answers, flush=True)
    for line in sys.stdin if session is not None else ():
        print(json.dumps(called(session, json.loads(line))), file=answers, flush=True)


def opened(request: Mapping[str, Any]) -> Any:
    """A session on the chip that the request names.

    Args:
        request: "model", "soc_model", "htp_arch", "fallback", "verbose", "threads", and where a "context" binary
            and a folder of ".dlc" files are to go, or None.
    """
    import onnxruntime
    import onnxruntime_qnn

    severity = _VERBOSE if request["verbose"] else _ERROR
    onnxruntime.set_default_logger_severity(severity)
    onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        raise RuntimeError("the library registered no device for " + PROVIDER)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = severity
    options.intra_op_num_threads = request["threads"]
    entries = {"session.record_ep_graph_assignment_info": "1"}
    if not request["fallback"]:
        entries["session.disable_cpu_ep_fallback"] = "1"
    if request.get("context"):
        # Two files, so that the binary can be loaded without ONNX Runtime too.
        entries |= {"ep.context_enable": "1", "ep.context_embed_mode": "0"}
        entries["ep.context_file_path"] = request["context"]
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    chip = {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
    chip |= {"soc_model": request["soc_model"], "htp_arch": request["htp_arch"]}
    if request.get("dlc"):
        library = Path(onnxruntime_qnn.LIB_DIR_FULL_PATH) / "libQnnIr.so"
        chip |= {"qnn_ir_backend_path": str(library)}
        chip |= {"dump_qnn_ir_dlc": "1", "dump_qnn_ir_dlc_dir": request["dlc"]}
    options.add_provider_for_devices(devices[:1], chip)
    session = onnxruntime.InferenceSession(request["model"], options)
    session.disable_fallback()
    return session


def assignment(session: Any) -> list[dict[str, Any]]:
    """Every node by the provider that ONNX Runtime gave it to."""
    return [
        {
            "provider": group.ep_name,
            "nodes": [{"name": node.name, "op": node.op_type} for node in group.get_nodes()],
        }
        for group in session.get_provider_graph_assignment_info()
    ]


def called(session: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """One call: arrays from an `.npz` file ("inputs", in the order of "names") into another ("outputs")."""
    import numpy as np

    try:
        known = {node.name for node in session.get_inputs()}
        with np.load(request["inputs"], allow_pickle=False) as arrays:
            given = {name: arrays[f"arr_{index}"] for index, name in enumerate(request["names"])}
        names = [node.name for node in session.get_outputs()]
        np.savez(request["outputs"], *session.run(names, {n: a for n, a in given.items() if n in known}))
    except Exception as error:  # noqa: BLE001 - as above
        return {"ok": False, "error": words(error)}
    return {"ok": True, "names": names}


def versions() -> dict[str, str]:
    """Of what ran."""
    return {name: metadata.version(name) for name in ("onnxruntime-qnn", "onnxruntime")}


def words(error: Exception) -> str:
    """An error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:600]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
