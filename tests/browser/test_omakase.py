"""One made-up dish after the other, and names side by side, in both languages on a telephone and a desk."""

from __future__ import annotations

import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Open, follow
from tests.serving import chromium, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium() is None, reason="no Chromium on PATH (chromium, chromium-browser, google-chrome)"
    ),
]

VISITORS = pytest.mark.parametrize(("locale", "width"), [("ja-JP", 390), ("en-US", 1440)])


@VISITORS
def test_one_made_up_dish_follows_the_other(url: str, visit: Open, locale: str, width: int) -> None:
    page = visit(url, locale, viewport={"width": width, "height": 844}, has_touch=width == 390)
    follow(page, page.locator(".endless"))
    name, picture = page.get_by_role("heading", level=1), page.locator(".dish .picture")
    first = name.inner_text()
    until(lambda: picture.evaluate("i => i.complete && i.naturalWidth === 256"))
    page.locator("#next").click()
    expect(name).not_to_have_text(first)
    expect(picture).to_have_attribute("alt", name.inner_text())
    until(lambda: picture.evaluate("i => i.complete && i.naturalWidth === 256"))
    second = name.inner_text()
    if width == 390:
        devtools = page.context.new_cdp_session(page)
        for kind, x in (("touchStart", 300), ("touchMove", 200), ("touchEnd", None)):
            points = [] if x is None else [{"x": x, "y": 300}]
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    else:
        page.keyboard.press("ArrowRight")
    expect(name).not_to_have_text(second)
    page.locator("#previous").click()
    expect(name).to_have_text(second)
    page.locator(".heart").click()
    page.reload()
    expect(name).to_have_text(second)
    expect(page.locator(".heart")).to_have_attribute("aria-pressed", "true")
    page.locator(".taste").click()
    expect(page.locator("#counter h1")).to_have_text(second)


@VISITORS
def test_names_are_compared_and_saved_as_one_picture(url: str, visit: Open, locale: str, width: int) -> None:
    page = visit(f"{url}/table", locale, viewport={"width": width, "height": 844})
    word = page.locator("[name=word]")
    expect(word).to_be_hidden()
    page.locator("#names").fill("tea\n月夜のかぼちゃグラタン")
    page.locator("#by").select_option("amount")
    word.fill("卵")
    page.locator("[name=n]").select_option("3")
    page.locator("form .primary").click()
    expect(page.locator(".grid img")).to_have_count(6)
    expect(page).to_have_url(re.compile("seed=[0-9]+"))
    expect(page.get_by_role("columnheader").last).to_have_text("卵 +1.5")
    with page.expect_download() as waiting:
        page.locator("#save-table").click()
    with Image.open(waiting.value.path()) as table:
        assert table.size == (240 + 3 * 268, 64 + 2 * 268)
        assert len({table.convert("RGB").getpixel((300, y)) for y in (200, 460)}) == 2  # two names, two dishes
