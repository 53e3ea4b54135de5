"""Cases of every operator that the converter translates, by subject."""

from tests.targets.mobile.tflite.cases import images, numbers, parts, products, statistics

CASES = [*numbers.CASES, *products.CASES, *parts.CASES, *statistics.CASES, *images.CASES]
