"""Sentence encoders: the pooling and normalisation that a sentence-transformers folder describes.

`modules.json` lists a Transformer, a Pooling and perhaps a Normalize step. With hidden states h_t and
mask m_t the pooled vector is, by mode: mean  sum(m h) / sum(m);  mean_sqrt_len  sum(m h) / sqrt(sum(m));
max  max over m_t = 1;  cls  h_0. Normalize divides by the L2 norm.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import SourceError

if TYPE_CHECKING:
    import torch

MODULES = "modules.json"
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
}


@dataclass(frozen=True)
class Pooling:
    """How token vectors become one vector: `mode` as above, and whether it is normalised."""

    mode: str
    normalize: bool


def read(folder: Path) -> Pooling | None:
    """The folder's pooling, or None when it is not a sentence encoder's.

    Raises:
        SourceError: It describes steps that are not known here.
    """
    path = folder / MODULES
    if not path.is_file():
        return None
    try:
        steps = [(str(m["type"]).rpartition(".")[2], str(m["path"])) for m in json.loads(path.read_text())]
        kinds = [kind for kind, _ in steps]
        if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
            raise SourceError(
                f"The sentence encoder has the steps {', '.join(kinds)}; known are Transformer, Pooling, Normalize",
                where=str(path),
                todo="Export its token vectors with --task feature-extraction",
            )
        config: dict[str, Any] = json.loads((folder / steps[1][1] / "config.json").read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"The sentence encoder's description cannot be read: {error!r}", where=str(path)
        ) from error
    modes = [mode for key, mode in _MODES.items() if config.get(key)]
    if not modes and isinstance(config.get("pooling_mode"), str):
        modes = [config["pooling_mode"].removesuffix("_tokens").removesuffix("_token")]
    if len(modes) != 1 or modes[0] not in _MODES.values():
        raise SourceError(
            f"The pooling mode {modes or 'none'} is not one of {', '.join(_MODES.values())}",
            where=str(folder / steps[1][1]),
            todo="Export its token vectors with --task feature-extraction",
        )
    return Pooling(modes[0], "Normalize" in kinds)


def pool(pooling: Pooling, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pool `hidden` [batch, sequence, width] under `mask` [batch, sequence] into [batch, width]."""
    import torch

    weights = mask[:, :, None].to(hidden.dtype)
    if pooling.mode == "cls":
        pooled = hidden[:, 0]
    elif pooling.mode == "max":
        pooled = (hidden * weights + (1.0 - weights) * -1e9).amax(1)
    else:
        count = weights.sum(1).clamp(min=1e-9)
        pooled = (hidden * weights).sum(1) / (count if pooling.mode == "mean" else count.sqrt())
    return torch.nn.functional.normalize(pooled, dim=1) if pooling.normalize else pooled
