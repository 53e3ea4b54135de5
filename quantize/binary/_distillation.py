"""Direction-matching distillation: what a binary transformer learns from a float one of the same sizes.

    P_F = F F' / ||F F'||    for F = Q, K, V of each layer, per head; Frobenius norm
    loss = sum over layers and F of  mean ||P_F(student) - P_F(teacher)||  +  sum over layers of  mean |h_s - h_t|

with h the hidden states of a token divided by their length. After Qin et al., "BiBERT: Accurate Fully Binarized BERT",
ICLR 2022 (arXiv:2203.06390): similarities keep their directions where attention scores of bits do not keep their sizes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from edgepack.quantize.binary._attention import BinaryAttention, attention_modules
from edgepack.toolchain.errors import UsageError

_PROJECTIONS = ("query", "key", "value")


class Distillation:
    """Runs both models and compares what is inside.

    Args:
        teacher: Float; it is put in eval mode and gets no gradients.
        student: From `convert`, with attentions and layers of the same names.

    Raises:
        UsageError: They do not have the same attentions.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        self.teacher, self.student = teacher.eval(), student
        names = tuple(attention_modules(student))
        if not names or names != tuple(attention_modules(teacher)):
            raise UsageError(
                "Teacher and student do not have the same attentions",
                todo="Give the float model that the student was converted from",
            )
        self.heads = {name: int(_heads(teacher.get_submodule(name))) for name in names}
        self.layers = tuple(dict.fromkeys(filter(None, (_layer(teacher, name) for name in names))))

    def __call__(self, *inputs: Any, **named: Any) -> tuple[Any, Any, Tensor]:
        """Outputs of the student and of the teacher, and the loss, which has the student's gradients."""
        with torch.no_grad():
            teacher_out, theirs = self._run(self.teacher, inputs, named)
        student_out, ours = self._run(self.student, inputs, named)
        losses = [_distance(ours[key], theirs[key]) for key in theirs]
        return student_out, teacher_out, torch.stack(losses).sum()

    def _run(
        self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Tensor]]:
        """A call's output, and the normalised similarities and hidden states inside."""
        seen: dict[str, Tensor] = {}
        hooks = []
        for name, heads in self.heads.items():
            for part in _PROJECTIONS:

                def similar(
                    _m: Any, _i: Any, out: Tensor, key: str = f"{name}.{part}", heads: int = heads
                ) -> None:
                    seen[key] = directions(out, heads)

                hooks.append(model.get_submodule(f"{name}.{part}").register_forward_hook(similar))
        for name in self.layers:

            def hidden(_m: Any, _i: Any, out: Any, key: str = name) -> None:
                seen[key] = normalize(out[0] if isinstance(out, tuple) else out, dim=-1)

            hooks.append(model.get_submodule(name).register_forward_hook(hidden))
        try:
            return model(*inputs, **named), seen
        finally:
            for hook in hooks:
                hook.remove()


def directions(values: Tensor, heads: int) -> Tensor:
    """P of [batch, tokens, width]: [batch, heads, tokens * tokens], of length 1."""
    batch, tokens, width = values.shape
    split = values.view(batch, tokens, heads, width // heads).transpose(1, 2)
    return normalize((split @ split.transpose(-1, -2)).flatten(2), dim=-1)


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean length of the differences; the addend keeps the root's gradient finite where there is none."""
    return ((first - second).square().sum(-1) + 1e-12).sqrt().mean()


def _heads(module: nn.Module) -> Any:
    return module.attend.heads if isinstance(module, BinaryAttention) else module.num_attention_heads


def _layer(model: nn.Module, name: str) -> str | None:
    """The transformer layer around an attention: what stands in the innermost list of modules."""
    path = name.split(".")
    for length in range(len(path), 1, -1):
        if isinstance(model.get_submodule(".".join(path[: length - 1])), nn.ModuleList):
            return ".".join(path[:length])
    return None
