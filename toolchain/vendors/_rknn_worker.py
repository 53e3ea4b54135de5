"""The process in which rknn-toolkit2 lives: it stands alone, for its environment holds nothing of edgepack's.

    python -I _rknn_worker.py compile request.json   one model built and written; the answer goes into a JSON file
    python -I _rknn_worker.py run request.json       one model built, then a JSON line in and out for every call

A simulator of the toolkit runs a model that was built in the same process, never an `.rknn` file: "run" builds what
"compile" built, from the same file and the same samples.

The toolkit imports torch and OpenCV, of which its path from ONNX uses nothing: 900 MB and 90 MB that the environment
does without. Stand-ins take their places, which raise an error that says so when anything of theirs is called.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable, Mapping
from importlib import metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

LEFT_OUT = {"torch": "2.4.0", "cv2": "4.11.0"}
"""Packages that are not there, and the newest version of each that the toolkit takes."""


class StandIn(types.ModuleType):
    """A module that is not there: it can be imported, subclassed and used as a decorator, and does nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # a package: anything can be imported from it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "no_grad":  # a decorator of functions that are never called here
            return _decorator
        if name[0].isupper():
            return type(name, (), {})
        return StandIn(f"{self.__name__}.{name}")

    def __call__(self, *_: object, **__: object) -> Any:
        raise RuntimeError(f"the toolkit needs {self.__name__} here, which its environment was made without")


def _decorator(*_: object, **__: object) -> Callable[[Any], Any]:
    return lambda function: function


class Finder(MetaPathFinder, Loader):
    """Finds stand-ins for what is left out and not installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A stand-in for a module of a package that is left out."""
        del path, target
        if fullname.partition(".")[0] not in LEFT_OUT:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        """The stand-in, with a version where it is asked for one."""
        made = StandIn(spec.name)
        if spec.name in LEFT_OUT:
            made.__dict__["__version__"] = LEFT_OUT[spec.name]
        return made

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def main(what: str, request_file: str) -> None:
    """Answer one request, or serve calls."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # The vendor's libraries print on both streams; neither may mix with answers.
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.meta_path.append(Finder())
    toolkit = None
    answer: dict[str, Any]
    try:
        toolkit = built(request)
        if what == "compile":
            compiled(toolkit, request)
        else:
            done("init_runtime", toolkit.init_runtime())
        answer = {"ok": True, "versions": versions()}
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


def built(request: Mapping[str, Any]) -> Any:
    """The toolkit with the model built.

    Args:
        request: "model", "platform", "dtype" (None: float16), "algorithm", "samples" (an `.npz` file whose arrays are
            [samples, *shape], or None), "inputs" (their names in the model's order) and the "config" that is passed on.
    """
    from rknn.api import RKNN

    toolkit = RKNN(verbose=True)
    config = dict(request["config"])
    if request["dtype"]:
        config["quantized_dtype"] = request["dtype"]
    done("config", toolkit.config(target_platform=request["platform"], **config))
    done("load_onnx", toolkit.load_onnx(request["model"]))
    quantized = request["dtype"] is not None
    dataset = listed(request, Path(request["log"]).parent) if quantized else None
    done("build", toolkit.build(do_quantization=quantized, dataset=dataset))
    return toolkit


def listed(request: Mapping[str, Any], folder: Path) -> str:
    """The samples as the toolkit takes them: a list of files, one line a sample and one file an input."""
    import numpy as np

    lines = []
    with np.load(request["samples"], allow_pickle=False) as arrays:
        columns = [arrays[f"arr_{index}"] for index in range(len(request["inputs"]))]
    for row in range(len(columns[0])):
        files = [folder / f"sample_{row}_{index}.npy" for index in range(len(columns))]
        for file, column in zip(files, columns, strict=True):
            np.save(file, column[row])
        lines.append(" ".join(map(str, files)))
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
