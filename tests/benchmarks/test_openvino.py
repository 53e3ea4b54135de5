"""MiniLM in OpenVINO's 16-bit and 8-bit forms on 600 unseen sentences, and their speed against ONNX Runtime's fp32."""

from functools import partial

import numpy as np
import pytest

import edgepack
from edgepack.quantize.data import fit_feed
from edgepack.quantize.text import Tokenizer
from edgepack.runtime.sessions.base import sessions
from edgepack.runtime.timing import measure_together
from edgepack.toolchain.program import Signature

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
SEQUENCE = 128
FORMS = {"bf16": (0.999, 0.99), "int8-bf16": (0.99, 0.95)}


def opened(minilm, folder, target, precision):
    bundle = edgepack.export(
        minilm, out=folder / precision, targets=target, precision=precision, measure=False
    )
    facts = bundle.artifacts[0].run
    signature = Signature.from_json(facts.signature)
    return sessions.get(facts.session)(bundle.file(facts.file), signature, threads=1), signature


def nearest(rows):
    similar = rows @ rows.T
    np.fill_diagonal(similar, -2)
    return similar.argmax(1)


def test_speed_and_quality(minilm, held_out, tmp_path):
    fp32, signature = opened(minilm, tmp_path / "onnxruntime", "cpu:onnxruntime", "fp32")
    made = {form: opened(minilm, tmp_path / "openvino", "cpu:openvino", form)[0] for form in FORMS}
    tokenize = Tokenizer(minilm, signature)
    feeds = [fit_feed(tokenize(sentence, SEQUENCE), signature) for sentence in held_out]

    def rows(session):
        found = np.concatenate([session.run(feed)[signature.outputs[0].name] for feed in feeds])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    full = {spec.name: np.ones((1, SEQUENCE), np.int64) for spec in signature.inputs}
    full["input_ids"] = np.arange(SEQUENCE, dtype=np.int64)[None] + 1000
    timed = measure_together(
        {name: partial(session.run, full) for name, session in {"fp32": fp32, **made}.items()},
        "fp32",
        threads=1,
        shapes={"input_ids": (1, SEQUENCE)},
        max_seconds=60.0,
    )
    reference = rows(fp32)
    for form, (lowest, share) in FORMS.items():
        got = rows(made[form])
        cosine = float((reference * got).sum(1).mean())
        same = float((nearest(reference) == nearest(got)).mean())
        ratio = timed.comparisons[form]
        print(
            f"\ncpu:openvino {form}: {ratio.ratio:.2f}x ONNX Runtime fp32 ({ratio.ci_low:.2f} to {ratio.ci_high:.2f}), "
            f"mean cosine {cosine:.5f}, same nearest neighbour {same:.1%} of {len(feeds)}"
        )
        assert ratio.ratio >= 2
        assert cosine >= lowest
        assert same >= share
