"""Whether a network of pnnx's computes what its graph computes, on one call: before it is kept.

pnnx guesses which axis is that of the batch, and has no word for what it guessed wrong: the network runs, its outputs
have the right shapes, and other numbers in them. ONNX Runtime says what they should be, without its optimizations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.program import Lowered, Part

SAME = 0.9999
"""The cosine from which on two outputs are the same: float32 beside float32 in another order is above 0.999999."""


def example(part: Part, form: Lowered) -> dict[str, np.ndarray] | None:
    """The first recorded call's inputs, repeated or cut to the sizes of the form; None: nothing is recorded."""
    import numpy as np

    if not part.cases:
        return None
    first = part.cases[0].inputs
    return {
        spec.name: np.resize(first[spec.name], tuple(map(int, spec.shape))) for spec in form.signature.inputs
    }


def other_numbers(
    form: Lowered, given: Mapping[str, np.ndarray], made: Mapping[str, np.ndarray]
) -> str | None:
    """The first output that is another one, in words.

    Args:
        form: The part in ONNX.
        given: The inputs of the call.
        made: The outputs of the network.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(form.path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    read = {value.name for value in session.get_inputs()}
    wanted = session.run(names, {name: value for name, value in given.items() if name in read})
    for name, want in zip(names, wanted, strict=True):
        a, b = (np.asarray(one, np.float64).ravel() for one in (want, made[name]))
        lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
        same = float(a @ b) / lengths if lengths else float(np.allclose(a, b))
        if not same >= SAME:  # a NaN is another number too
            return f"the output '{name}' has other numbers than the graph's (cosine {same:.4f})"
    return None
