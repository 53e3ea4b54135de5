"""Perplexity on unseen text of every form that the targets offer of a decoder, token by token, against fp32."""

from pathlib import Path

import numpy as np
import pytest

import edgepack
from tests.benchmarks.quality.forms import forms, speed
from tests.benchmarks.quality.paired import perplexity_ratio
from tests.benchmarks.quality.rows import Row
from tests.trained import language

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]
FACTORY = f"{Path(language.__file__)}:calibration"
TARGET = "cpu:onnxruntime"
PROMPT = 32
ALLOWED_RATIO = 1.02


def surprise(form, windows):
    """Negative log-likelihood, float64 [windows, 128 - 32], of the tokens after a prompt, decoded one by one."""
    found = []
    with edgepack.open_program(form.bundle, form.target) as program:
        for ids in windows:
            program.reset()
            mask = np.ones((1, len(ids)), np.int64)
            given = {"input_ids": ids[None, :PROMPT], "attention_mask": mask[:, :PROMPT]}
            rows = [program.call("prefill", given)["logits"][0]]
            for at in range(PROMPT, len(ids) - 1):
                step = {"input_ids": ids[None, at : at + 1], "attention_mask": mask[:, : at + 1]}
                rows.append(program.call("decode", step)["logits"][0, 0])
            logits = np.array(rows, dtype=np.float64)
            logits -= logits.max(1, keepdims=True)
            logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            found.append(-logs[np.arange(len(logs)), ids[PROMPT:]])
    return np.array(found)


def one_step(signature):
    """A decoding step behind 64 tokens, with empty states."""
    sizes = {"batch": 1, "step": 1, "past": 64}
    return {
        spec.name: np.ones(spec.resolve(sizes), spec.dtype)
        if spec.name in {"input_ids", "attention_mask"}
        else np.zeros(spec.resolve(sizes), spec.dtype)
        for spec in signature.inputs
    }


def test_four_bits_keep_the_perplexity(table, tmp_path):
    folder = language.folder()
    windows = language.held_out(folder)
    fp32, reference, ratios = None, None, {}
    for form in forms(str(folder), [TARGET], tmp_path, task="text-generation", calibration=FACTORY):
        got = surprise(form, windows)
        if fp32 is None:
            assert form.precision == "fp32"
            fp32, reference = form, got
        row = Row(
            model="decoder",
            measure="perplexity",
            target=TARGET,
            precision=form.precision,
            judged=got.size,
            fp32=float(np.exp(reference.mean())),
            value=float(np.exp(got.mean())),
            change=perplexity_ratio(reference, got),
            nodes=form.nodes,
            size_bytes=form.size_bytes,
            speed=speed(fp32, form, "decode", one_step),
            chosen=form.chosen,
        )
        print(f"\n{row}")
        table.append(row)
        ratios[form.precision] = row.change.value
    assert ratios["int4-weights"] <= ALLOWED_RATIO, ratios
