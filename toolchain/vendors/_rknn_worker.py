"""The process in which rknn-toolkit2 lives: it stands alone, for its environment holds nothing of edgepack's.

    python -I _rknn_worker.py compile request.json   one model built and written; the answer goes into a JSON file
    python -I _rknn_worker.py run request.json       one model built, then a JSON line in and out for every call

A simulator of the toolkit runs a model that was built in the same process, never an `.rknn` file: "run" builds what
"compile" built, from the same file and the same samples.

What the toolkit imports and its environment does without has stand-ins (`_rknn_standins.py`, loaded by its path).

The toolkit's optimizer fuses and moves operators by several hundred rules, some of which fail on graphs that they were
not tried on. It then logs which one, with the advice to switch it off (`disable_rules`, 2.5.0). A build that fails so
is begun again without that rule, until no other one fails: a rule only makes a graph faster, and numerics are judged.
To help such a rule along is no cure: `fuse_multihead_attention_reshape_to_gather_split`, which writes into constants
that onnx does not let it write, computes something else where they can be written.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

_STAND_INS = Path(__file__).with_name("_rknn_standins.py")
_ADVICE = re.compile(r"disable_rules=\['([^']+)'\]")


def main(what: str, request_file: str) -> None:
    """Answer one request, or serve calls."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # The vendor's libraries print on both streams; neither may mix with answers.
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    toolkit = None
    answer: dict[str, Any]
    try:
        stand_in()
        toolkit, without = built(request)
        if what == "compile":
            compiled(toolkit, request)
        else:
            done("init_runtime", toolkit.init_runtime())
        answer = {"ok": True, "versions": versions(), "without": without}
    except BaseException as error:  # noqa: BLE001 - the toolkit raises anything, exits included
        toolkit, answer = None, {"ok": False, "error": words(error)}
    sys.stdout.flush()
    if what == "compile":
        part = Path(f"{request['answer']}.part")
        part.write_text(json.dumps(answer), encoding="utf-8")
        part.rename(request["answer"])
    else:
        print(json.dumps(answer), file=answers, flush=True)
        for line in sys.stdin if toolkit is not None else ():
            print(json.dumps(called(toolkit, json.loads(line))), file=answers, flush=True)
    # Its destructors have crashed after the work was done; nothing is left to write.
    sys.stdout.flush()
    os._exit(0)


def stand_in() -> None:
    """Fill the gaps of the environment."""
    spec = importlib.util.spec_from_file_location("_rknn_standins", _STAND_INS)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{_STAND_INS.name} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install()


def built(request: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The toolkit with the model built, and the rules of its optimizer that had to be switched off for it.

    Args:
        request: "model", "platform", "dtype" (None: float16), "algorithm", "samples" (an `.npz` file whose arrays are
            [samples, *shape], or None), "inputs" (their names in the model's order) and the "config" that is passed
            on; its "disable_rules" are off from the beginning.
    """
    quantized = request["dtype"] is not None
    log = Path(request["log"])
    dataset = listed(request, log.parent) if quantized else None
    without = [str(rule) for rule in request["config"].get("disable_rules", ())]
    while True:
        read = log.stat().st_size
        try:
            return attempted(request, without, dataset), without
        except Exception:
            sys.stdout.flush()
            advice = _ADVICE.findall(log.read_bytes()[read:].decode(errors="replace"))
            if not advice or advice[-1] in without:
                raise
            without.append(advice[-1])


def attempted(request: Mapping[str, Any], without: list[str], dataset: str | None) -> Any:
    """The toolkit with the model built, without some of its rules."""
    from rknn.api import RKNN

    toolkit = RKNN(verbose=True)
    config = dict(request["config"])
    if request["dtype"]:
        config["quantized_dtype"] = request["dtype"]
    if without:
        config["disable_rules"] = list(without)
    done("config", toolkit.config(target_platform=request["platform"], **config))
    done("load_onnx", toolkit.load_onnx(request["model"]))
    done("build", toolkit.build(do_quantization=dataset is not None, dataset=dataset))
    return toolkit


def listed(request: Mapping[str, Any], folder: Path) -> str:
    """The samples as the toolkit takes them: a list of files, one line a sample and one file an input.

    Files are named without their folder, which is the list's: the toolkit ends a name at a space.
    """
    import numpy as np

    lines = []
    with np.load(request["samples"], allow_pickle=False) as arrays:
        columns = [arrays[f"arr_{index}"] for index in range(len(request["inputs"]))]
    for row in range(len(columns[0])):
        files = [folder / f"sample_{row}_{index}.npy" for index in range(len(columns))]
        for file, column in zip(files, columns, strict=True):
            np.save(file, column[row])
        lines.append(" ".join(file.name for file in files))
    path = folder / "samples.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def compiled(toolkit: Any, request: Mapping[str, Any]) -> None:
    """Write the `.rknn` file, and the errors layer by layer where they are asked for."""
    done("export_rknn", toolkit.export_rknn(request["rknn"]))
    if request["dtype"] and request["accuracy"]:
        folder = Path(request["log"]).parent
        first = [str(folder / f"sample_0_{index}.npy") for index in range(len(request["inputs"]))]
        done("accuracy_analysis", toolkit.accuracy_analysis(first, output_dir=request["accuracy"]))


def called(toolkit: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """One call: arrays from an `.npz` file ("inputs", in the model's order) into another ("outputs")."""
    import numpy as np

    try:
        with np.load(request["inputs"], allow_pickle=False) as arrays:
            given = [arrays[f"arr_{index}"] for index in range(len(request["names"]))]
        # Arrays of four dimensions are taken as channels-last unless told otherwise.
        # It wants a word for every input then, and passes over it where there are other dimensions.
        images = any(array.ndim == _IMAGE for array in given)
        made = toolkit.inference(inputs=given, data_format=["nchw"] * len(given) if images else None)
        if made is None:
            raise RuntimeError("inference gave nothing")
        np.savez(request["outputs"], *map(np.asarray, made))
    except BaseException as error:  # noqa: BLE001 - as above
        return {"ok": False, "error": words(error)}
    return {"ok": True, "count": len(made)}


_IMAGE = 4


def done(step: str, code: object) -> None:
    """Raise unless a step of the toolkit returned 0 or nothing: some errors are only returned."""
    if code not in {0, None}:
        raise RuntimeError(f"{step} returned {code}")


def versions() -> dict[str, str]:
    """Of what ran."""
    return {name: metadata.version(name) for name in ("rknn-toolkit2", "onnxruntime")}


def words(error: BaseException) -> str:
    """An error on one line, without the traceback that the toolkit puts into its messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line not in {"\x1b[0m", "]"}), "")
    return f"{type(error).__name__}: {last}"[:600]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
