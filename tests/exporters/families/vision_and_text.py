"""Images and text together."""

from __future__ import annotations

from typing import Any

from tests.exporters.families.family import GPT, TEXT, VISION, Family


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


FAMILIES = (
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
