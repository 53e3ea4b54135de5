"""The process in which nncase lives: it stands alone, for its environment holds nothing of edgepack's.

    python -I _k230_worker.py compile request.json   one model quantized and compiled; the answer goes into a JSON file
    python -I _k230_worker.py run request.json       one .kmodel in the simulator, a JSON line in and out for every call

nncase is a .NET program in this process: it finds its runtime, its plugin for the K230 and the simulator, which is a
program of its own, by variables that must stand before it is imported. What it cannot load ends the process.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

_SIMULATOR = "nncase.simulator.k230.sc"
_TUNABLES = (
    "glibc.malloc.hugetlb=1",
    "glibc.malloc.mmap_threshold=33554432",
    "glibc.malloc.top_pad=134217728",
)
"""Of the simulator, which is started for every group of layers and clears 63 MB each time: in pages of 2 MiB instead of
4 KiB, where the kernel gives them, that takes a third of the time. They come into force in processes started later."""


def main(what: str, request_file: str) -> None:
    """Answer one request, or serve calls."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # The vendor's libraries print on both streams; neither may mix with answers.
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    simulator = None
    answer: dict[str, Any]
    try:
        prepare(request["dotnet"])
        if what == "compile":
            compiled(request)
        else:
            simulator = loaded(request)
        answer = {"ok": True, "versions": versions()}
    except BaseException as error:  # noqa: BLE001 - the compiler raises anything; the parent gets its words
        answer = {"ok": False, "error": words(error)}
    sys.stdout.flush()
    if what == "compile":
        part = Path(f"{request['answer']}.part")
        part.write_text(json.dumps(answer), encoding="utf-8")
        part.rename(request["answer"])
    else:
        print(json.dumps(answer), file=answers, flush=True)
        for line in sys.stdin if simulator is not None else ():
            print(json.dumps(called(simulator, json.loads(line))), file=answers, flush=True)
    sys.stdout.flush()
    os._exit(0)  # the runtime's threads have nothing left to do, and take their time to end


def prepare(dotnet: str) -> None:
    """Set what nncase looks for when it is imported.

    Args:
        dotnet: The root of a .NET installation, of any major version from 7 on.
    """
    site = Path(sysconfig.get_path("purelib"))
    os.environ |= {
        "DOTNET_ROOT": dotnet,
        "DOTNET_ROLL_FORWARD": "Major",
        "DOTNET_EnableDiagnostics": "0",  # no socket for debuggers
        "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
        "DOTNET_TieredPGO": "0",  # measures code to compile it better later: a compilation ends before, 14 % sooner
        # Without ICU, which a small machine lacks, .NET refuses to start unless it is told that none is wanted.
        "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
        "NNCASE_PLUGIN_PATH": str(site / "nncase" / "modules" / "kpu"),
        "PATH": f"{site}{os.pathsep}{os.environ.get('PATH', '')}",
        "GLIBC_TUNABLES": ":".join(filter(None, [os.environ.get("GLIBC_TUNABLES"), *_TUNABLES])),
    }
    simulator = site / _SIMULATOR
    if not os.access(simulator, os.X_OK):  # some installers of wheels do not keep the bit
        simulator.chmod(0o755)


def compiled(request: Mapping[str, Any]) -> None:
    """Quantize and compile a model.

    Args:
        request: "model" (ONNX in one file), "samples" (an `.npz` file with an array [samples, *shape] an input, in the
            model's order), "config" (attributes of nncase's `PTQTensorOptions`), "kmodel" (where to write), and "dump",
            a folder for the program after every pass.
    """
    import nncase
    import numpy as np

    options = nncase.CompileOptions()
    options.target = "k230"
    options.dump_ir, options.dump_asm, options.dump_dir = True, False, request["dump"]
    compiler = nncase.Compiler(options)
    compiler.import_onnx(Path(request["model"]).read_bytes(), nncase.ImportOptions())
    with np.load(request["samples"], allow_pickle=False) as arrays:
        columns = [list(arrays[f"arr_{index}"]) for index in range(len(arrays.files))]
    quantization = nncase.PTQTensorOptions()
    for name, value in request["config"].items():
        setattr(quantization, name, value)
    quantization.samples_count = len(columns[0])
    quantization.set_tensor_data([[np.ascontiguousarray(one) for one in column] for column in columns])
    compiler.use_ptq(quantization)
    compiler.compile()
    Path(request["kmodel"]).write_bytes(compiler.gencode_tobytes())


def loaded(request: Mapping[str, Any]) -> Any:
    """The simulator with a "kmodel" that takes and gives so many "inputs" and "outputs"."""
    import nncase

    simulator = nncase.Simulator()
    simulator.load_model(Path(request["kmodel"]).read_bytes())
    found = simulator.inputs_size, simulator.outputs_size
    if found != (request["inputs"], request["outputs"]):
        raise RuntimeError(f"the file has {found[0]} inputs and {found[1]} outputs")
    return simulator


def called(simulator: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """One call: arrays from an `.npz` file ("inputs", in the file's order) into another ("outputs")."""
    import nncase
    import numpy as np

    try:
        with np.load(request["inputs"], allow_pickle=False) as arrays:
            for index in range(len(request["names"])):
                given = np.ascontiguousarray(arrays[f"arr_{index}"])
                wanted = tuple(simulator.get_input_shape(index)), simulator.get_input_desc(index).dtype
                if (given.shape, given.dtype) != wanted:  # it reads beyond the end of what is too small
                    raise ValueError(f"input {index} is {given.dtype} {given.shape}, and not {wanted}")
                simulator.set_input_tensor(index, nncase.RuntimeTensor.from_numpy(given))
        simulator.run()
        made = [simulator.get_output_tensor(index).to_numpy() for index in range(simulator.outputs_size)]
        np.savez(request["outputs"], *made)
    except BaseException as error:  # noqa: BLE001 - as above
        return {"ok": False, "error": words(error)}
    return {"ok": True, "count": len(made)}


def versions() -> dict[str, str]:
    """Of what ran."""
    return {name: metadata.version(name) for name in ("nncase", "nncase-kpu")}


def words(error: BaseException) -> str:
    """An error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:600]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
