"""Sentences for text models: a folder's own tokenizer, and generic English when nobody gives any."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.toolchain.errors import SourceError
from edgepack.toolchain.program import Signature

if TYPE_CHECKING:
    import numpy as np

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_MIN_WORDS, _MAX_WORDS = 5, 60


class Tokenizer:
    """Turns a sentence into a sample of one row, as the model's own tokenizer.json says.

    Args:
        folder: A Hugging Face folder with tokenizer.json.
        signature: The part's signature; only text inputs are served.
    """

    def __init__(self, folder: Path, signature: Signature) -> None:
        from tokenizers import Tokenizer as Library

        try:
            self._library: Any = Library.from_file(str(folder / "tokenizer.json"))
        except Exception as error:
            raise SourceError(f"tokenizer.json cannot be read: {error}", where=str(folder)) from error
        # The file may pin padding and truncation of its own; samples have their natural length here.
        self._library.no_padding()
        self._library.no_truncation()
        self._names = [spec.name for spec in signature.inputs]
        self._limit = _max_length(folder)

    @staticmethod
    def of(folder: Path, signature: Signature) -> Tokenizer | None:
        """The folder's tokenizer if it has one and all inputs of the signature are text inputs."""
        names = {spec.name for spec in signature.inputs}
        if "input_ids" in names and names <= _INPUTS and (folder / "tokenizer.json").is_file():
            return Tokenizer(folder, signature)
        return None

    def __call__(self, text: str, length: int | None) -> dict[str, np.ndarray]:
        """One sample, int64 [1, tokens], cut at `length` or at the model's own limit."""
        import numpy as np

        self._library.enable_truncation(min(length or self._limit, self._limit))
        encoding = self._library.encode(text)
        columns = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return {name: np.array([columns[name]], dtype=np.int64) for name in self._names}


def generic_sentences() -> Iterator[str]:
    """English sentences that every Python carries: its own reference manual (pydoc_data), shuffled.

    Shuffled with a fixed seed, so that the calibrating and the judging half are alike.
    """
    from pydoc_data.topics import topics

    found: dict[str, None] = {}
    for text in topics.values():
        for paragraph in re.split(r"\n\s*\n", text):
            # Indented code and grammar are not prose.
            if ">>>" in paragraph or "::=" in paragraph:
                continue
            for sentence in _SENTENCE.split(" ".join(paragraph.split())):
                words = sentence.split()
                if _MIN_WORDS <= len(words) <= _MAX_WORDS and sentence[0].isupper() and sentence[-1] in ".!?":
                    found[sentence] = None
    sentences = list(found)
    random.Random(0).shuffle(sentences)  # noqa: S311 - an order, not a secret
    yield from sentences


def _max_length(folder: Path) -> int:
    """The sequence length that the folder's tokenizer or sentence encoder names; 512 when none does."""
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        try:
            value = json.loads((folder / name).read_text()).get(key)
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(value, int) and 0 < value <= 1 << 20:
            return value
    return 512
