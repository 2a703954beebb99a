"""Accessibility by axe (WCAG 2.2 AA and its best practices): every page, both languages, both themes."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, follow
from tests.serving import chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium() is None, reason="no Chromium on PATH (chromium, chromium-browser, google-chrome)"
    ),
]

PAGES = (
    "/",
    "/?name=tea&seed=1&n=2",
    "/?name=%E2%80%8B",
    "/dish?name=親子丼&seed=7&path=2.1&off=0&mix=-1:卵&mix=0.5:鮭&to=カレー&t=0.5&nearest=1",
    "/dish?name=tea&seed=7&shared=1",
    "/table?names=tea%0Acake&n=2&seed=1",
    "/menu?dish=name%3Dtea%26seed%3D1",
    "/table?names=tea&n=3&seed=1&by=morph&word=cake",
    "/omakase?name=tea&seed=1",
    "/docs",
    "/nowhere",
)


def faults(page: Page) -> list[str]:
    # The page's policy lets no script in but its own; axe comes through the DevTools protocol, as an extension does.
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    return [
        f"{violation['id']}: {node['html'][:160]}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(url: str, visit: Open, path: str) -> None:
    for locale in ("ja-JP", "en-US"):
        page = visit(url + path, locale)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert faults(page) == []


def test_axe_finds_nothing_while_one_plays(url: str, visit: Open) -> None:
    page = visit(url, "en-US")
    page.get_by_role("textbox").fill("tea")
    page.keyboard.press("Enter")
    page.locator("#orders .heart").first.click()
    expect(page.locator("#shelf li")).to_have_count(1)
    assert faults(page) == []
    page.locator("#orders a.dish").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    follow(page, page.get_by_role("link", name="Play with").first)
    page.locator("#pantry-1-more").click()
    expect(page.get_by_role("status")).to_contain_text("redrawn")
    page.keyboard.press("?")
    expect(page.locator("#keys dt")).not_to_have_count(0)
    assert faults(page) == []
