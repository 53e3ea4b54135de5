"""Encoders of text."""

from __future__ import annotations

from tests.exporters.families.family import TEXT, Family

FAMILIES = (
    Family("bert", "BertForSequenceClassification", "BertConfig", TEXT),
    Family("roberta", "RobertaForMaskedLM", "RobertaConfig", TEXT),
    Family(
        "modernbert",
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        {
            **TEXT,
            "local_attention": 8,
            "global_attn_every_n_layers": 2,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
            "cls_token_id": 2,
            "sep_token_id": 1,
        },
    ),
    Family(
        "distilbert",
        "DistilBertModel",
        "DistilBertConfig",
        {
            "vocab_size": 67,
            "dim": 32,
            "hidden_dim": 48,
            "n_layers": 2,
            "n_heads": 4,
            "max_position_embeddings": 64,
        },
    ),
    Family("electra", "ElectraForTokenClassification", "ElectraConfig", {**TEXT, "embedding_size": 16}),
    Family("mpnet", "MPNetModel", "MPNetConfig", TEXT),
    Family(
        "deberta-v2",
        "DebertaV2Model",
        "DebertaV2Config",
        {
            **TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
        },
    ),
)
