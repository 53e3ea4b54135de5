"""A network that scores the classes of images, as a model of one part: of one size, or of any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.exporters.architectures._building import one_part

if TYPE_CHECKING:
    import torch

    from edgepack.exporters.sources.base import TorchModel


def classifier(
    name: str, net: torch.nn.Module, size: int, *, free: bool, reference: torch.nn.Module | None = None
) -> TorchModel:
    """From `pixel_values`, float32 [batch, 3, height, width], to `logits`.

    Args:
        name: The architecture's.
        net: The network.
        size: Height and width of the images that it is traced with, pixels.
        free: Whether height and width may be others; it is then compared with torch on such, and not square.
        reference: What the exported network is compared with, if not with `net`.
    """
    shape = f"height={size},width={size}" if free else f"{size},{size}"
    others = [
        {"batch": 1, "height": size, "width": size}, {"batch": 3, "height": size + 31, "width": size // 2}
    ]  # fmt: skip
    return one_part(
        name, net, "image-classification", f"pixel_values:float32[batch=2,3,{shape}]", outputs=["logits"],
        size_sets=others if free else (), reference=reference,
    )  # fmt: skip
