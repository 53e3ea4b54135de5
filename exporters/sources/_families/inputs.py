"""What a transformers model is called with: names, dtypes, sizes, limits, and examples."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgepack.exporters.sources._families import masks
from edgepack.exporters.sources._families.loading import normalized
from edgepack.exporters.sources.inputs import random_inputs
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

_TEXT = ("input_ids", "attention_mask", "token_type_ids")
_BATCH, _SEQUENCE, _SAMPLES, _FRAMES, _IMAGE = 2, 16, 4000, 128, 224


@dataclass(frozen=True)
class Inputs:
    """A model's inputs.

    Attributes:
        signature: Names, dtypes and shapes.
        sizes: Of the named dimensions in the first example.
        limits: Largest legal size of a named dimension.
        upper: Exclusive upper bounds of integer inputs.
        length: The dimension along which the main input varies; empty when it has one size.
        window: Width of the narrowest attention window, 0 without one.
    """

    signature: Signature
    sizes: dict[str, int]
    limits: dict[str, int] = field(default_factory=dict)
    upper: dict[str, int] = field(default_factory=dict)
    length: str = ""
    window: int = 0

    def example(self, sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        """Random inputs; rows after the first are padded on the right where there is a mask."""
        made = random_inputs(self.signature.inputs, sizes, seed, self.upper)
        if "attention_mask" in made:
            length = made["attention_mask"].shape[1]
            # A padded position whose window holds no real token has outputs that mean nothing.
            missing = min(length // 2, self.window // 4) if self.window else length // 2
            keep = max(1, length - missing)
            made["attention_mask"] = masks.padded(made["attention_mask"].shape, seed, keep=keep)
        return made


def describe(model: Any, where: str) -> Inputs:
    """The inputs of a loaded model, from the signature of its forward and its configuration.

    Raises:
        SourceError: Its main input is of no known kind.
    """
    config = model.config
    main = model.main_input_name
    if main == "inputs":
        main = "input_ids" if "input_ids" in inspect.signature(model.forward).parameters else main
    if main == "input_ids":
        return _text(model, where)
    if main == "pixel_values":
        return _pixels(model)
    if main == "input_values":
        spec = TensorSpec(main, "float32", ("batch", "samples"))
        return Inputs(Signature((spec,), ()), {"batch": _BATCH, "samples": _SAMPLES}, length="samples")
    if main == "input_features":
        audio = getattr(config, "encoder_config", config)
        bins = normalized(audio, "num_mel_bins") or 80
        positions = getattr(config, "max_source_positions", None)
        if positions and config.is_encoder_decoder and hasattr(model.get_encoder(), "conv1"):
            # Whisper's kind: channels first, and one length, twice that of the table of positions.
            spec = TensorSpec(main, "float32", ("batch", int(bins), 2 * int(positions)))
            return Inputs(Signature((spec,), ()), {"batch": _BATCH})
        spec = TensorSpec(main, "float32", ("batch", "frames", int(bins)))
        return Inputs(Signature((spec,), ()), {"batch": _BATCH, "frames": _FRAMES}, length="frames")
    raise SourceError(f"The model's main input is '{main}', which is not known here", where=where)


def _text(model: Any, where: str) -> Inputs:
    config = model.config.get_text_config()
    parameters = inspect.signature(model.forward).parameters
    names = [n for n in _TEXT if n in parameters]
    kinds = getattr(config, "type_vocab_size", 0) or 0
    if "token_type_ids" in names and kinds < 2:  # noqa: PLR2004 - one kind is no choice
        names.remove("token_type_ids")
    specs = tuple(TensorSpec(n, "int64", ("batch", "sequence")) for n in names)
    positions = normalized(config, "max_position_embeddings")
    # Models of RoBERTa's kind count positions from padding_idx + 1.
    offset = 2 if getattr(getattr(model.base_model, "embeddings", None), "padding_idx", None) == 1 else 0
    vocabulary = normalized(config, "vocab_size")
    if not vocabulary:
        raise SourceError("The configuration has no vocabulary size", where=where)
    limits = {"sequence": positions - offset} if positions else {}
    upper = {"input_ids": int(vocabulary), "token_type_ids": kinds or 2}
    sizes = {"batch": _BATCH, "sequence": min(_SEQUENCE, limits.get("sequence", _SEQUENCE))}
    if "pixel_values" in parameters:
        image = _pixels(model, batch="images")
        specs = (*specs, *image.signature.inputs)
        sizes |= {"images": 3}
    windows = [
        getattr(c, name, None) or 0
        for c in _configs(model.config)
        for name in ("local_attention", "sliding_window")
    ]
    window = min((w for w in windows if w), default=0)
    return Inputs(Signature(specs, ()), sizes, limits, upper, "sequence", window)


def _configs(config: Any) -> list[Any]:
    """A configuration and those inside it."""
    inner = [
        getattr(config, name) for name in getattr(config, "sub_configs", {}) if getattr(config, name, None)
    ]
    return [config, *inner]


def _pixels(model: Any, batch: str = "batch") -> Inputs:
    config = getattr(model.config, "vision_config", None) or getattr(model.config, "encoder", model.config)
    size = normalized(config, "image_size") or _IMAGE
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    channels = normalized(config, "num_channels") or 3
    spec = TensorSpec("pixel_values", "float32", (batch, int(channels), height, width))
    return Inputs(Signature((spec,), ()), {batch: _BATCH})
