"""The page in a real Chromium: typed to by hand, through an input method, without JavaScript, by keyboard alone."""

from __future__ import annotations

import re
import time
from email.utils import formatdate

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from app.application import create_app
from app.settings import Settings
from tests.browser.conftest import Open, laid
from tests.serving import FakePipeline, cafeteria, chromium, serve, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium() is None, reason="no Chromium on PATH (chromium, chromium-browser, google-chrome)"
    ),
]

NAME = "ピリ辛サーモンパフェ"
# A page's text for each language, as its own words are tested elsewhere.
JAPANESE, ENGLISH = "ja-JP", "en-US"


def pictures(page: Page) -> Locator:
    return page.locator("#orders img.picture")


def is_drawn(image: Locator) -> bool:
    return bool(image.evaluate("image => image.complete && image.naturalWidth === 256"))


@pytest.mark.parametrize(("locale", "name"), [(JAPANESE, NAME), (ENGLISH, "smoky beetroot ramen")])
def test_typing_a_name_and_enter_brings_pictures(url: str, visit: Open, locale: str, name: str) -> None:
    page = visit(url, locale)
    page.keyboard.press("Tab")
    page.get_by_role("textbox").click()
    page.keyboard.insert_text(name)
    page.keyboard.press("Enter")
    expect(pictures(page)).to_have_count(4)
    for image in pictures(page).all():
        assert is_drawn(image)
        assert name in (image.get_attribute("alt") or "")
    expect(page.get_by_role("status")).to_contain_text(name)
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    # Its address brings the same pictures again, also to somebody else and without a script.
    seeds = page.locator(".order .seed").all_inner_texts()
    again = visit(page.url, locale, java_script_enabled=False)
    assert again.locator(".order .seed").all_inner_texts() == seeds


def test_a_sketch_is_shown_until_the_picture_covers_it(visit: Open) -> None:
    pipeline = FakePipeline()
    with cafeteria(pipeline) as url:
        page = visit(url)
        laid(page)
        pipeline.gate.clear()
        page.get_by_role("textbox").fill(NAME)
        page.keyboard.press("Enter")
        expect(page.locator("img.sketch")).to_have_count(4)
        assert page.locator("img.sketch").first.evaluate("i => getComputedStyle(i).filter").startswith("blur")
        expect(pictures(page)).to_have_count(0)
        pipeline.gate.set()
        expect(pictures(page)).to_have_count(4)
        page.close()


def test_enter_while_composing_orders_nothing(url: str, visit: Open) -> None:
    page = visit(url)
    orders: list[str] = []
    page.on("request", lambda request: request.method == "POST" and orders.append(request.url))
    box = page.get_by_role("textbox")
    box.click()
    # As an input method does it: a composition is under way, and Enter is its own key to settle it.
    devtools = page.context.new_cdp_session(page)
    devtools.send("Input.imeSetComposition", {"text": "サーモン", "selectionStart": 4, "selectionEnd": 4})
    expect(box).to_have_value("サーモン")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert orders == []
    # Safari has ended the composition before it reports its key as 229.
    prevented = box.evaluate(
        """box => !box.dispatchEvent(new KeyboardEvent("keydown",
            { key: "Enter", keyCode: 229, cancelable: true, bubbles: true }))"""
    )
    assert prevented
    devtools.send("Input.insertText", {"text": "サーモン"})
    page.keyboard.press("Enter")
    expect(pictures(page)).to_have_count(4)
    assert len(orders) == 1


def test_without_javascript_the_form_brings_a_page(url: str, visit: Open) -> None:
    page = visit(url, java_script_enabled=False)
    page.get_by_role("textbox").fill(NAME)
    page.get_by_role("combobox").select_option("2")
    page.get_by_role("button", name="注文する").click()
    expect(page).to_have_url(re.compile(f"^{url}/[?]name="))  # which can be gone back to, and shared
    expect(pictures(page)).to_have_count(2)
    until(lambda: all(is_drawn(image) for image in pictures(page).all()))
    page.get_by_role("button", name="おまかせ").click()
    expect(page.get_by_role("textbox")).not_to_have_value(NAME)  # the old page has two pictures too
    expect(page.get_by_role("textbox")).not_to_have_value("")
    expect(pictures(page)).to_have_count(2)
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Imaginary Cafeteria")


def test_a_surprise_writes_a_name_and_serves_it(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    page.get_by_role("button", name="Surprise me").click()
    expect(pictures(page)).to_have_count(4)
    name = page.get_by_role("textbox").input_value()
    assert name
    expect(page.locator(".order h3")).to_have_text(name)


def test_a_dish_of_todays_menu_can_be_ordered(url: str, visit: Open) -> None:
    page = visit(url)
    dish = page.locator(".menu a").nth(2)
    name, seed = dish.get_attribute("data-name"), dish.get_attribute("data-seed")
    dish.click()
    expect(pictures(page)).to_have_count(4)
    expect(page.locator(".order h3")).to_have_text(name or "")
    assert seed in page.locator(".order .seed").first.inner_text()


def test_back_leads_to_the_order_before(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    for name in ("tea", "cake"):
        page.get_by_role("textbox").fill(name)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(f"{name}: ready")
    seeds = page.locator(".order .seed").all_inner_texts()
    page.go_back()
    expect(page.locator(".order h3")).to_have_text(["tea"])
    assert page.locator(".order .seed").all_inner_texts() == seeds[4:]
    expect(page.get_by_role("textbox")).to_have_value("tea")
    page.wait_for_load_state()  # with its scripts
    page.go_forward()
    expect(page.locator(".order h3")).to_have_text(["cake"])
    assert page.locator(".order .seed").all_inner_texts() == seeds[:4]
    # A link into the page is no other order.
    page.evaluate("window.same = true")
    page.get_by_role("link", name="Skip").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))
    page.go_back()
    expect(page).not_to_have_url(re.compile("#main$"))
    assert page.evaluate("window.same")


def test_the_next_order_takes_the_place_of_one_in_the_making(visit: Open) -> None:
    pipeline = FakePipeline()
    with cafeteria(pipeline) as url:
        page = visit(url, ENGLISH)
        laid(page)
        pipeline.gate.clear()
        for name in ("first", "second"):
            page.get_by_role("textbox").fill(name)
            page.keyboard.press("Enter")
            expect(page.locator(".order h3").first).to_have_text(name)
        pipeline.gate.set()
        expect(pictures(page)).to_have_count(4)
        expect(page.locator(".order h3")).to_have_text(["second"])
        expect(page.get_by_role("status")).to_contain_text("second: ready")
        page.close()


def test_a_full_kitchen_is_said_kindly_and_tried_again(visit: Open) -> None:
    pipeline = FakePipeline()
    app = create_app(Settings(queue=8), pipeline)
    with serve(app) as url:
        page = visit(url, ENGLISH)
        laid(page)
        pipeline.gate.clear()
        crowd = visit(url, ENGLISH)
        crowd.get_by_role("combobox").select_option("8")
        crowd.get_by_role("textbox").fill("the whole house")
        crowd.keyboard.press("Enter")
        until(lambda: app.state.pictures.engine.depth == 8)
        page.get_by_role("textbox").fill("tea")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("The kitchen is full")
        expect(page.get_by_role("status")).to_contain_text("Trying again in 1 s")
        pipeline.gate.set()
        expect(pictures(page)).to_have_count(4)
        # Those who follow a link to an order meanwhile get its pictures too.
        expect(pictures(crowd)).to_have_count(8)
        pipeline.gate.clear()
        crowd.keyboard.press("Enter")
        until(lambda: app.state.pictures.engine.depth == 8)
        guest = visit(f"{url}/?name=cake&seed=2&n=3", ENGLISH)
        expect(guest.get_by_role("status")).to_contain_text("The kitchen is full")
        pipeline.gate.set()
        until(lambda: all(is_drawn(image) for image in pictures(guest).all()))
        expect(guest.get_by_role("status")).to_be_empty()
        for one in (crowd, page, guest):
            one.close()


@pytest.mark.parametrize("dated", [False, True])
def test_a_proxy_that_is_busy_is_waited_for_as_the_kitchen_is(url: str, visit: Open, dated: bool) -> None:
    page = visit(url)

    def refuse(route: Route) -> None:
        after = formatdate(time.time() + 2, usegmt=True) if dated else "1"
        route.fulfill(status=503, headers={"Retry-After": after}, body="Request dropped")

    page.route("**/generate", refuse, times=1)
    page.get_by_role("textbox").fill(NAME)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("満杯")
    expect(pictures(page)).to_have_count(4)


def test_a_name_that_cannot_be_read_is_said_at_the_box(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    box = page.get_by_role("textbox")
    box.fill("\u200b")
    page.keyboard.press("Enter")
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(box).to_have_accessible_description(re.compile("Which dish"))
    box.fill("tea")
    page.keyboard.press("Enter")
    expect(pictures(page)).to_have_count(4)
    expect(box).not_to_have_attribute("aria-invalid", "true")


def test_a_number_is_kept_for_the_next_order(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    page.get_by_role("textbox").fill("tea")
    page.keyboard.press("Enter")
    expect(pictures(page)).to_have_count(4)
    seed = page.locator("#orders .seed").nth(1)
    number = seed.inner_text().removeprefix("No. ")
    seed.click()
    expect(page.get_by_role("spinbutton")).to_have_value(number)
    expect(page.get_by_role("status")).to_contain_text(f"Plate {number} pinned")
    page.keyboard.type("cake")  # the name is ready to be typed over
    page.keyboard.press("Enter")
    expect(page.locator(".order h3").first).to_have_text("cake")
    assert page.locator("#orders .seed").first.inner_text() == f"No. {number}"


def test_a_streamed_picture_has_a_file_name_for_the_browsers_own_menu(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    page.get_by_role("textbox").fill("tea")
    page.keyboard.press("Enter")
    image = pictures(page).first
    expect(image).to_be_visible()
    image.dispatch_event("contextmenu")
    address = image.evaluate("image => image.src")
    assert address.startswith(f"{url}/dish.png?name=tea&seed=")
    assert "tea-" in page.request.get(address).headers["content-disposition"]


def test_a_picture_can_be_saved(url: str, visit: Open) -> None:
    page = visit(f"{url}/?name=tea&seed=5&n=1", ENGLISH)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Save picture no. 5 of tea").click()
    assert waiting.value.suggested_filename == "tea-5.png"


def test_keyboard_alone(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )
        style = page.evaluate(
            "getComputedStyle(document.activeElement)[['outlineStyle', 'borderBottomColor'][0]]"
        )
        assert style != "none" or reached[-1] == "name"  # the box shows its focus by its line
    assert [at for at in reached if at in ("name", "n", "surprise")] == ["name", "n", "surprise"]
    page.get_by_role("textbox").focus()
    page.keyboard.type("tea")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(pictures(page)).to_have_count(4)


@pytest.mark.parametrize("path", ["/", "/?name=tea&seed=1&n=8", "/docs", "/nowhere"])
def test_nothing_is_wider_than_the_window(url: str, visit: Open, path: str) -> None:
    page = visit(f"{url}{path}")
    for width in (320, 1440, 3840):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("document.documentElement.style.fontSize = '200%'")  # as one may set it in the browser
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_those_who_want_no_motion_see_none(url: str, visit: Open) -> None:
    assert visit(url, reduced_motion="no-preference").evaluate("document.getAnimations().length") > 0
    assert visit(url, reduced_motion="reduce").evaluate("document.getAnimations().length") == 0


def test_a_number_outlasts_a_reload(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    for number in ("42", ""):
        page.locator("#seed").fill(number)
        page.locator("#name").fill("tea")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("tea: ready")
        page.reload()
        expect(page.locator("#seed")).to_have_value(number)


def test_what_is_said_of_a_links_model_goes_with_its_order(url: str, visit: Open) -> None:
    page = visit(f"{url}/?name=tea&seed=1&n=1&model=000000000000", ENGLISH)
    expect(page.locator("#made-by")).to_contain_text("000000000000")
    page.get_by_role("textbox").first.fill("cake")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("cake: ready")
    expect(page.locator("#made-by")).to_have_count(0)


def test_another_language_brings_the_order_along(url: str, visit: Open) -> None:
    page = visit(f"{url}/?name=tea&seed=1&n=1", ENGLISH)
    page.get_by_role("textbox").fill(NAME)
    page.keyboard.press("Enter")
    expect(page.locator(".order h3").first).to_have_text(NAME)
    seed = page.locator("#orders .seed").first.get_attribute("data-seed")
    page.get_by_role("link", name="日本語").click()
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    expect(page.locator(".order h3")).to_have_text([NAME])
    assert page.locator("#orders .seed").get_attribute("data-seed") == seed


def test_the_language_is_kept(url: str, visit: Open) -> None:
    page = visit(url)
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    page.get_by_role("link", name="English").click()
    page.goto(f"{url}/docs")
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_the_javascript_example_runs(url: str, visit: Open) -> None:
    page = visit(f"{url}/docs", ENGLISH)
    code = page.locator("#example-javascript").inner_text()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    # The page's policy forbids evaluating text; the DevTools protocol may, as a visitor's own console.
    devtools = page.context.new_cdp_session(page)
    devtools.send("Runtime.evaluate", {"expression": f"(async () => {{ {code} }})()", "awaitPromise": True})
    until(lambda: page.wait_for_timeout(20) or said)
    assert [line.split()[0] for line in said[0].splitlines()] == ["7", "8"]
