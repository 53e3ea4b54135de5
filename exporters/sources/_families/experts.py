"""Mixtures of experts, y(t) = sum over e of w[t, e] E_e(x(t)) with w zero for all but the k chosen experts.

The source sorts tokens by expert and multiplies groups of a length that depends on the data, for which
ONNX has no operator. Two forms compute the same and follow the routing wherever it goes:

- dense: every expert computes every token and the weights choose. Weights are read once, whatever the
  number of tokens: right for a prompt.
- gathered ("batched_mm" in transformers): for every token the matrices of its k experts are gathered. Right
  for a step of few tokens, where k tokens' experts are fewer than all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

DENSE, GATHERED = "edgepack_dense", "batched_mm"


@contextlib.contextmanager
def implementation(model: torch.nn.Module, name: str) -> Iterator[None]:
    """While it lasts, the experts of `model` compute in one of the two forms.

    Args:
        model: A transformers model; one without experts is left alone.
        name: DENSE or GATHERED.
    """
    configs = {id(c): c for m in model.modules() if (c := _experts_config(m)) is not None}
    if not configs:
        yield
        return
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    known = ALL_EXPERTS_FUNCTIONS._global_mapping  # noqa: SLF001 - register() alone cannot undo
    before = {key: config._experts_implementation_internal for key, config in configs.items()}  # noqa: SLF001
    known[DENSE] = dense
    try:
        for config in configs.values():
            config._experts_implementation_internal = name  # noqa: SLF001 - the setter recurses
        yield
    finally:
        for key, config in configs.items():
            config._experts_implementation_internal = before[key]  # noqa: SLF001
        del known[DENSE]


def present(model: torch.nn.Module) -> bool:
    """Whether the model has experts whose form can be chosen."""
    return any(_experts_config(module) is not None for module in model.modules())


def _experts_config(module: torch.nn.Module) -> Any:
    return module.config if hasattr(module, "_is_expert_parallel") and hasattr(module, "config") else None


def dense(
    self: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Every expert on every token [tokens, width], weighted; the form of transformers' experts functions.

    Args:
        self: The experts module, matrices stacked along the first axis.
        hidden_states: [tokens, width].
        top_k_index: Chosen experts [tokens, k].
        top_k_weights: Their weights [tokens, k].
    """
    experts = self.down_proj.shape[0]
    chosen = torch.nn.functional.one_hot(top_k_index, experts).to(top_k_weights.dtype)
    weights = (chosen * top_k_weights[..., None]).sum(1)  # [tokens, experts]

    def product(x: torch.Tensor, name: str) -> torch.Tensor:
        matrix = getattr(self, name)
        y = torch.matmul(x, matrix if self.is_transposed else matrix.transpose(1, 2))
        return y + getattr(self, f"{name}_bias")[:, None] if self.has_bias else y

    up = product(hidden_states[None], "gate_up_proj" if self.has_gate else "up_proj")
    inner = self._apply_gate(up) if self.has_gate else self.act_fn(up)
    outer = product(inner, "down_proj")  # [experts, tokens, width]
    if self.has_post_expert_norm:
        outer = self.post_expert_norm(outer)
    return (outer * weights.T[..., None]).sum(0).to(hidden_states.dtype)
