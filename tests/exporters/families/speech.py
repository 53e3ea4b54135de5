"""Networks that hear, and one that speaks."""

from __future__ import annotations

from typing import Any

from tests.exporters.families.family import TEXT, Family

SPEECH = {
    **TEXT,
    "conv_dim": [16, 16],
    "conv_stride": [5, 2],
    "conv_kernel": [10, 3],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "num_feat_extract_layers": 2,
    "pad_token_id": 0,
}
HEARS: dict[str, Any] = {"dynamic": ("batch", "samples")}


def fast_conformer() -> dict[str, Any]:
    """Configuration of the FastConformer encoder, which parakeet and canary share."""
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_mel_bins": 16,
        "subsampling_conv_channels": 8,
        "subsampling_factor": 4,
        "conv_kernel_size": 5,
        "model_type": "parakeet_encoder",
    }


def _parakeet() -> Any:
    from transformers import ParakeetCTCConfig

    return ParakeetCTCConfig(vocab_size=67, pad_token_id=66, encoder_config=fast_conformer())


def _fastspeech() -> Any:
    from transformers import FastSpeech2ConformerConfig

    return FastSpeech2ConformerConfig(
        vocab_size=67, hidden_size=32, num_mel_bins=8, encoder_layers=1, decoder_layers=1,
        encoder_num_attention_heads=4, decoder_num_attention_heads=4, encoder_linear_units=48,
        decoder_linear_units=48, duration_predictor_channels=16, energy_predictor_channels=16,
        pitch_predictor_channels=16, speech_decoder_postnet_units=16, pitch_predictor_layers=2,
    )  # fmt: skip


FAMILIES = (
    Family("wav2vec2-conformer", "Wav2Vec2ConformerForCTC", "Wav2Vec2ConformerConfig", SPEECH, **HEARS),
    Family("wav2vec2", "Wav2Vec2ForCTC", "Wav2Vec2Config", SPEECH, **HEARS),
    Family("hubert", "HubertForCTC", "HubertConfig", SPEECH, **HEARS),
    Family(
        "parakeet_ctc",
        "ParakeetForCTC",
        "ParakeetCTCConfig",
        build=_parakeet,
        dynamic=("batch", "frames"),
    ),
    Family(
        "fastspeech2_conformer",
        "FastSpeech2ConformerModel",
        "FastSpeech2ConformerConfig",
        build=_fastspeech,
    ),
)
