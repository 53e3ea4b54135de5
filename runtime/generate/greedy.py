"""Greedy decoding: the next token is the one with the largest logit.

    t_n = argmax_v logits(prompt, t_0 ... t_(n-1))_v

Of equal logits the smallest token wins, as in torch and numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from edgepack.toolchain.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from edgepack.runtime.generate.language_model import LanguageModel


def greedy(
    model: LanguageModel,
    prompt: np.ndarray,
    max_new_tokens: int,
    *,
    stop: Collection[int] = (),
    start: int = 0,
    on_token: Callable[[int], object] | None = None,
) -> list[int]:
    """Tokens that follow a prompt.

    Args:
        model: See there.
        prompt: int64 [sequence].
        max_new_tokens: At least 1.
        stop: Tokens that end the sequence; the one that did is the last.
        start: The start token of a model with an encoder.
        on_token: Called with every token as soon as it is known.

    Raises:
        UsageError: See `LanguageModel.begin`; or `max_new_tokens` is less than 1.
    """
    import numpy as np

    if max_new_tokens < 1:
        raise UsageError(
            f"{max_new_tokens} new tokens were asked for", where="max_new_tokens", todo="Ask for at least 1"
        )
    logits = model.begin(np.atleast_1d(np.asarray(prompt))[None], max_new_tokens, start)
    tokens: list[int] = []
    while True:
        token = int(logits[0].argmax())
        tokens.append(token)
        if on_token is not None:
            on_token(token)
        if token in stop or len(tokens) == max_new_tokens:
            return tokens
        logits = model.step(np.array([[token]]))
