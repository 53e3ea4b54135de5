"""A page of edgepack's in a headless Chromium, with everything that it says and asks for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import BrowserContext, Dialog, Page, ViewportSize, sync_playwright

PROBES = (Path(__file__).parent / "probes.js").read_text(encoding="utf-8").partition("\n")[2]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 180_000
"""A busy machine takes minutes to read megabytes of plotly.js; an idle one less than a second."""
WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
SMALL_PHONE: ViewportSize = {"width": 320, "height": 600}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


class Visit:
    """An open page: what it wrote on the console, and every address that it asked for."""

    def __init__(self, context: BrowserContext, file: Path) -> None:
        self.url = file.as_uri()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_viewport_size(WIDE)
        self.page.goto(self.url)
        self.settle()

    def _dialog(self, dialog: Dialog) -> None:
        self.said.append("dialog")
        dialog.dismiss()

    def probe(self, name: str, *arguments: str) -> Any:
        """Call one function of probes.js in the page."""
        return self.page.evaluate(f"({PROBES}).{name}({', '.join(map(json.dumps, arguments))})")

    def settle(self) -> None:
        """Wait until every plot is drawn for the width there is."""
        self.page.wait_for_function(f"() => ({PROBES}).settled()")

    def resize(self, size: ViewportSize) -> None:
        """Another window, and the plots drawn anew."""
        self.page.set_viewport_size(size)
        self._redrawn()

    def _redrawn(self) -> None:
        """The page hears of a change with the next frame, and what was drawn before it would pass for settled."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.settle()

    def check_fits(self, *sizes: ViewportSize) -> None:
        """Nothing is wider than the window, at any of the sizes (by default a desk's and two phones')."""
        for size in sizes or (PHONE, SMALL_PHONE, WIDE):
            self.resize(size)
            assert self.probe("overflow") <= 0, size

    def check_can_be_read(self) -> int:
        """Enough contrast, light and dark; how many texts were looked at."""
        seen = 0
        for scheme in SCHEMES:
            self.page.emulate_media(color_scheme=scheme)
            self._redrawn()
            found = self.probe("lowContrast")
            assert found["bad"] == [], scheme
            seen += found["seen"]
        return seen

    def check_structure(self) -> None:
        """One heading of the first level, no level left out, and nothing that assistive technology stumbles over."""
        found = self.probe("structure")
        levels = found.pop("levels")
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels)), levels
        assert {name: wrong for name, wrong in found.items() if wrong} == {}

    def check_names_stayed_names(self) -> None:
        """What came as text became no link, no picture and no script, and a phone still has room for it."""
        assert self.page.locator("a:not([href^='#']), svg a, img[src='x']").count() == 0
        self.check_fits(PHONE)

    def check_quiet(self) -> None:
        """Nothing was said on the console, and nothing asked for but the page itself."""
        assert self.said == []
        assert self.requests == [self.url]

    def close(self) -> None:
        """Close the page, which was quiet to its end."""
        self.page.close()
        self.check_quiet()


@contextmanager
def browser(chromium: str, profile: Path) -> Iterator[BrowserContext]:
    """A Chromium with an empty profile, light by default."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, headless=True, args=ARGUMENTS, color_scheme="light"
        )
        opened.set_default_timeout(PATIENCE_MS)
        yield opened
        opened.close()
