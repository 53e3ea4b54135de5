"""Encoders with a decoder: translation and speech recognition."""

from __future__ import annotations

from typing import Any

from tests.exporters.families.family import GROUPED, TEXT, Family
from tests.exporters.families.speech import fast_conformer

TRANSLATES = {"parts": ("encoder", "decoder")}


def _canary() -> Any:
    from transformers import CanaryConfig

    text = {**TEXT, "num_key_value_heads": 4}
    return CanaryConfig(
        encoder_config=fast_conformer(), decoder_config={**text, "head_dim": 8}, vocab_size=67
    )


def _t5gemma() -> Any:
    from transformers import T5GemmaConfig, T5GemmaModuleConfig

    options = {**GROUPED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    one = T5GemmaModuleConfig(**options)
    return T5GemmaConfig(encoder=one, decoder=one, vocab_size=67)


FAMILIES = (
    Family(
        "t5",
        "T5ForConditionalGeneration",
        "T5Config",
        {
            "vocab_size": 67,
            "d_model": 32,
            "d_ff": 48,
            "d_kv": 8,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 0,
        },
        **TRANSLATES,
    ),
    Family(
        "bart",
        "BartForConditionalGeneration",
        "BartConfig",
        {
            "vocab_size": 67,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 64,
        },
        **TRANSLATES,
    ),
    Family(
        "whisper",
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            "vocab_size": 67,
            "d_model": 32,
            "num_mel_bins": 16,
            "max_source_positions": 30,
            "max_target_positions": 64,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 3,
        },
        **TRANSLATES,
        dynamic=("batch",),
    ),
    Family(
        "canary",
        "CanaryForConditionalGeneration",
        "CanaryConfig",
        parts=("encoder", "decoder"),
        dynamic=("batch", "frames"),
        build=_canary,
    ),
    Family(
        "t5gemma",
        "T5GemmaForConditionalGeneration",
        "T5GemmaConfig",
        parts=("encoder", "decoder"),
        build=_t5gemma,
    ),
)
