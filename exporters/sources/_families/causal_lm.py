"""Decoder-only language models: a prompt at once (prefill), then steps with caches (decode).

    prefill: input_ids, attention_mask [batch, sequence] (padding on the left)
             -> logits [batch, vocabulary] of the last position, present.*
    decode:  input_ids [batch, step], attention_mask [batch, past+step], past.*
             -> logits [batch, step, vocabulary], present.*

Positions are the running sum of the mask, so that padding on the left moves nobody. A model with recurrent
layers takes one token a step; where some of its layers attend, it takes the mask of what is in the caches,
past_mask [batch, past], for the new token is always real.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.sources._families import experts, masks, state_space
from edgepack.exporters.sources._families.caches import Layout
from edgepack.exporters.sources._families.loading import normalized
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.sources.base import TorchPart

PROMPT, STEPS, PADDING = 5, 33, 2


class LanguageModel:
    """A model with what its parts need to know of it.

    Args:
        model: A transformers model with a language-modelling head, in eval mode.
        where: Its folder, for messages.
    """

    def __init__(self, model: Any, where: str) -> None:
        self.model = model
        self.where = where
        parameters = inspect.signature(model.forward).parameters
        self.cache_name = "cache_params" if "cache_params" in parameters else "past_key_values"
        self.takes_positions = "position_ids" in parameters
        self.takes_keep = "logits_to_keep" in parameters
        config = model.config.get_text_config(decoder=True)
        self.vocabulary = int(normalized(config, "vocab_size"))
        self.limit = normalized(config, "max_position_embeddings")
        with torch.no_grad():
            result = model(input_ids=torch.zeros((1, 3), dtype=torch.int64), use_cache=True)
        self.layout = Layout(getattr(result, self.cache_name))

    def run(
        self, ids: torch.Tensor, mask: torch.Tensor | None, cache: Any, *, last: bool = False
    ) -> torch.Tensor:
        """Logits [batch, tokens, vocabulary] of the source model; `cache` is updated."""
        options: dict[str, Any] = {self.cache_name: cache, "use_cache": cache is not None}
        if mask is not None:
            options["attention_mask"] = mask
            if self.takes_positions:
                positions = (mask.cumsum(-1) - 1).clamp(min=0)
                options["position_ids"] = positions[:, positions.shape[1] - ids.shape[1] :]
        if last and self.takes_keep:
            options["logits_to_keep"] = 1
        logits: torch.Tensor = self.model(input_ids=ids, return_dict=True, **options).logits
        return logits[:, -1:] if last else logits


class Prefill(torch.nn.Module):
    """The prompt; `traced` is False in the reference."""

    def __init__(self, lm: LanguageModel, *, traced: bool) -> None:
        super().__init__()
        self.model = lm.model
        self.lm = lm
        self.traced = traced

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits of the last position, and the caches."""
        cache = self.lm.layout.empty(traced=self.traced)
        with rewritten(self.model, experts.DENSE, on=self.traced):
            logits = self.lm.run(input_ids, attention_mask, cache, last=True)
        return logits[:, 0], *self.lm.layout.read(cache)


class Decode(torch.nn.Module):
    """A step of one or more tokens; `traced` is False in the reference."""

    def __init__(self, lm: LanguageModel, *, traced: bool) -> None:
        super().__init__()
        self.model = lm.model
        self.lm = lm
        self.traced = traced

    def forward(self, input_ids: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits of every token given, and the caches with these tokens."""
        mask: torch.Tensor | None = None
        states = rest
        if self.lm.layout.grows:
            mask, states = rest[0], rest[1:]
            if self.lm.layout.recurrent:
                mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        cache = self.lm.layout.filled(states, traced=self.traced)
        with rewritten(self.model, experts.GATHERED, on=self.traced):
            logits = self.lm.run(input_ids, mask, cache)
        return logits, *self.lm.layout.read(cache)


@contextlib.contextmanager
def rewritten(model: torch.nn.Module, form: str, *, on: bool) -> Any:
    """The known rewrites, while a forward is traced; nothing when `on` is False."""
    if not on:
        yield
        return
    with (
        masks.finite(masks.DECODER),
        experts.implementation(model, form),
        state_space.without_loops(model),
    ):
        yield


def parts(
    model: Any, where: str
) -> tuple[dict[str, TorchPart], tuple[StateLink, ...], Callable[[], list[Call]]]:
    """Prefill and decode of a model, their links, and the rollout that verifies them together.

    Args:
        model: A transformers model with a language-modelling head, in eval mode.
        where: Its folder, for messages.
    """
    lm = LanguageModel(model, where)
    past, present = lm.layout.names("past"), lm.layout.names("present")
    built = {"prefill": _prefill(lm, present), "decode": _decode(lm, present)}
    links = tuple(
        StateLink(part, out, "decode", into)
        for part in built
        for out, into in zip(present, past, strict=True)
    )
    return built, links, lambda: rollout(lm)


def notes(model: Any, made: Mapping[str, TorchPart]) -> list[str]:
    """The rewrites of a model's parts, in words."""
    found = []
    if any(spec.name.endswith(".key") for part in made.values() for spec in part.signature.inputs):
        found.append(
            f"finite mask: keys that must not be seen get {masks.DECODER:g} in place of the lowest float32"
        )
    if experts.present(model):
        found.append("experts: all compute the prompt, the chosen ones' matrices are gathered for a step")
    if state_space.present(model):
        found.append(
            "state space: the loop over time is one Scan node (Mamba) or products over chunks (Mamba-2)"
        )
    return found


def _prefill(lm: LanguageModel, present: list[str]) -> TorchPart:
    sets = [{"batch": 1, "sequence": 3}, {"batch": 3, "sequence": 11}]
    return torch_part(
        Prefill(lm, traced=True),
        "input_ids:int64[batch=2,sequence=7]",
        "attention_mask:int64[batch,sequence]",
        outputs=["logits", *present],
        where=lm.where,
        upper={"input_ids": lm.vocabulary},
        # What stands at padded positions is nobody's and depends on the mask's number: the rollout has padding.
        fixed={"attention_mask": _ones},
        limits={"sequence": lm.limit} if lm.limit else {},
        size_sets=_within(lm, sets),
        reference=Prefill(lm, traced=False),
    )


def _decode(lm: LanguageModel, present: list[str]) -> TorchPart:
    # A recurrence takes one token a call.
    specs = [f"input_ids:int64[batch=2,{'1' if lm.layout.recurrent else 'step=2'}]"]
    sets: list[dict[str, int]] = [{"batch": 1}, {"batch": 3}]
    if lm.layout.grows:
        sets = [{"batch": 1, "past": 0}, {"batch": 3, "past": 9}]
        if lm.layout.recurrent:
            specs.append("past_mask:int64[batch,past=5]")
        else:
            specs += ["attention_mask:int64[batch,past+step]"]
            sets = [{**sizes, "step": 1} for sizes in sets] + [{"batch": 2, "past": 0, "step": 4}]
    specs += [state.spec("past", "batch", "past=5") for state in lm.layout.states]
    return torch_part(
        Decode(lm, traced=True),
        *specs,
        outputs=["logits", *present],
        where=lm.where,
        upper={"input_ids": lm.vocabulary},
        fixed={"attention_mask": _some_past, "past_mask": _some_past},
        limits={"past": lm.limit - 1} if lm.limit and lm.layout.grows else {},
        size_sets=sets,
        reference=Decode(lm, traced=False),
    )


def _within(lm: LanguageModel, sets: list[dict[str, int]]) -> list[dict[str, int]]:
    if not lm.limit:
        return sets
    return [{k: min(v, lm.limit) if k == "sequence" else v for k, v in s.items()} for s in sets]


def _ones(shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    return np.ones(shape, np.int64)


def _some_past(shape: tuple[int, ...]) -> np.ndarray:
    """Rows after the first lack some of their first tokens, all of which lie in the caches."""
    import numpy as np

    missing = np.arange(shape[0]) % (1 + max(0, shape[1] // 3 - 1))
    return (np.arange(shape[1])[None, :] >= missing[:, None]).astype(np.int64)


def rollout(lm: LanguageModel) -> list[Call]:
    """A padded prompt, then single steps, with the logits that the source gives for whole sequences.

    The second row is padded on the left; its reference is the same row without padding.
    """
    import numpy as np

    steps = min(STEPS, (lm.limit or PROMPT + STEPS) - PROMPT)
    ids = np.random.default_rng(3).integers(0, lm.vocabulary, (2, PROMPT + steps))
    mask = np.ones_like(ids)
    mask[1, :PADDING] = 0
    with torch.no_grad():
        rows = []
        for row, missing in enumerate((0, PADDING)):
            whole = torch.from_numpy(ids[row : row + 1, missing:].copy())
            logits = lm.run(whole, None, None)[0].numpy()
            rows.append(np.concatenate([np.zeros((missing, logits.shape[1]), logits.dtype), logits]))
    expected = np.stack(rows)
    calls = [
        Call(
            "prefill",
            {"input_ids": ids[:, :PROMPT], "attention_mask": mask[:, :PROMPT]},
            {"logits": expected[:, PROMPT - 1]},
        )
    ]
    for t in range(PROMPT, PROMPT + steps):
        inputs: Mapping[str, np.ndarray] = {"input_ids": ids[:, t : t + 1]}
        if lm.layout.grows:
            name, length = ("past_mask", t) if lm.layout.recurrent else ("attention_mask", t + 1)
            inputs = {**inputs, name: mask[:, :length]}
        calls.append(Call("decode", dict(inputs), {"logits": expected[:, t : t + 1]}))
    return calls
