"""Attention on bits: where a model computes softmax(Q K' / sqrt d) V, and what stands there instead.

    context = attend(Q, K, V, keep),    Q, K, V = query(x), key(x), value(x) in heads

A module is known by its parts: Linear or binary layers `query`, `key` and `value`, and the number of heads, as in
BERT and its descendants in transformers. The three layers stay what they are.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from edgepack.quantize.binary._layer import BinaryLayer
from edgepack.quantize.binary._packed import PackedLayer
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.registry import Registry

ModuleT = TypeVar("ModuleT", bound=nn.Module)
_LAYERS = (nn.Linear, BinaryLayer, PackedLayer)
_PROJECTIONS = ("query", "key", "value")
_MASK_RANK = 4


class Attention(nn.Module, ABC):
    """One attention's own computation, of a registered kind.

    Args:
        heads: How many.
        width: Of one head, d.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    comes_with: ClassVar[tuple[str, ...]] = ()
    """Methods of binarization that bring it along."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width

    @abstractmethod
    def forward(self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None) -> Tensor:
        """Context of each query.

        Args:
            query: [batch, heads, queries, d].
            key: [batch, heads, keys, d].
            value: [batch, heads, keys, d].
            keep: Which keys a query sees, bool, of a shape that broadcasts to [batch, heads, queries, keys]; None
                for all.

        Returns:
            [batch, heads, queries, d].
        """

    def learn(self, query: Tensor, key: Tensor) -> None:
        """Be shown real queries and keys, of `forward`'s shapes, before training."""


attentions: Registry[type[Attention]] = Registry(
    "kind of binary attention", "edgepack.quantize.binary._attentions"
)


class BinaryAttention(nn.Module):
    """Stands where a transformer's self-attention stood: takes hidden states, gives the heads' contexts side by side.

    Args:
        query: Layer from hidden states to all heads.
        key: The same.
        value: The same.
        attend: What computes the contexts.
    """

    attend: Attention

    def __init__(self, query: nn.Module, key: nn.Module, value: nn.Module, attend: Attention) -> None:
        super().__init__()
        self.query, self.key, self.value, self.attend = query, key, value, attend

    def forward(
        self, hidden: Tensor, attention_mask: Tensor | None = None, **others: Any
    ) -> tuple[Tensor, None]:
        """[batch, tokens, width] to the same, and no table of attention.

        Args:
            hidden: Hidden states.
            attention_mask: True or 0 where a key is seen, False or a large negative number where not.
            others: What transformers hands around; a cache among it is refused.

        Raises:
            UsageError: A cache of keys and values, which this attention does not keep.
        """
        if others.get("past_key_values") is not None:
            raise UsageError(
                "Binary attention keeps no cache of keys and values",
                todo="Call the model with use_cache=False",
            )
        batch, tokens, _ = hidden.shape
        parts = [
            layer(hidden).view(batch, tokens, self.attend.heads, self.attend.width).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        context: Tensor = self.attend(*parts, seen(attention_mask))
        return context.transpose(1, 2).reshape(batch, tokens, -1), None


def seen(mask: Tensor | None) -> Tensor | None:
    """A mask of booleans, or of numbers that are added to scores, as booleans of rank 4."""
    if mask is None:
        return None
    keep = mask if mask.dtype is torch.bool else mask >= 0
    return keep if keep.dim() == _MASK_RANK else keep.reshape(keep.shape[0], 1, 1, keep.shape[-1])


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """What looks like a self-attention, by name: float ones, and binary ones of this module."""
    return {
        name: module
        for name, module in model.named_modules()
        if all(isinstance(getattr(module, part, None), _LAYERS) for part in _PROJECTIONS)
        and (
            isinstance(module, BinaryAttention)
            or isinstance(getattr(module, "num_attention_heads", None), int)
        )
    }


def convert_attention(
    model: ModuleT, kind: str, *, samples: tuple[Any, ...] = (), **options: Any
) -> tuple[ModuleT, tuple[str, ...]]:
    """A copy of the model whose self-attentions compute on bits.

    Args:
        model: With attentions that are known by their parts (see above); it is not changed.
        kind: A name in `attentions`.
        samples: Positional inputs that it is called with once, for kinds that learn from real queries and keys.
        options: The kind's own, keyword arguments of its class.

    Returns:
        The model, and the names of what was replaced.

    Raises:
        UnknownNameError: No such kind.
        UsageError: The model has no such attention.
    """
    made = attentions.get(kind)
    model = copy.deepcopy(model)
    found = {n: m for n, m in attention_modules(model).items() if not isinstance(m, BinaryAttention)}
    if not found:
        raise UsageError(
            "The model has no self-attention of a known form",
            todo="It is known by its layers query, key and value, and by num_attention_heads",
        )
    shown = _queries_and_keys(model, found, samples) if samples else {}
    for name, module in found.items():
        query, key, value = (getattr(module, part) for part in _PROJECTIONS)
        heads: int = getattr(module, "num_attention_heads")  # noqa: B009 - torch types it as a tensor or module
        outputs = (
            query.geometry.outputs if isinstance(query, BinaryLayer | PackedLayer) else query.out_features
        )
        attend = made(heads, outputs // heads, **options)
        if name in shown:
            attend.learn(*(_in_heads(values, heads) for values in shown[name]))
        model.set_submodule(name, BinaryAttention(query, key, value, attend).train(module.training))
    return model, tuple(found)


def _in_heads(values: Tensor, heads: int) -> Tensor:
    batch, tokens, width = values.shape
    return values.view(batch, tokens, heads, width // heads).transpose(1, 2)


def _queries_and_keys(
    model: nn.Module, found: dict[str, nn.Module], samples: tuple[Any, ...]
) -> dict[str, tuple[Tensor, Tensor]]:
    """What the query and key layers of each attention give for the samples, in eval mode."""
    given: dict[str, dict[str, Tensor]] = {name: {} for name in found}
    hooks = [
        module.get_submodule(part).register_forward_hook(_noting(given[name], part))
        for name, module in found.items()
        for part in _PROJECTIONS[:2]
    ]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(*samples)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return {name: (parts["query"], parts["key"]) for name, parts in given.items()}


def _noting(into: dict[str, Tensor], part: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def note(_layer: nn.Module, _read: Any, out: Tensor) -> None:
        into[part] = out.detach()

    return note
