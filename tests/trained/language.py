"""A decoder trained on Python's manual: its Hugging Face folder, text that it never saw, text to calibrate on.

The first use trains it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# edgepack loads this file by its path, from wherever it is called.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.trained import decoder
from tests.trained.decoder import CONTEXT, END, Plan
from tests.trained.store import trained
from tests.trained.text import manual

if TYPE_CHECKING:
    import numpy as np

DECODER = Plan(width=192, layers=4, vocabulary=1024, steps=600, rate=0.004)
CALIBRATING = 256


def folder(plan: Plan = DECODER) -> Path:
    """The model's folder, trained now unless it is there."""
    text = manual()
    digest = hashlib.sha256("\0".join((*text.train, "\0", *text.held_out)).encode()).hexdigest()
    settings = {**plan._asdict(), "text": digest}
    return trained(decoder.CODE, (), settings, lambda into: decoder.train(plan, text, into))


def held_out(folder: Path) -> np.ndarray:
    """Windows of text that no training saw, int64 [n, 128]."""
    return _windows(folder, manual().held_out)


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Windows of the training text, spread over it, as `--calibration` takes them."""
    import numpy as np

    windows = _windows(folder(), manual().train)
    for row in np.linspace(0, len(windows) - 1, CALIBRATING).astype(int):
        ids = windows[row : row + 1]
        yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _windows(folder: Path, texts: Sequence[str]) -> np.ndarray:
    import numpy as np
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    ids: list[int] = []
    for encoding in tokenizer.encode_batch(list(texts)):
        ids += [*encoding.ids, end]
    count = len(ids) // CONTEXT
    return np.array(ids[: count * CONTEXT], dtype=np.int64).reshape(count, CONTEXT)
