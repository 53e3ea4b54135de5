"""Complex numbers as pairs of real tensors, in an exported graph and at a part's inputs and outputs."""

from edgepack.exporters.pairs.boundary import real_boundary
from edgepack.exporters.pairs.interpreter import is_complex, without_complex

__all__ = ["is_complex", "real_boundary", "without_complex"]
