"""Tiny random configurations, one for each family: what the tests and the table in docs/families.md run.

A family is a folder as `save_pretrained` writes it: a class of transformers, a configuration of one or two
layers, random weights from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Enough of the common names: each configuration takes those it knows.
TEXT = {
    "vocab_size": 67,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GROUPED = {**TEXT, "num_key_value_heads": 2, "head_dim": 8}


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        name: Its model_type.
        model: Class of transformers that is saved.
        config: Class of its configuration.
        options: Of the configuration.
        task: What it is exported for; found from the folder when empty.
        parts: What it must be taken apart into.
        dynamic: Dimensions of the first part that must vary.
        scan: How many Scan nodes the first part must have.
        fails: Why it cannot be exported yet; the test fails when it can.
        build: Makes the configuration, where `options` alone cannot.
    """

    name: str
    model: str
    config: str
    options: dict[str, Any] = field(default_factory=dict)
    task: str = ""
    parts: tuple[str, ...] = ("main",)
    dynamic: tuple[str, ...] = ("batch", "sequence")
    scan: int = 0
    fails: str = ""
    build: Callable[[], Any] | None = None

    def save(self, folder: Path) -> Path:
        """Write the model's folder."""
        import torch
        import transformers

        config = self.build() if self.build else getattr(transformers, self.config)(**self.options)
        torch.manual_seed(0)
        model = getattr(transformers, self.model)(config).eval()
        with torch.no_grad():
            # Wider than initialisation makes them: a token or a mask that goes wrong must show in the outputs.
            for name, weight in model.named_parameters():
                if weight.ndim >= 2 and "A_log" not in name:
                    weight.copy_(torch.randn_like(weight) * (1.5 / weight.shape[-1] ** 0.5))
        model.save_pretrained(folder)
        return folder


GENERATES = {"parts": ("prefill", "decode")}
TRANSLATES = {"parts": ("encoder", "decoder")}


def _causal(
    name: str, prefix: str, options: dict[str, Any], suffix: str = "ForCausalLM", **more: Any
) -> Family:
    return Family(name, f"{prefix}{suffix}", f"{prefix}Config", options, parts=("prefill", "decode"), **more)


def _gemma3(options: dict[str, Any]) -> Family:
    return Family(
        "gemma3_text", "Gemma3ForCausalLM", "Gemma3TextConfig", options, parts=("prefill", "decode")
    )


GPT = {"vocab_size": 67, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
MOE = {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
SSM = {"vocab_size": 67, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4}

VISION = {k: v for k, v in TEXT.items() if k not in {"vocab_size", "max_position_embeddings"}} | {
    "image_size": 32,
    "patch_size": 8,
}
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
SEES: dict[str, Any] = {"dynamic": ("batch",)}
HEARS: dict[str, Any] = {"dynamic": ("batch", "samples")}


def _t5gemma() -> Any:
    from transformers import T5GemmaConfig, T5GemmaModuleConfig

    options = {**GROUPED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    one = T5GemmaModuleConfig(**options)
    return T5GemmaConfig(encoder=one, decoder=one, vocab_size=67)


def _encoder(kind: str) -> dict[str, Any]:
    options = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_mel_bins": 16,
        "subsampling_conv_channels": 8,
        "subsampling_factor": 4,
        "conv_kernel_size": 5,
    }
    return {**options, "model_type": kind}


def _parakeet() -> Any:
    from transformers import ParakeetCTCConfig

    return ParakeetCTCConfig(vocab_size=67, pad_token_id=66, encoder_config=_encoder("parakeet_encoder"))


def _canary() -> Any:
    from transformers import CanaryConfig

    text = {**TEXT, "num_key_value_heads": 4}
    return CanaryConfig(
        encoder_config=_encoder("parakeet_encoder"), decoder_config={**text, "head_dim": 8}, vocab_size=67
    )


def _fastspeech() -> Any:
    from transformers import FastSpeech2ConformerConfig

    return FastSpeech2ConformerConfig(
        vocab_size=67, hidden_size=32, num_mel_bins=8, encoder_layers=1, decoder_layers=1,
        encoder_num_attention_heads=4, decoder_num_attention_heads=4, encoder_linear_units=48,
        decoder_linear_units=48, duration_predictor_channels=16, energy_predictor_channels=16,
        pitch_predictor_channels=16, speech_decoder_postnet_units=16, pitch_predictor_layers=2,
    )  # fmt: skip


def _mask2former() -> Any:
    from transformers import Mask2FormerConfig, SwinConfig

    options: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    swin = SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4,
        **options,
    )  # fmt: skip
    return Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_layers=1,
        encoder_feedforward_dim=32, decoder_layers=2, num_attention_heads=4, dim_feedforward=32, num_queries=5,
    )  # fmt: skip


def _clip() -> Any:
    from transformers import CLIPConfig

    return CLIPConfig(text_config={**TEXT, "eos_token_id": 2}, vision_config=VISION, projection_dim=16)


def _captioner() -> Any:
    from transformers import GPT2Config, VisionEncoderDecoderConfig, ViTConfig

    made = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**VISION), GPT2Config(**GPT, bos_token_id=0, eos_token_id=1)
    )
    made.decoder_start_token_id, made.pad_token_id = 0, 1
    return made


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _causal("llama", "Llama", GROUPED),
        _causal("gemma2", "Gemma2", {**GROUPED, "sliding_window": 8}),
        _gemma3({**GROUPED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
        _causal("gpt2", "GPT2", GPT, "LMHeadModel"),
        _causal("codegen", "CodeGen", {**GPT, "rotary_dim": 8}),
        _causal("opt", "OPT", {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32}),
        _causal("mixtral", "Mixtral", {**MOE, "sliding_window": None}),
        _causal(
            "qwen2_moe",
            "Qwen2Moe",
            {
                **GROUPED,
                "num_experts": 4,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 24,
                "shared_expert_intermediate_size": 24,
            },
        ),
        _causal("qwen2", "Qwen2", GROUPED),
        _causal("qwen3", "Qwen3", GROUPED),
        _causal("mistral", "Mistral", {**GROUPED, "sliding_window": 8}),
        _causal("phi3", "Phi3", {**GROUPED, "pad_token_id": 0}),
        _causal("mamba", "Mamba", SSM, scan=2),
        _causal(
            "mamba2",
            "Mamba2",
            {
                "vocab_size": 67,
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "state_size": 8,
                "num_heads": 4,
                "head_dim": 16,
                "n_groups": 2,
                "chunk_size": 4,
            },
        ),
        _causal("falcon_mamba", "FalconMamba", SSM, scan=2),
        _causal(
            "jamba",
            "Jamba",
            {
                **GROUPED,
                "num_hidden_layers": 2,
                "num_experts": 4,
                "num_experts_per_tok": 2,
                "expert_layer_period": 2,
                "expert_layer_offset": 1,
                "attn_layer_period": 2,
                "attn_layer_offset": 1,
                "mamba_d_state": 8,
                "mamba_dt_rank": 4,
            },
            scan=1,
        ),
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
        Family("vit", "ViTForImageClassification", "ViTConfig", VISION, **SEES),
        Family(
            "swin",
            "SwinForImageClassification",
            "SwinConfig",
            {
                "image_size": 32,
                "patch_size": 4,
                "embed_dim": 16,
                "depths": [2, 2],
                "num_heads": [2, 4],
                "window_size": 4,
            },
            **SEES,
        ),
        Family(
            "poolformer",
            "PoolFormerForImageClassification",
            "PoolFormerConfig",
            {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 64},
            **SEES,
        ),
        Family(
            "mobilevit",
            "MobileViTForImageClassification",
            "MobileViTConfig",
            {
                "image_size": 64,
                "hidden_sizes": [16, 16, 16],
                "neck_hidden_sizes": [8, 8, 16, 16, 16, 16, 32],
                "num_attention_heads": 4,
            },
            **SEES,
        ),
        Family(
            "convnext",
            "ConvNextForImageClassification",
            "ConvNextConfig",
            {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 64},
            **SEES,
        ),
        Family(
            "segformer",
            "SegformerForSemanticSegmentation",
            "SegformerConfig",
            {
                "hidden_sizes": [8, 16, 24, 32],
                "depths": [1, 1, 1, 1],
                "num_attention_heads": [1, 2, 2, 4],
                "decoder_hidden_size": 16,
                "image_size": 64,
            },
            **SEES,
        ),
        Family(
            "yolos",
            "YolosForObjectDetection",
            "YolosConfig",
            {**VISION, "image_size": [32, 32], "num_detection_tokens": 5},
            **SEES,
        ),
        Family(
            "mask2former",
            "Mask2FormerForUniversalSegmentation",
            "Mask2FormerConfig",
            build=_mask2former,
            **SEES,
        ),
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
        Family("clip", "CLIPModel", "CLIPConfig", build=_clip, dynamic=("batch", "sequence", "images")),
        Family(
            "vision-encoder-decoder",
            "VisionEncoderDecoderModel",
            "VisionEncoderDecoderConfig",
            build=_captioner,
            parts=("encoder", "decoder"),
            dynamic=("batch",),
        ),
    )
}
