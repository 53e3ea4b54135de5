"""Sources: what a model can be given as. `open_source` finds the one that a name means."""

from __future__ import annotations

from pathlib import Path

from edgepack.exporters.sources.base import Source, SourceRequest, TorchModel, TorchPart, sources
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.results import SourceFacts

__all__ = ["Source", "SourceFacts", "SourceRequest", "TorchModel", "TorchPart", "open_source", "sources"]

_FORMS = "a Hugging Face folder, package.module:factory, file.py:factory, a .pt2, an .onnx file or zoo:NAME"
_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")


def open_source(request: SourceRequest) -> Source:
    """The source that `request.model` means, not yet checked.

    Raises:
        SourceError: It is none of the known forms, or there is nothing there.
    """
    model = request.model
    for name in sources.names():
        kind = sources.get(name)
        if kind.accepts(model):
            return kind(request)
    path = Path(model)
    if path.suffix in _PICKLES:
        raise SourceError(
            f"{path.name} is a pickle, which can run any code when it is read and does not hold the model's code",
            where=model,
            todo="Load it in a factory of your own (torch.load with weights_only=True) and give file.py:factory",
        )
    if not path.exists():
        raise SourceError(f"There is no model at '{model}'", where=model, todo=f"Give {_FORMS}")
    raise SourceError(f"'{model}' is not a model of a known form", where=model, todo=f"Give {_FORMS}")
