"""Every family by its model_type, in the order of docs/families.md: what the tests and that page run."""

from __future__ import annotations

from tests.exporters.families import (
    decoders,
    encoder_decoders,
    speech,
    text_encoders,
    vision,
    vision_and_text,
)
from tests.exporters.families.family import Family

KINDS = (decoders, encoder_decoders, text_encoders, vision, speech, vision_and_text)
FAMILIES: dict[str, Family] = {family.name: family for kind in KINDS for family in kind.FAMILIES}
