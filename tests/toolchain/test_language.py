"""Reading text with a language model's parts: the calls, the caches between them, and perplexity."""

import numpy as np
import pytest

from edgepack.toolchain.language import Language, perplexity, prompt_length
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.program import Part, Program, Signature, StateLink, TensorSpec

VOCABULARY = 11
TABLE = np.random.default_rng(0).standard_normal((VOCABULARY, VOCABULARY))
"""Logits of the next token by the token before: a model whose perplexity is known by a formula."""

IDS = TensorSpec("input_ids", "int64", ("batch", "length"))
MASK = TensorSpec("attention_mask", "int64", ("batch", "past+length"))
PAST = TensorSpec("past", "float32", ("batch", "past"))


def program(step="length", *, last_only=True, extra=()):
    """`step` is a step's length; None is of tokens [batch], one for each sequence."""
    logits = ("batch", VOCABULARY) if last_only else ("batch", "length", VOCABULARY)
    prompt = Signature(
        (IDS, TensorSpec("attention_mask", "int64", ("batch", "length")), *extra),
        (TensorSpec("logits", "float32", logits), TensorSpec("present", "float32", ("batch", "length"))),
    )
    decode = Signature(
        (TensorSpec("input_ids", "int64", ("batch", step) if step else ("batch",)), MASK, PAST),
        (
            TensorSpec("logits", "float32", ("batch", *((step,) if step else ()), VOCABULARY)),
            TensorSpec("present", "float32", ("batch", "past+length")),
        ),
    )
    parts = {"prefill": Part("prefill", None, prompt, []), "decode": Part("decode", None, decode, [])}
    links = [
        StateLink("prefill", "present", "decode", "past"),
        StateLink("decode", "present", "decode", "past"),
    ]
    return Program(parts, links=links)


class Bigrams:
    """Runs both parts, and looks at what it is handed."""

    def __init__(self, *, last_only=True):
        self.last_only = last_only
        self.lengths = []

    def __call__(self, part, feed):
        given = feed["input_ids"]
        ids = given if given.ndim == 2 else given[:, None]
        past = feed["past"] if part == "decode" else np.zeros((1, 0), np.float32)
        assert feed["attention_mask"].shape == (1, past.shape[1] + ids.shape[1])
        assert feed["attention_mask"].all()
        self.lengths.append((part, past.shape[1], ids.shape[1]))
        logits = TABLE[given].astype(np.float32)
        if part == "prefill" and self.last_only:
            logits = logits[:, -1]
        return {"logits": logits, "present": np.concatenate([past, ids.astype(np.float32)], 1)}


def expected(sequences):
    logs = TABLE - np.log(np.exp(TABLE).sum(1, keepdims=True))
    found = [logs[ids[t - 1], ids[t]] for ids in sequences for t in range(prompt_length(len(ids)), len(ids))]
    return float(np.exp(-np.mean(found)))


@pytest.mark.parametrize("last_only", [True, False])
@pytest.mark.parametrize("step", ["length", 1, None])
def test_perplexity_is_that_of_the_formula(step, last_only):
    made = program(step, last_only=last_only)
    run = Bigrams(last_only=last_only)
    model = StatefulProgram({p.name: p.signature for p in made}, made.links, run)
    rng = np.random.default_rng(1)
    sequences = [rng.integers(0, VOCABULARY, n) for n in (4, 9, 80, 2)]
    got = perplexity(model, Language.of(made), sequences)
    assert got == pytest.approx(expected(sequences[:3]), rel=1e-5)
    # A fresh sequence begins with a prompt, and its caches are those of its own tokens.
    assert run.lengths[0] == ("prefill", 0, 1)
    longest = [entry for entry in run.lengths if entry == ("prefill", 0, 16)]
    assert len(longest) == 1
    assert ("decode", 16, 64 if step == "length" else 1) in run.lengths


def test_a_model_of_one_part_reads_whole_sequences():
    signature = Signature((IDS,), (TensorSpec("logits", "float32", ("batch", "length", VOCABULARY)),))
    made = Program({"main": Part("main", None, signature, [])})
    model = StatefulProgram({"main": signature}, [], lambda _, feed: {"logits": TABLE[feed["input_ids"]]})
    sequence = np.random.default_rng(2).integers(0, VOCABULARY, 30)
    assert perplexity(model, Language.of(made), [sequence]) == pytest.approx(expected([sequence]))


def test_logits_that_are_not_of_every_token_give_no_perplexity():
    signature = Signature((IDS,), (TensorSpec("logits", "float32", ("batch", VOCABULARY)),))
    made = Program({"main": Part("main", None, signature, [])})
    model = StatefulProgram({"main": signature}, [], lambda _, f: {"logits": TABLE[f["input_ids"]][:, -1]})
    assert perplexity(model, Language.of(made), [np.arange(10)]) is None


def test_sequences_that_are_too_short_give_no_perplexity():
    made = program()
    model = StatefulProgram({p.name: p.signature for p in made}, made.links, Bigrams())
    assert perplexity(model, Language.of(made), [np.array([1, 2, 3])]) is None


def test_programs_that_take_something_else_are_no_language_models():
    image = TensorSpec("image", "float32", ("batch", 3, 32, 32))
    assert Language.of(program(extra=(image,))) is None
    signature = Signature((image,), (TensorSpec("logits", "float32", ("batch", 10)),))
    assert Language.of(Program({"main": Part("main", None, signature, [])})) is None


def test_padding_is_no_text():
    language = Language.of(program())
    feed = {"input_ids": np.array([[7, 7, 1, 2, 3]]), "attention_mask": np.array([[0, 0, 1, 1, 1]])}
    assert language.sequence(feed).tolist() == [1, 2, 3]
