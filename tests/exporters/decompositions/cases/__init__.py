"""One or more cases for every decomposition: a torch function, and inputs of a given length."""

from tests.exporters.decompositions.cases import distance, matrices, order, places, pooling, special

CASES = [case for group in (order, special, distance, places, pooling, matrices) for case in group.CASES]
