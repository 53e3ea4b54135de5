"""Opening a Hugging Face folder with transformers, and the known rewrites of its forward.

Rewrite of the mask: encoders add finfo.min (-3.4e38) to masked scores, which no int8 or 16-bit
activation can hold. exp(-30) is 1e-13, below what float32 softmax resolves, so a finite additive mask
of -30 gives the same outputs and leaves quantizers a usable range. The reference is always the
unchanged model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.sources import sentence, tasks
from edgepack.exporters.sources.base import SourceRequest, TorchModel, TorchPart
from edgepack.exporters.sources.inputs import random_inputs
from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Signature, TensorSpec
from edgepack.toolchain.results import SourceFacts

if TYPE_CHECKING:
    import numpy as np

MASKED = -30.0
_TEXT = ("input_ids", "attention_mask", "token_type_ids")
# |a - b| of outputs of order 1 with and without a rewrite: float32 noise stays well below.
_SAME = 1e-4


def open_model(folder: Path, config: Mapping[str, Any], task: str, request: SourceRequest) -> TorchModel:
    """Load the model with the head of `task` and wrap it with positional inputs and plain outputs.

    Raises:
        SourceError: transformers does not know or cannot load it.
    """
    loader = _loader(config, task)
    try:
        model = loader.from_pretrained(
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
    signature, sizes, limits, upper = _inputs(model, str(folder))
    names = [spec.name for spec in signature.inputs]
    outputs = tasks.TASKS[task].outputs
    pooling = sentence.read(folder) if task == "sentence-similarity" else None
    plain = Adapter(model, names, outputs, pooling, finite_mask=False).eval()

    def example(wanted: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
        made = random_inputs(signature.inputs, wanted, seed, upper)
        if "attention_mask" in made:
            made["attention_mask"] = _padding(made["attention_mask"].shape, seed)
        return made

    facts = SourceFacts(
        kind="huggingface",
        location=str(folder),
        fingerprint="",
        task=task,
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        weight_bytes=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
    )
    part = TorchPart(plain, signature, example, str(folder), plain, sizes, limits, outputs)
    notes = [_rewrite_mask(part, model, names, outputs, pooling)] if "attention_mask" in names else []
    return TorchModel({"main": part}, facts, notes)


@dataclass(frozen=True)
class _Sizes:
    batch: int = 2
    sequence: int = 16


class Adapter(torch.nn.Module):
    """The model called by position, returning the task's tensors.

    Args:
        model: A transformers model.
        names: Names of the positional inputs.
        outputs: Attributes of its output to return.
        pooling: For sentence encoders, how to pool; `outputs` is then one vector a sentence.
        finite_mask: Hand the model an additive mask of 0 and -30 in place of the 0/1 mask.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        names: list[str],
        outputs: tuple[str, ...],
        pooling: sentence.Pooling | None,
        *,
        finite_mask: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.outputs = outputs
        self.pooling = pooling
        self.finite_mask = finite_mask

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Inputs in the signature's order; the task's outputs in theirs."""
        named = dict(zip(self.names, inputs, strict=True))
        mask = named.get("attention_mask")
        if self.finite_mask and mask is not None:
            named["attention_mask"] = (1.0 - mask[:, None, None, :].to(torch.float32)) * MASKED
        result = self.model(**named, return_dict=True)
        if self.pooling is not None:
            assert mask is not None  # noqa: S101 - a sentence encoder's tokenizer gives one
            return sentence.pool(self.pooling, result.last_hidden_state, mask)
        values = tuple(getattr(result, name) for name in self.outputs)
        return values[0] if len(values) == 1 else values


def _rewrite_mask(
    made: TorchPart,
    model: torch.nn.Module,
    names: list[str],
    outputs: tuple[str, ...],
    pooling: sentence.Pooling | None,
) -> str:
    """Use the finite mask where the model gives the same outputs with it; says whether, in words."""
    rewritten = Adapter(model, names, outputs, pooling, finite_mask=True).eval()
    inputs = [torch.from_numpy(v) for v in made.example(made.sizes, 1).values()]
    keep = inputs[names.index("attention_mask")].bool()
    try:
        with torch.no_grad():
            before, after = made.module(*inputs), rewritten(*inputs)
    except Exception as error:  # noqa: BLE001 - models refuse a 4-D mask each in their own way
        return f"finite mask left: the model does not take an additive mask ({type(error).__name__})"
    pairs = (
        zip((before,), (after,), strict=True)
        if isinstance(before, torch.Tensor)
        else zip(before, after, strict=True)
    )
    for a, b in pairs:
        # Values at padded positions are nobody's: compare the others only, where the output has positions.
        if a.ndim >= 2 and a.shape[:2] == keep.shape:  # noqa: PLR2004
            a, b = a[keep], b[keep]  # noqa: PLW2901
        if (a - b).abs().max() > _SAME * max(1.0, float(a.abs().max())):
            return "finite mask left: the outputs differ with it"
    made.module = rewritten
    return f"finite mask: masked scores get {MASKED:g} in place of the lowest float32"


def _loader(config: Mapping[str, Any], task: str) -> Any:
    """The class to load: the configuration's own where it has the task's head, else the auto class."""
    import transformers

    for name in config.get("architectures") or []:
        own = tasks.from_architectures([name])
        if (
            own == task or (own == "feature-extraction" and task == "sentence-similarity")
        ) and not config.get("auto_map"):
            found = getattr(transformers, name, None)
            if found is not None:
                return found
    return getattr(transformers, tasks.TASKS[task].auto_class)


def _inputs(model: Any, where: str) -> tuple[Signature, dict[str, int], dict[str, int], dict[str, int]]:
    """Signature, example sizes, limits of sizes, and upper bounds of integer inputs."""
    config = model.config
    main = model.main_input_name
    parameters = inspect.signature(model.forward).parameters
    sizes = {"batch": _Sizes.batch, "sequence": _Sizes.sequence}
    if main == "input_ids":
        names = [n for n in _TEXT if n in parameters]
        if "token_type_ids" in names and (getattr(config, "type_vocab_size", 0) or 0) < 2:  # noqa: PLR2004
            names.remove("token_type_ids")
        specs = tuple(TensorSpec(n, "int64", ("batch", "sequence")) for n in names)
        positions = _normalized(config, "max_position_embeddings")
        # Models of RoBERTa's kind count positions from padding_idx + 1.
        offset = 2 if getattr(getattr(model, "embeddings", None), "padding_idx", None) == 1 else 0
        limits = {"sequence": positions - offset} if positions else {}
        vocabulary = _normalized(config, "vocab_size")
        if not vocabulary:
            raise SourceError("The configuration has no vocabulary size", where=where)
        upper = {"input_ids": vocabulary, "token_type_ids": getattr(config, "type_vocab_size", 2) or 2}
        return Signature(specs, ()), sizes, limits, upper
    if main == "pixel_values":
        size = _normalized(config, "image_size") or 224
        height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        channels = _normalized(config, "num_channels") or 3
        spec = TensorSpec(main, "float32", ("batch", channels, height, width))
        return Signature((spec,), ()), {"batch": _Sizes.batch}, {}, {}
    if main == "input_values":
        spec = TensorSpec(main, "float32", ("batch", "samples"))
        return Signature((spec,), ()), {"batch": _Sizes.batch, "samples": 4000}, {}, {}
    if main == "input_features":
        bins = _normalized(config, "num_mel_bins") or 80
        spec = TensorSpec(main, "float32", ("batch", "frames", bins))
        return Signature((spec,), ()), {"batch": _Sizes.batch, "frames": 128}, {}, {}
    raise SourceError(f"The model's main input is '{main}', which is not known here", where=where)


def _normalized(config: Any, name: str) -> Any:
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


def _padding(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """0/1 mask [batch, sequence], padded on the right; the first row is full, the others differ."""
    import numpy as np

    rng = np.random.default_rng(seed)
    lengths = np.maximum(1, rng.integers(shape[1] // 2, shape[1] + 1, shape[0]))
    lengths[0] = shape[1]
    return (np.arange(shape[1])[None, :] < lengths[:, None]).astype(np.int64)
