"""A real Chromium, and a visitor in it whom nothing may go wrong for unnoticed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright

from app.application import create_app
from app.settings import Settings
from model.pipeline import Pipeline
from tests.conftest import knowing
from tests.serving import chromium, serve, until

JAPANESE = "ja-JP"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",  # containers run as root
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(tiny_checkpoint: Path) -> Iterator[str]:
    with serve(create_app(Settings(), knowing(Pipeline.load(tiny_checkpoint, "cpu")))) as url:
        yield url


Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens a page in a context of its own; whatever goes wrong in the page's script fails the test."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def visit(address: str, locale: str = JAPANESE, wait_until: str = "load", **options: object) -> Page:
        options = {
            "locale": locale,
            "viewport": {"width": 1280, "height": 800},
            "reduced_motion": "reduce",
            **options,
        }
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        host = re.match(r"https?://[^/]+", address)
        assert host
        page.on(
            "request",
            lambda request: request.url.startswith((host[0], "data:")) or faults.append(request.url),
        )
        page.goto(address, wait_until=wait_until)
        return page

    yield visit
    for context in contexts:
        context.close()
    # A refusal by the server is logged by the browser itself, and is no fault of the page.
    assert [fault for fault in faults if "the server responded with a status of" not in fault] == []


def laid(page: Page) -> None:
    """Waits until every dish on the table has its picture, so that nothing of the page's own waits for the kitchen."""
    until(lambda: bool(page.locator(".menu img").evaluate_all("all => all.every(i => i.complete && i.naturalWidth)")))


def follow(page: Page, link: Locator) -> None:
    """Clicks a link to another page and waits for that page's scripts: before them, its own links are plain ones."""
    with page.expect_event("load"):
        link.click()
