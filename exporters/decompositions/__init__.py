"""Operators that torch's ONNX exporter lacks, written with those that it has: see `decompose`."""

from edgepack.exporters.decompositions.apply import decompose

__all__ = ["decompose"]
