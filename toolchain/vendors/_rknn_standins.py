"""What stands in the places of packages that rknn-toolkit2 imports and its way from ONNX to `.rknn` all but ignores.

The toolkit imports torch and OpenCV: 900 MB and 90 MB that its environment does without. Their modules can be imported
here, subclassed and used as decorators; what is called raises an error that says so. One rule of its optimizer counts
with torch, the one that moves a reshape across a split (`gen_gather_for_change_split_shape`, 2.5.0): for it torch has
integers from `arange`, `split`, `cat`, `reshape` and `tolist`, by numpy, which mean here what they mean in torch.

It stands alone, like the worker that loads it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

LEFT_OUT = {"torch": "2.4.0", "cv2": "4.11.0"}
"""Packages that are not there, and the newest version of each that the toolkit takes."""


def install() -> None:
    """Let what is left out be imported in this process."""
    sys.meta_path.append(Finder())


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
        if self.__name__ == "torch" and name in _FUNCTIONS:
            return _FUNCTIONS[name]
        if name[0].isupper():
            return type(name, (), {})
        return StandIn(f"{self.__name__}.{name}")

    def __call__(self, *_: object, **__: object) -> Any:
        raise _missing(self.__name__)


def _missing(name: str) -> RuntimeError:
    return RuntimeError(f"the toolkit needs {name} here, which its environment was made without")


def _decorator(*_: object, **__: object) -> Callable[[Any], Any]:
    return lambda function: function


class Tensor:
    """Integers in the shape of a tensor, with the few methods that a rule asks for.

    Args:
        array: A numpy array.
    """

    def __init__(self, array: Any) -> None:
        self._array = array

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name) if name.startswith("__") else _missing(f"torch.Tensor.{name}")

    def reshape(self, *shape: Any) -> Tensor:
        """The same numbers in the same order; the shape as numbers or as one sequence, -1 for what is left over."""
        return Tensor(self._array.reshape(*shape))

    def tolist(self) -> Any:
        """Nested lists of Python's integers."""
        return self._array.tolist()


def arange(*ends: int) -> Tensor:
    """Integers from the first of `ends` (0 if it is alone) to before the second, in steps of the third."""
    import numpy as np

    return Tensor(np.arange(*ends, dtype=np.int64))


def split(tensor: Tensor, size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along one dimension: of `size` each and the rest in the last, or of the sizes of a list.

    Raises:
        RuntimeError: The sizes of a list are not the dimension's together.
    """
    import numpy as np

    array = tensor._array  # noqa: SLF001 - this module's own
    whole = array.shape[dim]
    sizes = (
        [min(size, whole - start) for start in range(0, whole, size)] if isinstance(size, int) else list(size)
    )
    if sum(sizes) != whole:
        raise RuntimeError(f"split of {whole} into {sizes}")
    return tuple(map(Tensor, np.split(array, np.cumsum(sizes)[:-1], axis=dim)))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One behind the other along one dimension."""
    import numpy as np

    return Tensor(np.concatenate([one._array for one in tensors], axis=dim))  # noqa: SLF001 - as above


_FUNCTIONS: dict[str, Callable[..., Any]] = {"arange": arange, "split": split, "cat": cat}


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
