"""Networks that see: classes, segments, boxes."""

from __future__ import annotations

from typing import Any

from tests.exporters.families.family import VISION, Family

SEES: dict[str, Any] = {"dynamic": ("batch",)}


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


FAMILIES = (
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
)
