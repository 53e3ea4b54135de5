"""What is done to a TFLite graph before it is written."""

from edgepack.targets.mobile._tflite.passes.simplify import simplify

__all__ = ["simplify"]
