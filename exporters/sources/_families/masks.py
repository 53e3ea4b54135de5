"""Attention masks as graphs want them: a finite number where the source adds the lowest float32.

Softmax of s + m with m = 0 where a key may be seen and a large negative m elsewhere: exp(m) has to vanish
beside exp(0). The source's m is finfo.min (-3.4e38), which no int8 or 16-bit activation can hold, and it
gathers the padding mask element by element.

- Encoders get m = -30: exp(-30) is 1e-13, below what float32 softmax resolves, and quantizers are left a
  usable range. It holds while scores stay within some tens of each other, which the caller checks.
- Decoders get m = -1e4: a trained language model's scores may differ by hundreds (attention sinks), and a
  token of the future must not leak through. float16 can hold it.

The masks' patterns (causal, windows, chunks) are the source's own functions of query and key positions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

ENCODER = -30.0
DECODER = -1e4


@contextlib.contextmanager
def finite(value: float) -> Iterator[list[int]]:
    """While it lasts, transformers' eager attention gets masks of 0 and `value`.

    Args:
        value: What is added to the scores of keys that a query must not see.

    Yields:
        A list that grows by one entry for every mask that was made.
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    made: list[int] = []
    known = ALL_MASK_ATTENTION_FUNCTIONS._global_mapping  # noqa: SLF001 - register() alone cannot undo
    before: Any = known["eager"]

    def mask(*arguments: Any, **options: Any) -> torch.Tensor | None:
        made.append(1)
        return additive(value, before, *arguments, **options)

    known["eager"] = mask
    try:
        yield made
    finally:
        known["eager"] = before


def additive(  # noqa: PLR0913 - transformers' interface of mask functions
    value: float,
    otherwise: Callable[..., torch.Tensor | None],
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., torch.Tensor] | None = None,
    attention_mask: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    **options: Any,
) -> torch.Tensor | None:
    """A mask [batch or 1, 1, q_length or 1, kv_length] to be added to the scores.

    Args:
        value: Added where a key must not be seen.
        otherwise: transformers' own function, called for patterns that are not functions of positions.
        batch_size: Rows.
        q_length: Queries.
        kv_length: Keys.
        q_offset: Position of the first query.
        kv_offset: Position of the first key.
        mask_function: (batch, head, query position, key position) -> may be seen.
        attention_mask: 1 or True at real tokens [batch, keys].
        dtype: Of the scores.
        device: Where to make it.
        options: What transformers adds for other kinds of attention.
    """
    from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

    pattern: Any = mask_function or causal_mask_function
    if options.get("use_vmap"):
        return otherwise(
            batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset,
            kv_offset=kv_offset, mask_function=pattern, attention_mask=attention_mask, dtype=dtype,
            device=device, **options,
        )  # fmt: skip
    # Nothing is masked by an all-seeing pattern: only the padding counts, one row for all queries.
    seen: torch.Tensor | None = None
    if pattern is not bidirectional_mask_function:
        rows = torch.arange(batch_size, device=device)[:, None, None, None]
        heads = torch.zeros((1, 1, 1, 1), dtype=torch.int64, device=device)
        queries = torch.arange(q_length, device=device)[None, None, :, None] + q_offset
        keys = torch.arange(kv_length, device=device)[None, None, None, :] + kv_offset
        seen = pattern(rows, heads, queries, keys)
    if attention_mask is not None:
        real = attention_mask[:, None, None, :].to(torch.bool)
        if kv_offset:
            real = real[..., kv_offset : kv_offset + kv_length]
        seen = real if seen is None else seen & real
    if seen is None:
        return None
    return torch.where(seen, torch.zeros((), dtype=dtype), torch.full((), value, dtype=dtype))


def padded(shape: tuple[int, ...], seed: int, *, left: bool = False, keep: int = 1) -> Any:
    """A 0/1 mask [batch, length] for examples: the first row is full, the others lack up to half.

    Args:
        shape: Of the mask.
        seed: The same seed gives the same mask.
        left: Pad on the left, as generation does.
        keep: At least so many tokens of a row are real.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    batch, length = shape
    lengths = np.maximum(min(keep, length), rng.integers(length // 2, length + 1, batch))
    lengths[0] = length
    places = np.arange(length)[None, :]
    real = places >= (length - lengths)[:, None] if left else places < lengths[:, None]
    return real.astype(np.int64)
