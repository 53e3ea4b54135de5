"""A language model's parts called on text: one prompt, then the tokens that follow, with the caches between.

    prefill(x[:k]) -> logits of x[k]        decode(x[k:k+1], caches) -> logits of x[k+1]        ...

    perplexity = exp( -1/N sum log p(x[t] | x[:t]) )

in nats over the tokens that follow a prompt of a quarter of the sequence (at most 16 tokens).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.program import Program, Signature

if TYPE_CHECKING:
    import numpy as np

PREFILL, DECODE = "prefill", "decode"
_TOKENS = ("input_ids", "ids")
_MASK, _PAST_MASK = "attention_mask", "past_mask"
_SHORTEST = 4
_LONGEST_PROMPT = 16


@dataclass(frozen=True)
class Language:
    """How a program takes text.

    Attributes:
        prompt: Part that takes the prompt; a program of one part takes whole sequences.
        step: Part that takes what follows; None for a program of one part.
        tokens: Name of the token input, int64 [batch, length]; a step of one token may take int64 [batch].
        signatures: Of both parts.
    """

    prompt: str
    step: str | None
    tokens: str
    signatures: Mapping[str, Signature]

    @staticmethod
    def of(program: Program) -> Language | None:
        """How `program` takes text, or None when its inputs are not tokens, masks and states alone."""
        names = set(program.parts)
        if {PREFILL, DECODE} <= names:
            prompt, step = PREFILL, DECODE
        elif len(names) == 1:
            prompt, step = next(iter(names)), None
        else:
            return None
        signatures = {name: program.parts[name].signature for name in (prompt, step) if name}
        tokens = next((n for n in _TOKENS if n in {s.name for s in signatures[prompt].inputs}), None)
        if tokens is None:
            return None
        for name, signature in signatures.items():
            own = {spec.name for spec in signature.inputs} - set(program.states(name))
            if not own <= {tokens, _MASK, _PAST_MASK} or "logits" not in {s.name for s in signature.outputs}:
                return None
        return Language(prompt, step, tokens, signatures)

    @property
    def one_by_one(self) -> bool:
        """Whether a step takes one token only, as recurrent layers do."""
        assert self.step is not None  # noqa: S101 - asked of programs with steps
        return self.signatures[self.step].input(self.tokens).shape[1:] in ((1,), ())

    def sequence(self, feed: Mapping[str, np.ndarray]) -> np.ndarray:
        """The first row's tokens, int64 [length], without what the mask leaves out."""
        row: np.ndarray = feed[self.tokens][0]
        return row[feed[_MASK][0].astype(bool)] if _MASK in feed else row

    def calls(self, ids: np.ndarray, step: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """The calls that read a sequence: a prompt of a quarter of it, then `step` tokens each.

        Args:
            ids: int64 [length].
            step: Tokens a step; 1 for parts that take no more.
        """
        import numpy as np

        if self.step is None:
            yield self.prompt, self._inputs(self.prompt, ids[None], 0)
            return
        begin = prompt_length(len(ids))
        yield self.prompt, self._inputs(self.prompt, ids[None, :begin], 0)
        for at in range(begin, len(ids), step):
            yield self.step, self._inputs(self.step, np.ascontiguousarray(ids[None, at : at + step]), at)

    def _inputs(self, part: str, ids: np.ndarray, past: int) -> dict[str, np.ndarray]:
        import numpy as np

        signature = self.signatures[part]
        given = {
            self.tokens: ids if signature.input(self.tokens).shape[1:] else ids[:, 0],
            _MASK: np.ones((1, past + ids.shape[1]), np.int64),
            _PAST_MASK: np.ones((1, past), np.int64),
        }
        takes = {spec.name for spec in signature.inputs}
        return {name: value for name, value in given.items() if name in takes}


def prompt_length(length: int) -> int:
    """Tokens of a sequence that the prompt takes."""
    return max(1, min(_LONGEST_PROMPT, length // 4))


def perplexity(model: StatefulProgram, language: Language, sequences: Iterable[np.ndarray]) -> float | None:
    """Perplexity of a model over token sequences.

    None when no sequence is long enough, or when the logits are not of every token.

    Args:
        model: The opened parts.
        language: How they take text.
        sequences: int64 [length] each; those below 4 tokens are left out.
    """
    import numpy as np

    total, count = 0.0, 0
    for ids in sequences:
        if len(ids) < _SHORTEST:
            continue
        model.reset()
        step = len(ids) if language.step is None or not language.one_by_one else 1
        rows = [model.call(part, inputs)["logits"] for part, inputs in language.calls(ids, step)]
        # [1, vocabulary] of one position, or [1, length, vocabulary] of all; the last predicts what nobody knows.
        first = prompt_length(len(ids))
        scores = [row.reshape(-1, row.shape[-1]) for row in rows]
        scores[0] = scores[0][-1:] if language.step else scores[0][first - 1 :]
        known, following = np.concatenate(scores).astype(np.float64)[:-1], ids[first:]
        if len(known) != len(following):
            return None
        peak = known.max(1)
        logs = peak + np.log(np.exp(known - peak[:, None]).sum(1))
        total -= float((known[np.arange(len(following)), following] - logs).sum())
        count += len(following)
    if not count:
        return None
    # A model that is certain of the wrong token is infinitely perplexed: that is a result too.
    with np.errstate(over="ignore"):
        return float(np.exp(total / count))
