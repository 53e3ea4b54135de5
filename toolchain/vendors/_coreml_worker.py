"""The process in which coremltools lives: it stands alone, for its environment holds nothing of edgepack's.

    python -I _coreml_worker.py compile request.json

A graph comes as JSON, in the order of its nodes, with the constants in an `.npz` file; every node becomes an operation
of Core ML's intermediate language (`_coreml_operators`), in the types that the graph has, and the program is saved as
an `.mlpackage`. What coremltools then fuses and folds is its own affair. Nothing here runs a model: Core ML is a part
of Apple's systems. With "fold" instead of "package" the inputs are constants of the request, and the values that
coremltools itself computes of them are the answer: its own reading of every operation, for tests.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any


def beside(name: str) -> Any:
    """A module of this folder by its own name: the folder itself is no place to import from, with its other names."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_OPERATORS = beside("_coreml_operators")
beside("_coreml_places")  # files more translations, and imports the first by its name
beside("_coreml_images")


def main(what: str, request_file: str) -> None:
    """Answer one request; `what` is always "compile"."""
    assert what == "compile"  # noqa: S101
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    warnings.filterwarnings("ignore")
    try:
        answer: dict[str, Any] = {"ok": True, "versions": versions(), **work(request)}
    except Refused as refused:
        answer = {"ok": True, "versions": versions(), "refused": refused.answer}
    except Exception as error:  # noqa: BLE001 - coremltools raises anything; the parent gets its words
        answer = {"ok": False, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:600]}
    part = Path(f"{request['answer']}.part")
    part.write_text(json.dumps(answer), encoding="utf-8")
    part.rename(request["answer"])


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write the package, or fold constants; operators without a translation are the answer's "unsupported"."""
    import numpy as np

    graph = request["graph"]
    with np.load(request["constants"], allow_pickle=False) as arrays:
        constants = {name: arrays[f"arr_{index}"] for index, name in enumerate(graph["constants"])}
    missing = [
        {"node": node["name"], "op": node["op"]}
        for node in graph["nodes"]
        if node["op"] not in _OPERATORS.TRANSLATIONS
    ]
    if missing:
        return {"unsupported": missing}
    if "fold" in request:
        return folded(graph, constants, request["fold"])
    return packaged(graph, constants, Path(request["package"]))


def packaged(graph: Mapping[str, Any], constants: Mapping[str, Any], package: Path) -> dict[str, Any]:
    """Convert and save; what the program then consists of."""
    import coremltools as ct
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, Program, types

    kinds = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "bool": types.bool}
    program = Program()
    inputs = {
        one["name"]: Builder.placeholder(shape=one["shape"], dtype=kinds[one["dtype"]])
        for one in graph["inputs"]
    }
    with Function(inputs, opset_version=ct.target.iOS16) as function:
        values = built(
            graph, {**constants, **function.inputs}, lambda a, name: Builder.const(val=a, name=name)
        )
        function.set_outputs([Builder.identity(x=values[name], name=name) for name in graph["outputs"]])
        program.add_function("main", function)
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,  # the graph says itself where it computes in 16 bits
        skip_model_load=True,
    )
    model.save(str(package))
    spec = model.get_spec()
    operations: dict[str, int] = {}
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    for operation in block.operations:
        operations[operation.type] = operations.get(operation.type, 0) + 1
    return {
        "operations": {name: count for name, count in sorted(operations.items()) if name != "const"},
        "inputs": [one.name for one in spec.description.input],
        "outputs": [one.name for one in spec.description.output],
        "specification": spec.specificationVersion,
    }


def folded(graph: Mapping[str, Any], constants: Mapping[str, Any], target: str) -> dict[str, Any]:
    """Values of the outputs where coremltools computes them, as `.npz`; names of those that it does not."""
    import coremltools as ct
    import numpy as np
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function

    with Function({}, opset_version=ct.target.iOS16):
        values = built(graph, constants, lambda a, name: Builder.const(val=a, name=name))
    found = {name: values[name].val for name in graph["outputs"]}
    np.savez(target, **{name: value for name, value in found.items() if value is not None})
    return {"unknown": [name for name, value in found.items() if value is None]}


def built(graph: Mapping[str, Any], known: Mapping[str, Any], constant: Any) -> dict[str, Any]:
    """Every value of the graph as one of the language's; constants are made when they are first asked for."""
    import numpy as np

    values: dict[str, Any] = {}

    def value(name: str) -> Any:
        if name not in values:
            values[name] = constant(known[name], name) if isinstance(known[name], np.ndarray) else known[name]
        return values[name]

    for node in graph["nodes"]:
        inputs = [value(name) if name else None for name in node["inputs"]]
        translated = _OPERATORS.Node(node, inputs, graph["shapes"])
        try:
            made = _OPERATORS.TRANSLATIONS[node["op"]](translated)
            made = made if isinstance(made, (list, tuple)) else [made]
            for name, one in zip(node["outputs"], made, strict=False):
                wanted = graph["shapes"][name]
                if list(one.shape or [1]) != [int(size) for size in wanted or [1]]:  # Core ML has no rank 0
                    raise translated.refuse(
                        f"coremltools makes a tensor {one.shape} of it, and it is {wanted}"
                    )
                values[name] = one
        except _OPERATORS.Untranslated as error:
            raise Refused(node, str(error)) from error
        except Exception as error:
            raise Refused(node, f"coremltools says {' '.join(str(error).split())[:400]!r}") from error
    return values


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A node that cannot be said in Core ML's language, with the reason."""

    def __init__(self, node: Mapping[str, Any], why: str) -> None:
        super().__init__(why)
        self.answer = {"node": node["name"], "op": node["op"], "why": why}


def versions() -> dict[str, str]:
    """Of what ran."""
    return {"coremltools": metadata.version("coremltools")}


if __name__ == "__main__":
    main(*sys.argv[1:])
