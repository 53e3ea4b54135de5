"""The limits of this core as a fixture: the loops are built once a module of tests."""

from __future__ import annotations

import pytest

from tests.benchmarks.binary import measure


@pytest.fixture(scope="module")
def peak(tmp_path_factory: pytest.TempPathFactory) -> measure.Limits:
    return measure.limits(tmp_path_factory.mktemp("limits"))
