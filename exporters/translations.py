"""torch's table of ONNX translations, built once a process and not once a graph.

torch.onnx.export reads about a thousand translations anew for every graph and inspects the signature of each. A model
of several parts, or one whose first rung is left, needs the same table again; each export gets its own copy, because
the exporter adds the caller's translations to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_built: dict[tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]], Any] = {}


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """While it holds, a second table for the same operator set is a copy of the first."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        build = ONNXRegistry.from_torchlib.__func__  # type: ignore[attr-defined]
    except (ImportError, AttributeError):  # another version of torch, which then builds its own
        yield
        return

    def copied(cls: type[Any], *args: Any, **more: Any) -> Any:
        key = (args, tuple(sorted(more.items())))
        if key not in _built:
            _built[key] = build(cls, *args, **more)
        first = _built[key]
        made = cls()
        vars(made).update(vars(first))
        made.functions = {target: list(found) for target, found in first.functions.items()}
        return made

    original = vars(ONNXRegistry)["from_torchlib"]
    ONNXRegistry.from_torchlib = classmethod(copied)  # type: ignore[assignment]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = original  # type: ignore[method-assign]
