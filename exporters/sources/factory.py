"""`package.module:factory` and `file.py:factory`: a callable that returns an nn.Module.

The factory returns the module, or `(module, inputs)` with example inputs as a tuple of tensors or a
dict by the names of forward's parameters, or a `TorchModel` when the model has several parts or states.
`--inputs` overrides the examples and names the dimensions that may vary; from bare examples the leading
dimension is taken for a batch when all inputs share it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources.base import Source, SourceRequest, TorchModel, TorchPart, sources
from edgepack.exporters.sources.inputs import check_numpy, parse, random_inputs
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Signature, TensorSpec
from edgepack.toolchain.results import SourceFacts

if TYPE_CHECKING:
    import numpy as np
    import torch

_FILE = "of_the_model"
"""Behind the name of a file's module whose own name is another module's."""
_HOW = "A factory takes no argument and returns an nn.Module, (module, example inputs), or a TorchModel"


@sources.register("factory")
class FactorySource(Source):
    """An nn.Module from a callable in a module or a Python file."""

    kind = "factory"

    @classmethod
    def accepts(cls, model: str) -> bool:
        location, colon, name = model.rpartition(":")
        return bool(colon and location and name.isidentifier() and not location.startswith("zoo"))

    def check(self) -> None:
        location, _, _ = self.request.model.rpartition(":")
        if location.endswith(".py"):
            if not Path(location).is_file():
                raise SourceError(f"There is no file {location}", where=self.request.model)
        elif not all(word.isidentifier() for word in location.split(".")):
            raise SourceError(
                f"'{location}' is neither a Python file nor a module's dotted name",
                where=self.request.model,
                todo="Write package.module:factory or file.py:factory",
            )
        parse(self.request.inputs)

    def fingerprint(self) -> str | None:
        # A factory can read anything; what it made is known only after it ran.
        return None

    def open_torch(self) -> TorchModel:
        made = self._call(self._factory())
        if isinstance(made, TorchModel):
            return made
        return from_module(*_split(made, self.request.model), self.request)

    def _factory(self) -> Callable[[], Any]:
        location, _, name = self.request.model.rpartition(":")
        try:
            if location.endswith(".py"):
                path = Path(location).resolve()
                taken = _names_another(path)
                spec = importlib.util.spec_from_file_location(
                    f"{path.stem}_{_FILE}" if taken else path.stem, path
                )
                if spec is None or spec.loader is None:
                    raise SourceError(f"{location} cannot be loaded as Python", where=self.request.model)
                module = importlib.util.module_from_spec(spec)
                sys.path.insert(len(sys.path) if taken else 0, str(path.parent))
                sys.modules[spec.name] = module
                spec.loader.exec_module(module)
            else:
                sys.path.insert(0, self.request.cwd or str(Path.cwd()))
                module = importlib.import_module(location)
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(
                f"Importing {location} raised {type(error).__name__}: {error}",
                where=self.request.model,
                todo="Import it in Python first, then try again",
            ) from error
        try:
            return getattr(module, name)  # type: ignore[no-any-return]
        except AttributeError:
            raise SourceError(f"{location} has no '{name}'", where=self.request.model, todo=_HOW) from None

    def _call(self, factory: Callable[[], Any]) -> object:
        try:
            return factory()
        except Exception as error:
            raise SourceError(
                f"The factory raised {type(error).__name__}: {error}", where=self.request.model, todo=_HOW
            ) from error


def _names_another(path: Path) -> bool:
    """Whether a module of this file's name is there already, as for a file `onnx.py`: that one keeps its name."""
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):  # a name with dots, or a module without a spec
        return True
    return spec is not None and (spec.origin is None or Path(spec.origin).resolve() != path)


def _split(made: object, where: str) -> tuple[torch.nn.Module, object]:
    import torch

    module, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, None)  # noqa: PLR2004
    if not isinstance(module, torch.nn.Module):
        raise SourceError(
            f"The factory returned {type(made).__name__}, not an nn.Module", where=where, todo=_HOW
        )
    return module, examples


def from_module(module: torch.nn.Module, examples: object, request: SourceRequest) -> TorchModel:
    """A TorchModel of a module that is already there.

    Args:
        module: Any nn.Module; it is put in eval mode.
        examples: Tensors as a tuple, or a dict by parameter name, or a single tensor, or None.
        request: What the user asked for; its input specifications come before the examples.

    Raises:
        SourceError: There are no inputs, or they do not fit forward: arguments that nobody gave are named.
    """
    module, location = module.eval(), request.model
    if request.inputs:
        specs, sizes = parse(request.inputs)
        values: dict[str, np.ndarray] = {}
    elif examples is not None:
        specs, sizes, values = _from_examples(module, examples, location)
    else:
        raise SourceError(
            "Nobody said what the model's inputs are",
            where=location,
            todo='Return (module, example inputs) from the factory, or give --inputs "name:dtype[1,seq=128]"',
        )

    def example(wanted: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        if seed == 0 and values and dict(wanted) == sizes:
            return dict(values)
        # Integers stay within what the example showed: the only range known to be legal.
        upper = {
            name: int(array.max(initial=0)) + 1 for name, array in values.items() if array.dtype.kind in "iu"
        }
        made = random_inputs(specs, wanted, seed, upper)
        for name, array in values.items():
            if array.dtype.kind == "f" and array.size and name in made:
                # Same spread as the example: a model fed far outside its range proves nothing.
                scale = np.float32(array.std() or 1.0)
                # Of a scalar, numpy's arithmetic makes a number that is no array.
                made[name] = np.asarray(made[name] * scale + np.float32(array.mean()), array.dtype)
        return made

    _check_arguments(module, specs, location)
    _initialise(module, example(sizes, 0), location)
    parameters = sum(p.numel() for p in module.parameters())
    facts = SourceFacts(
        kind=FactorySource.kind,
        location=location,
        fingerprint="",
        task=request.task,
        architecture=type(module).__name__,
        parameters=parameters,
        weight_bytes=sum(t.numel() * t.element_size() for t in module.state_dict().values()),
    )
    part = TorchPart(module, Signature(specs, ()), example, location, sizes=dict(sizes))
    return TorchModel({"main": part}, facts)


def _check_arguments(module: torch.nn.Module, specs: Sequence[TensorSpec], location: str) -> None:
    """Raise unless forward can be called by position with that many tensors."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    missing = [p.name for p in by_position[len(specs) :] if p.default is p.empty]
    missing += [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    takes = ", ".join(str(p) for p in parameters)
    if missing:
        raise SourceError(
            f"forward needs {', '.join(missing)}, which nobody gave: it takes ({takes})",
            where=location,
            todo="Give every argument, in forward's order: example inputs from the factory, or --inputs; wrap the "
            "model where an argument is no tensor or goes by keyword only",
        )
    if len(specs) > len(by_position) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise SourceError(
            f"There are {len(specs)} inputs, and forward takes {len(by_position)}: ({takes})",
            where=location,
            todo="Give no more inputs than forward takes, in its order",
        )


def _initialise(module: torch.nn.Module, inputs: Mapping[str, np.ndarray], location: str) -> None:
    """Call a module with lazy parameters once: they get their shapes from the first input."""
    import torch
    from torch.nn.parameter import is_lazy

    if not any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        return
    try:
        with torch.no_grad():
            module(*(torch.from_numpy(value.copy()) for value in inputs.values()))
    except Exception as error:
        raise SourceError(
            f"forward raised {type(error).__name__} in the call that initialises its lazy parameters: {error}",
            where=location,
            todo="Give inputs that fit with --inputs, or call the model once in the factory",
        ) from error


def _from_examples(
    module: torch.nn.Module, examples: object, location: str
) -> tuple[tuple[TensorSpec, ...], dict[str, int], dict[str, np.ndarray]]:
    import torch

    if isinstance(examples, torch.Tensor):
        examples = (examples,)
    names = [
        name
        for name, p in inspect.signature(module.forward).parameters.items()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if isinstance(examples, Mapping):
        unknown = [name for name in examples if name not in names]
        if unknown:
            raise SourceError(
                f"The example inputs name '{unknown[0]}', which forward does not take; it takes {', '.join(names)}",
                where=location,
            )
        # Positional calling needs an unbroken run of leading parameters.
        ordered = [name for name in names if name in examples]
        if ordered != names[: len(ordered)]:
            raise SourceError(
                f"The example inputs leave a gap before '{ordered[-1]}' in forward({', '.join(names)})",
                where=location,
                todo="Give every parameter before it too",
            )
        values = {name: examples[name] for name in ordered}
    elif isinstance(examples, (tuple, list)):
        if len(examples) > len(names):
            names += [f"input_{i}" for i in range(len(names), len(examples))]
        values = dict(zip(names, examples, strict=False))
    else:
        raise SourceError(
            f"Example inputs are a tensor, a tuple or a dict, not {type(examples).__name__}",
            where=location,
            todo=_HOW,
        )
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise SourceError(
                f"The example input '{name}' is {type(value).__name__}, not a tensor", where=location
            )
        check_numpy(value, f"example input '{name}'", location)
    lead = {value.shape[0] if value.ndim else None for value in values.values()}
    batched = len(lead) == 1 and None not in lead
    specs = tuple(
        TensorSpec(
            name,
            str(value.dtype).removeprefix("torch."),
            ("batch", *value.shape[1:]) if batched else tuple(value.shape),
        )
        for name, value in values.items()
    )
    sizes = {"batch": int(next(iter(values.values())).shape[0])} if batched else {}
    return specs, sizes, {name: value.detach().cpu().numpy() for name, value in values.items()}
