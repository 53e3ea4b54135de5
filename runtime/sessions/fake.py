"""A session without a runtime, for tests of whatever stands above the session interface.

It is not in the registry: nobody should pick it by name. With a `FakeClock` its calls take exactly
the time that a test gives them, and no test has to sleep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runtime.sessions._inputs import check_inputs
from edgepack.runtime.sessions.base import Session
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    import numpy as np

    from edgepack.toolchain.results import Tool

Function = Callable[[Mapping[str, "np.ndarray"]], dict[str, "np.ndarray"]]


class FakeClock:
    """A clock that stands still until it is moved: call it for its nanoseconds."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        """Nanoseconds since it was made."""
        return self.ns

    def advance_ms(self, milliseconds: float) -> None:
        """Move it forward."""
        self.ns += round(milliseconds * 1e6)

    def takes(self, milliseconds: Iterator[float]) -> Callable[[], None]:
        """A callable whose n-th call takes the n-th of these times."""
        return lambda: self.advance_ms(next(milliseconds))


class FakeSession(Session):
    """Computes its outputs with a Python function, and keeps what it was given.

    Args:
        path: Anything; it is not opened.
        signature: Of the part; inputs are checked against it as in every session.
        function: Inputs to outputs. None gives zeros of the signature's dtypes and shapes.
        threads: Only kept.
    """

    def __init__(
        self, path: Path, signature: Signature, *, threads: int = 1, function: Function | None = None
    ) -> None:
        super().__init__(path, signature, threads=threads)
        self._function = function
        self.calls: list[dict[str, np.ndarray]] = []
        self.closed = False

    @classmethod
    def tool(cls) -> Tool:
        """Says that it is a fake."""
        from edgepack.toolchain.results import Tool

        return Tool(name="fake", version="0")

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One call; see the interface."""
        import numpy as np

        sizes = check_inputs(self.signature, inputs, self.path.name)
        self.calls.append(dict(inputs))
        if self._function is not None:
            return self._function(inputs)
        return {spec.name: np.zeros(spec.resolve(sizes), spec.dtype) for spec in self.signature.outputs}

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True
