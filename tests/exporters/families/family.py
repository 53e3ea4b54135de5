"""A family of models, and the sizes that several have: one or two layers, a few tokens.

A family is a folder as `save_pretrained` writes it: a class of transformers, a configuration of one or two
layers, random weights from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Enough of the common names: each configuration takes those it knows.
TEXT = {
    "vocab_size": 67,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GROUPED = {**TEXT, "num_key_value_heads": 2, "head_dim": 8}
GPT = {"vocab_size": 67, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}

VISION = {k: v for k, v in TEXT.items() if k not in {"vocab_size", "max_position_embeddings"}} | {
    "image_size": 32,
    "patch_size": 8,
}


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        name: Its model_type.
        model: Class of transformers that is saved.
        config: Class of its configuration.
        options: Of the configuration.
        task: What it is exported for; found from the folder when empty.
        parts: What it must be taken apart into.
        dynamic: Dimensions of the first part that must vary.
        scan: How many Scan nodes the first part must have.
        fails: Why it cannot be exported yet; the test fails when it can.
        build: Makes the configuration, where `options` alone cannot.
    """

    name: str
    model: str
    config: str
    options: dict[str, Any] = field(default_factory=dict)
    task: str = ""
    parts: tuple[str, ...] = ("main",)
    dynamic: tuple[str, ...] = ("batch", "sequence")
    scan: int = 0
    fails: str = ""
    build: Callable[[], Any] | None = None

    def save(self, folder: Path) -> Path:
        """Write the model's folder."""
        import torch
        import transformers

        config = self.build() if self.build else getattr(transformers, self.config)(**self.options)
        torch.manual_seed(0)
        model = getattr(transformers, self.model)(config).eval()
        with torch.no_grad():
            # Wider than initialisation makes them: a token or a mask that goes wrong must show in the outputs.
            for name, weight in model.named_parameters():
                if weight.ndim >= 2 and "A_log" not in name:
                    weight.copy_(torch.randn_like(weight) * (1.5 / weight.shape[-1] ** 0.5))
        model.save_pretrained(folder)
        return folder
