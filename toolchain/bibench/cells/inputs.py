"""What one input of a task looks like: an image, or a row of token numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Sizes of one input.

    Attributes:
        length: Tokens of a sequence; rows and columns of a square image.
        channels: Of an image; 0 for tokens.
        vocabulary: How many different tokens; 0 for images.
    """

    length: int
    channels: int = 0
    vocabulary: int = 0
