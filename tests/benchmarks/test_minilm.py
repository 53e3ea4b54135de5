"""MiniLM's artifacts on 600 real sentences that no quantizer and no gate has seen, and their speed."""

import numpy as np
import pytest

from edgepack.quantize.data import fit_feed
from edgepack.quantize.text import Tokenizer
from edgepack.runtime.sessions.base import sessions
from edgepack.runtime.timing import measure_together
from edgepack.toolchain.program import Signature

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
SEQUENCE = 128


def open_artifact(bundle, artifact):
    facts = artifact.run
    signature = Signature.from_json(facts.signature)
    return sessions.get(facts.session)(bundle.file(facts.file), signature, threads=1), signature


def embeddings(session, signature, feeds):
    name = signature.outputs[0].name
    return np.concatenate([session.run(fit_feed(feed, signature))[name] for feed in feeds])


def agreement(reference, got):
    """Mean cosine, and share of rows whose nearest other row is the same."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (reference, got)]
    cosine = float((unit[0] * unit[1]).sum(1).mean())
    nearest = []
    for rows in unit:
        similar = rows @ rows.T
        np.fill_diagonal(similar, -2)
        nearest.append(similar.argmax(1))
    return cosine, float((nearest[0] == nearest[1]).mean())


@pytest.fixture(scope="module")
def fp32(minilm, tmp_path_factory):
    import edgepack

    out = tmp_path_factory.mktemp("fp32") / "bundle"
    bundle = edgepack.export(minilm, out=out, targets="cpu:onnxruntime", precision="fp32", measure=False)
    return open_artifact(bundle, bundle.artifacts[0])


@pytest.fixture(scope="module")
def feeds(minilm, held_out, fp32):
    tokenize = Tokenizer(minilm, fp32[1])
    return [tokenize(sentence, SEQUENCE) for sentence in held_out]


@pytest.fixture(scope="module")
def reference(fp32, feeds):
    return embeddings(fp32[0], fp32[1], feeds)


def test_onnx_runtime_artifact(minilm_bundle, fp32, feeds, reference):
    artifact = next(a for a in minilm_bundle.artifacts if a.target == "cpu:onnxruntime")
    session, signature = open_artifact(minilm_bundle, artifact)
    cosine, nearest = agreement(reference, embeddings(session, signature, feeds))
    full = {
        spec.name: (np.ones((1, SEQUENCE), np.int64) if spec.name == "attention_mask"
                    else np.arange(SEQUENCE, dtype=np.int64)[None] * (spec.name == "input_ids"))
        for spec in signature.inputs
    }  # fmt: skip
    timed = measure_together(
        {"fp32": lambda: fp32[0].run(full), "chosen": lambda: session.run(full)},
        "fp32", threads=1, shapes={"input_ids": (1, SEQUENCE)}, max_seconds=60.0,
    )  # fmt: skip
    ratio = timed.comparisons["chosen"]
    print(
        f"\ncpu:onnxruntime {artifact.precision}: {ratio.ratio:.2f}x fp32 ({ratio.ci_low:.2f} to {ratio.ci_high:.2f}), "
        f"mean cosine {cosine:.4f}, same nearest neighbour {nearest:.1%} of {len(feeds)}"
    )
    assert ratio.ratio >= 2.3
    assert cosine >= 0.99
    assert nearest >= 0.9


@pytest.mark.parametrize("target", ["mobile:litert", "npu:ethos-u55-128", "npu:ethos-u85-512"])
def test_other_artifacts(minilm_bundle, feeds, reference, target):
    artifact = next(a for a in minilm_bundle.artifacts if a.target == target)
    session, signature = open_artifact(minilm_bundle, artifact)
    count = len(feeds) if target == "mobile:litert" else 200  # reference kernels take half a second a call
    cosine, nearest = agreement(reference[:count], embeddings(session, signature, feeds[:count]))
    placement = artifact.placement
    share = placement.accelerator / (placement.accelerator + placement.cpu)
    print(
        f"\n{target} {artifact.precision}: mean cosine {cosine:.4f}, same nearest neighbour {nearest:.1%} of {count}, "
        f"{share:.1%} of {placement.accelerator + placement.cpu} operators on the accelerator"
    )
    assert cosine >= 0.99
    assert target == "mobile:litert" or share >= 0.84
