"""A BERT of a few thousand parameters, from transformers' own code and a configuration of ours."""

from __future__ import annotations

import torch
from torch import nn

TOKENS, VOCABULARY = 12, 50


class Classifier(nn.Module):
    """Scores of two classes from the tokens and their mask, as an exporter calls it."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(
            vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=128, max_position_embeddings=32, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.bert = BertForSequenceClassification(config)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.bert(input_ids=tokens, attention_mask=mask).logits
        return scores


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier()


def sentences(count: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, mask, and the class: whether token 1 comes before token 2."""
    chance = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, VOCABULARY, (count, TOKENS), generator=chance)
    labels = torch.arange(count) % 2
    for row, label in enumerate(labels.tolist()):
        at = sorted(torch.randperm(TOKENS - 4, generator=chance)[:2].tolist())
        tokens[row, at] = torch.tensor([1, 2] if label else [2, 1])
    mask = torch.ones_like(tokens)
    mask[::3, -3:] = 0
    return tokens, mask, labels
