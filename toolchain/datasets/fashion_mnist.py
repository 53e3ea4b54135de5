"""Fashion-MNIST: 70,000 grey photographs of clothes, 28x28, in ten classes (Xiao, Rasul, Vollgraf 2017).

Debian's package dataset-fashion-mnist carries the files, in the idx format of MNIST: four bytes 0, 0, dtype
(8: uint8), rank; then the sizes as big-endian uint32; then the values.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PACKAGE = "dataset-fashion-mnist"
FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
# Mean and standard deviation of the training pixels, from 0 to 255.
MEAN, DEVIATION = 72.94, 90.02
_HEADER = 4


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Normalised images, float32 [n, 1, 28, 28], and their classes, int64 [n].

    Args:
        split: "train" (60,000) or "test" (10,000).
    """
    import numpy as np

    pixels, labels = (read_idx(FOLDER / name) for name in FILES[split])
    return ((pixels[:, None] - np.float32(MEAN)) / np.float32(DEVIATION)), labels.astype(np.int64)


def read_idx(path: Path) -> np.ndarray:
    """The array of a gzipped idx file of uint8.

    Raises:
        ValueError: It is no such file, or shorter or longer than it says.
    """
    import numpy as np

    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is no idx file of uint8")
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, _HEADER).astype(int)
    return np.frombuffer(data, np.uint8, offset=_HEADER * (1 + rank)).reshape(shape)
