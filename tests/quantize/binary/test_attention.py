"""Attention on bits against its formulas in numpy, and in a BERT of transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgepack.quantize.binary import Distillation, attentions, convert, convert_attention, freeze
from edgepack.quantize.binary._attention import BinaryAttention, seen
from edgepack.quantize.binary._attentions.bi import BiAttention
from edgepack.quantize.binary._attentions.ecoformer import EcoFormer
from edgepack.quantize.binary._distillation import directions
from edgepack.quantize.binary._hashing import alike, learn_hash
from edgepack.toolchain.errors import UnknownNameError, UsageError
from tests.quantize.binary.artifacts import FORMS, run, written
from tests.quantize.binary.reference import signs
from tests.quantize.binary.transformers_models import classifier, sentences

MASKED = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]]).bool()[:, None, None]


def parts(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Queries, keys and values: 2 samples, 3 heads, 7 tokens, 8 features."""
    torch.manual_seed(0)
    return [torch.randn(2, 3, 7, 8, dtype=dtype) for _ in range(3)]


def chosen(q: np.ndarray, k: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Which of its keys each query sees, one by one."""
    found = np.zeros((*q.shape[:3], k.shape[2]))
    for b, h, i in np.ndindex(*q.shape[:3]):
        scores = {j: int(q[b, h, i] @ k[b, h, j]) for j in range(k.shape[2]) if keep[b, 0, 0, j]}
        for j, score in scores.items():
            found[b, h, i, j] = score * len(scores) >= sum(scores.values())
    return found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_bi_attention_follows_the_formula(masked, training):
    q, k, v = parts()
    found = BiAttention(3, 8).train(training)(q, k, v, MASKED if masked else None)
    keep = MASKED.numpy() if masked else np.ones((2, 1, 1, 7), bool)
    bits = [signs(values.numpy()) for values in (q, k, v)]
    np.testing.assert_array_equal(found.numpy(), chosen(bits[0], bits[1], keep) @ bits[2])


def test_bi_attentions_gradients_follow_the_formula():
    q, k, v = (values.requires_grad_() for values in parts(torch.float64))
    out = BiAttention(3, 8)(q, k, v, MASKED)
    upstream = torch.randn(out.shape, dtype=torch.float64)
    out.backward(upstream)
    bits = [signs(values.detach().numpy()) for values in (q, k, v)]
    keep = np.broadcast_to(MASKED.numpy(), (2, 3, 7, 7)).astype(float)
    scores, count = bits[0] @ bits[1].swapaxes(-1, -2), keep.sum(-1, keepdims=True)
    margin = scores - (scores * keep).sum(-1, keepdims=True) / count
    g = upstream.numpy() @ bits[2].swapaxes(-1, -2) * keep
    g = g * (np.abs(margin) <= np.sqrt(8)) / np.sqrt(8)
    # Through the scores, and through their mean over the keys that are seen
    g = g - keep * g.sum(-1, keepdims=True) / count
    clipped = [np.abs(values.detach().numpy()) <= 1 for values in (q, k, v)]
    weights = chosen(bits[0], bits[1], MASKED.numpy())
    expected = [g @ bits[1], g.swapaxes(-1, -2) @ bits[0], weights.swapaxes(-1, -2) @ upstream.numpy()]
    for values, inner, clip in zip((q, k, v), expected, clipped, strict=True):
        np.testing.assert_allclose(values.grad.numpy(), inner * clip, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_ecoformer_weighs_values_by_equal_bits(masked):
    q, k, v = parts()
    attend = EcoFormer(3, 8, bits=5, anchors=6).eval()
    attend.learn(q, k)
    found = attend(q, k, v, MASKED if masked else None).numpy()
    keep = np.broadcast_to(MASKED.numpy() if masked else np.ones((2, 1, 1, 7)), (2, 3, 7, 7))
    codes = [attend.codes(values).numpy() for values in (q, k)]
    weights = (codes[0][..., :, None, :] == codes[1][..., None, :, :]).sum(-1) * keep
    assert (weights.sum(-1) > 0).all()
    np.testing.assert_allclose(
        found, weights @ v.numpy() / weights.sum(-1, keepdims=True), rtol=1e-4, atol=1e-5
    )


def test_hashes_agree_where_pairs_are_alike():
    chance = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 12, generator=chance)
    kinds = torch.arange(40) % 4
    rows = centres[kinds] + 0.3 * torch.randn(40, 12, generator=chance)
    pairs = torch.where(kinds[:, None] == kinds, 1.0, -1.0)
    directions_found = learn_hash(rows, rows, pairs, 8)
    codes = signs((rows @ directions_found.T).numpy())
    agreement = codes @ codes.T / 8
    same = pairs.numpy() > 0
    assert agreement[same].mean() > agreement[~same].mean() + 0.8
    labels = alike(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))
    assert labels.tolist() == [[-1, 1, 0, 0]]


def test_masks_of_both_kinds_are_understood():
    added = torch.zeros(2, 1, 7, 7).masked_fill(~MASKED, torch.finfo(torch.float32).min)
    assert torch.equal(seen(added), MASKED.expand(2, 1, 7, 7))
    assert torch.equal(seen(MASKED), MASKED)
    assert torch.equal(seen(MASKED[:, 0, 0]), MASKED)


def test_directions_are_those_of_the_similarities():
    values = torch.randn(2, 5, 6)
    found = directions(values, 3).numpy()
    for sample in range(2):
        for head in range(3):
            rows = values[sample, :, 2 * head : 2 * head + 2].numpy()
            expected = rows @ rows.T
            np.testing.assert_allclose(
                found[sample, head], expected.ravel() / np.linalg.norm(expected), rtol=1e-5, atol=1e-6
            )


def test_a_bert_learns_from_its_teacher():
    teacher = classifier()
    student, report = convert(teacher, "bibert")
    assert report.attentions == tuple(f"bert.bert.encoder.layer.{i}.attention.self" for i in (0, 1))
    assert len(report.binary) == 2 * 6 + 1, "and the pooler"
    assert report.kept == {"bert.classifier": "the first and the last layer stay float"}
    distillation = Distillation(teacher, student)
    assert distillation.layers == ("bert.bert.encoder.layer.0", "bert.bert.encoder.layer.1")
    tokens, mask, labels = sentences()
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        ours, theirs, loss = distillation(tokens, mask)
        assert not theirs.requires_grad
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        (loss + nn.functional.cross_entropy(ours, labels)).backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    with pytest.raises(UsageError, match="do not have the same attentions"):
        Distillation(nn.Linear(2, 2), student)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
@pytest.mark.parametrize("kind", ["bi", "ecoformer"])
def test_a_frozen_bert_and_its_file_give_the_same(kind, library, tmp_path):
    tokens, mask, _ = sentences()
    if kind == "bi":
        model = convert(classifier(), "bibert")[0]
    else:
        torch.manual_seed(0)
        model, names = convert_attention(classifier(), kind, samples=(tokens, mask))
        assert len(names) == 2
        model, _ = convert(model, "xnor++")
    frozen = freeze(model)
    contexts: list[torch.Tensor] = []
    for module in frozen.modules():
        if isinstance(module, BinaryAttention):
            module.attend.register_forward_hook(lambda _m, _i, out: contexts.append(out))
    with torch.no_grad():
        expected = frozen(tokens, mask).numpy()
        assert torch.equal(model.eval()(tokens, mask), torch.from_numpy(expected))
    assert len(contexts) >= 2
    path = written(frozen, (tokens, mask), tmp_path / "bert.onnx")
    for native in FORMS.values():
        (found,) = run(path, (tokens.numpy(), mask.numpy()), native=native)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_converted_is_said():
    with pytest.raises(UsageError, match="no self-attention of a known form"):
        convert_attention(nn.Linear(2, 2), "bi")
    with pytest.raises(UnknownNameError, match="Unknown kind of binary attention 'softmax'"):
        convert_attention(classifier(), "softmax")
    attention = BinaryAttention(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), BiAttention(2, 2))
    with pytest.raises(UsageError, match="keeps no cache"):
        attention(torch.zeros(1, 2, 4), past_key_values=object())


def test_every_kind_cites_its_paper():
    assert {name: kind.paper for name, kind in attentions.items()} == {
        "bi": "arXiv:2203.06390",
        "ecoformer": "arXiv:2209.09004",
    }
