"""The report in a real browser: it draws offline, asks for nothing, and complains of nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.browser
def test_the_report_draws_offline(demos: list[tuple[str, Path]]) -> None:
    if CHROMIUM is None:
        message = "Chromium is not installed"
        if os.environ.get("INJECTPLAN_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)
    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((demos[1][1] / "report.html").as_uri())
        sizes = page.evaluate("Array.from(document.images).map(i => [i.complete, i.naturalWidth, i.alt])")
        heading = page.inner_text("h1")
        too_wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        purpose = page.inner_text("header .purpose")
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    assert len(sizes) >= 5
    assert all(done and width > 200 and alt for done, width, alt in sizes)
    assert heading == "knee, suprapatellar, lateral"
    assert not too_wide
    assert "not a medical device" in purpose
