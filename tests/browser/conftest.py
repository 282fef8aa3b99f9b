"""A JupyterLab for the whole test run, and a fresh Chromium page for each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the browser tests need `pip install -e .[lab,test]`")

from labdriver import CHROMIUM_FLAGS, Lab, end_kernels, find_chromium, serve
from playwright.sync_api import Page, sync_playwright


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path. Where CI is set its absence is a failure: there, these tests must run."""
    path = find_chromium()
    if path is None:
        message = "no Chromium found: `apt-get install chromium` (or Google Chrome) and try again"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return path


@pytest.fixture(scope="session")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serve(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def page(chromium: str, lab: Lab, tmp_path: Path) -> Iterator[Page]:
    """A page with a fresh profile; what it showed last stays in `tmp_path`.

    Made anew for each test: Playwright keeps an event loop running, which would break any later
    test that starts one of its own.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        yield page
        page.screenshot(path=tmp_path / "last_seen.png")
        browser.close()
    end_kernels(lab)
