"""Loading a Hugging Face folder with transformers, and reading what its configuration calls things."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack.exporters.sources import tasks
from edgepack.exporters.sources.base import SourceRequest
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.results import SourceFacts


def load(folder: Path, config: Mapping[str, Any], task: str, request: SourceRequest) -> Any:
    """The model with the head of `task`, in eval mode, with attention in plain products.

    Raises:
        SourceError: transformers does not know or cannot load it.
    """
    loader = _loader(config, task)
    try:
        return loader.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=request.trust_remote_code,
            use_safetensors=None if request.trust_pickle else True,
            attn_implementation="eager",
        ).eval()
    except Exception as error:
        raise SourceError(
            f"transformers cannot load the model: {type(error).__name__}: {error}",
            where=str(folder),
            todo="Check that config.json and the weights belong together, and that transformers knows this model_type",
        ) from error


def facts(model: Any, folder: Path, task: str) -> SourceFacts:
    """Facts of a loaded model for the report."""
    return SourceFacts(
        kind="huggingface",
        location=str(folder),
        fingerprint="",
        task=task,
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        weight_bytes=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
    )


def normalized(config: Any, name: str) -> Any:
    """A configuration's value; where a family calls it otherwise, optimum's table says how."""
    value = getattr(config, name, None)
    if value is not None:
        return value
    try:
        from optimum.utils import NormalizedConfigManager

        return getattr(
            NormalizedConfigManager.get_normalized_config_class(config.model_type)(config), name, None
        )
    except (ImportError, KeyError, AttributeError):
        return None


def _loader(config: Mapping[str, Any], task: str) -> Any:
    """The class to load: the configuration's own where it has the task's head, else an auto class."""
    import transformers

    for name in config.get("architectures") or []:
        own = tasks.from_architectures([name])
        if (
            own == task or (own == "feature-extraction" and task == "sentence-similarity")
        ) and not config.get("auto_map"):
            found = getattr(transformers, name, None)
            if found is not None:
                return found
    autos = [found for name in tasks.TASKS[task].auto_classes if (found := getattr(transformers, name, None))]
    for auto in autos:
        # Names only: the mapping itself would import every model that transformers has.
        if config["model_type"] in getattr(auto._model_mapping, "_model_mapping", {}):  # noqa: SLF001
            return auto
    return autos[0]
