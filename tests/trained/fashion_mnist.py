"""Fashion-MNIST for the tests: read by edgepack's own `toolchain/datasets`, under the name that the tests know."""

from __future__ import annotations

from edgepack.toolchain.datasets.fashion_mnist import (
    CLASSES,
    DEVIATION,
    FILES,
    FOLDER,
    MEAN,
    PACKAGE,
    load,
    read_idx,
)

__all__ = ["CLASSES", "DEVIATION", "FILES", "FOLDER", "MEAN", "PACKAGE", "load", "read_idx"]
