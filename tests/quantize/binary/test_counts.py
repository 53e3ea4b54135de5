"""BiBERT's size and work at BERT-base, counted on the published configuration, on tensors without storage.

Size: weights of embeddings and of all Linear layers have one bit, everything else 32. The paper says 418 MB and
13.4 MB, 31.2 times; its megabytes are of 2^20 bytes.

Work, 128 tokens: a product of two bits counts 1/64 of a multiplication and of an addition, as in the paper; what is not
a product counts once an element of its result, and five times in LayerNorm (mean, difference, variance, scale,
shift). The paper says 22.5 and 0.4 GFLOPs, 56.3 times.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgepack.quantize.binary import convert

TOKENS = 128
PRODUCTS = {"addmm", "mm", "bmm"}
LAYER_NORM = 5
FREE = {
    "view",
    "t",
    "transpose",
    "permute",
    "expand",
    "slice",
    "select",
    "embedding",
    "clone",
    "unsqueeze",
    "detach",
}


def bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig()
    config._attn_implementation = "eager"  # one operator a step, to be counted
    with torch.device("meta"):
        return BertModel(config).eval()


class Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Multiplications and additions of products, and the elements of everything else by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        self.others: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            left, right = args[-2:]
            self.products += 2 * math.prod(left.shape) * right.shape[-1]
            if name == "addmm":
                self.others["bias"] += out.numel()
        elif name not in FREE:
            first = out[0] if isinstance(out, tuple) else out
            self.others[name] += first.numel() * (LAYER_NORM if "layer_norm" in name else 1)
        return out


def test_the_size():
    model = bert()
    one_bit = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding))
    total = sum(p.numel() for p in model.parameters())
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters())
    full = 4 * total / 2**20
    assert round(full) == 418
    everything = one_bit / 8 + 4 * (total - one_bit)
    assert 4 * total / everything == pytest.approx(31.2, rel=0.02)
    # The published ratio is that of the published, rounded sizes; without LayerNorm's numbers the count rounds to it.
    published = (everything - 4 * norms) / 2**20
    assert round(published, 1) == 13.4
    assert round(round(full) / round(published, 1), 1) == 31.2


def test_the_work():
    model = bert()
    tokens = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
    with torch.no_grad(), Work() as work:
        # Not the model's own forward, which looks into its mask; modules by name, which have a type then
        embedded = model.get_submodule("embeddings")(input_ids=tokens)
        model.get_submodule("pooler")(model.get_submodule("encoder")(embedded).last_hidden_state)
    others = sum(work.others.values())
    # No softmax, and a comparison in its place
    binary = work.products / 64 + others
    full = work.products + others
    assert full / 1e9 == pytest.approx(22.5, rel=0.01), (work.products, work.others)
    # The published ratio is that of the published, rounded counts.
    assert round(binary / 1e9, 1) == 0.4, (work.products, work.others)
    assert full / binary == pytest.approx(56.3, rel=0.05), (work.products, work.others)


def test_all_but_the_last_layer_become_binary():
    """On the published sizes with two of the twelve layers, since conversion reads the weights."""
    from transformers import BertConfig, BertModel

    _, report = convert(BertModel(BertConfig(num_hidden_layers=2, vocab_size=100)), "bibert")
    assert len(report.binary) == 12
    assert list(report.kept) == ["pooler.dense"]
    assert len(report.attentions) == 2
