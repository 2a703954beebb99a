"""A real Chromium, and a visitor in it whom nothing may go wrong for unnoticed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol, TypedDict, Unpack

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    ViewportSize,
    sync_playwright,
)

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


class Options(TypedDict, total=False):
    """What a visitor's browser has, as `Browser.new_context` takes it."""

    viewport: ViewportSize
    has_touch: bool
    is_mobile: bool
    java_script_enabled: bool
    permissions: list[str]
    reduced_motion: Literal["reduce", "no-preference"]


class Open(Protocol):
    def __call__(self, address: str, locale: str = JAPANESE, **options: Unpack[Options]) -> Page: ...


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens a page in a context of its own; whatever goes wrong in the page's script fails the test."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def note_error(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(message.text)

    def visit(address: str, locale: str = JAPANESE, **options: Unpack[Options]) -> Page:
        usual: Options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
        given: Options = {**usual, **options}
        context = browser.new_context(locale=locale, **given)
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", note_error)
        host = re.match(r"https?://[^/]+", address)
        assert host
        own = host[0], "data:"

        def note_stranger(request: Request) -> None:
            if not request.url.startswith(own):
                faults.append(request.url)

        page.on("request", note_stranger)
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()
    # A refusal by the server is logged by the browser itself, and is no fault of the page.
    assert [fault for fault in faults if "the server responded with a status of" not in fault] == []


def laid(page: Page) -> None:
    """Waits until every dish on the table has its picture, so that nothing of the page's own waits for the kitchen."""
    until(lambda: bool(page.locator(".menu img").evaluate_all("all => all.every(i => i.complete && i.naturalWidth)")))


def eventually(page: Page, condition: Callable[[], object], pause: float = 20) -> None:
    """Waits for what the page brings about; looks every `pause` milliseconds, in which the page's events come in."""

    def met() -> object:
        page.wait_for_timeout(pause)
        return condition()

    until(met)


def requested(page: Page, part: str = "") -> list[str]:
    """The addresses that the page asks for from now on, of those that contain this part."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if part in request.url:
            asked.append(request.url)

    page.on("request", note)
    return asked


def follow(page: Page, link: Locator) -> None:
    """Clicks a link to another page and waits for that page's scripts: before them, its own links are plain ones."""
    with page.expect_event("load"):
        link.click()
