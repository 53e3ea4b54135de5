"""Fixtures of the tests that open pages: one Chromium a module, and the module's page as a reader finds it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext

from tests.toolchain.browsing import WIDE, Visit, browser


@pytest.fixture(scope="module")
def context(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A Chromium with an empty profile."""
    with browser(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def opened(once: Visit) -> Iterator[Visit]:
    """The page that the module's `once` opened (loading it is what takes time), light and wide.

    Whatever a test does with it, it must stay quiet and ask for nothing.
    """
    once.page.emulate_media(color_scheme="light")
    once.resize(WIDE)
    yield once
    once.check_quiet()
