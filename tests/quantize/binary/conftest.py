"""The library of native operators."""

from __future__ import annotations

from tests.runtime.kernels.conftest import library

__all__ = ["library"]
