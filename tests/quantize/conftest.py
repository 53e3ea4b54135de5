"""The MiniLM sentence encoder as one float file, with samples that calibrate and others that judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgepack.exporters.native.bert import build
from edgepack.quantize.base import CalibrationData, Feeds
from edgepack.quantize.text import Tokenizer
from edgepack.toolchain.passes.storage import save
from edgepack.toolchain.program import Lowered, Signature, TensorSpec
from edgepack.toolchain.results import Calibration

_NAMES = ("input_ids", "attention_mask", "token_type_ids")


def embeddings(path: Path, samples: Sequence[Feeds]) -> np.ndarray:
    """First output of every sample of one row, float64 [samples, width]."""
    session = onnxruntime.InferenceSession(path)
    return np.concatenate([session.run(None, dict(feeds))[0] for feeds in samples]).astype(np.float64)


@dataclass(frozen=True)
class Encoder:
    """The float model, its calibration data, and the float answers to its held-out sentences."""

    lowered: Lowered
    data: CalibrationData
    reference: np.ndarray

    def cosine(self, made: Lowered) -> float:
        """Mean cosine of the held-out embeddings to the float model's."""
        got = embeddings(made.path, self.data.held_out)
        dots = (self.reference * got).sum(axis=1)
        return float((dots / np.linalg.norm(self.reference, axis=1) / np.linalg.norm(got, axis=1)).mean())

    def size(self, made: Lowered) -> float:
        """Size of all files of a model, as a share of the float model's."""
        return _bytes(made) / _bytes(self.lowered)


def _bytes(made: Lowered) -> int:
    return sum(file.stat().st_size for file in made.path.parent.glob(f"{made.path.name}*"))


@pytest.fixture(scope="session")
def encoder(minilm, sentences, tmp_path_factory) -> Encoder:
    signature = Signature(
        tuple(TensorSpec(name, "int64", ("batch", "sequence")) for name in _NAMES),
        (TensorSpec("sentence_embedding", "float32", ("batch", 384)),),
    )
    config = json.loads((minilm / "config.json").read_text())
    folder = tmp_path_factory.mktemp("encoder")
    path = save(build(minilm, config, "sentence-similarity"), folder, "main", reuse=False)
    tokenizer = Tokenizer.of(minilm, signature)
    assert tokenizer is not None
    feeds = [tokenizer(text, 64) for text in islice(sentences, 0, 320, 5)]
    facts = Calibration(kind="user", description="sentences", samples=32, held_out=32)
    data = CalibrationData(facts, feeds[:32], feeds[32:], "sentences")
    lowered = Lowered("main", "onnx", path, signature)
    return Encoder(lowered, data, embeddings(path, data.held_out))
