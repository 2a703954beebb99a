"""The page in a real Chromium: typed to by hand, through an input method, without JavaScript, by keyboard alone."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Request, Route, expect

from app.application import create_app
from app.settings import Settings
from model.png import read_metadata
from tests.browser.conftest import Open, eventually, laid
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
    expect(page).to_have_title(re.compile(f"^{name} – "))
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

    def note(request: Request) -> None:
        if request.method == "POST":
            orders.append(request.url)

    page.on("request", note)
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
    assert name and seed
    dish.click()
    expect(pictures(page)).to_have_count(4)
    expect(page.locator(".order h3")).to_have_text(name)
    assert seed in page.locator(".order .seed").first.inner_text()


@pytest.mark.parametrize(("locale", "width"), [(JAPANESE, 390), (ENGLISH, 1440)])
def test_back_and_reload_bring_the_table_again(url: str, visit: Open, locale: str, width: int) -> None:
    page = visit(url, locale, viewport={"width": width, "height": 844})
    names, seeds = page.locator(".order h3"), page.locator(".order .seed")
    for name in ("tea", "cake", "pie"):
        page.locator("#name").fill(name)
        page.locator("#n").select_option("2")
        page.keyboard.press("Enter") if width > 400 else page.locator("#form .primary").click()
        expect(names.first).to_have_text(name)
        expect(pictures(page)).to_have_count(2 * names.count())
    all_seeds = seeds.all_inner_texts()
    page.reload()
    expect(names).to_have_text(["pie", "cake", "tea"])
    assert seeds.all_inner_texts() == all_seeds
    until(lambda: all(is_drawn(image) for image in pictures(page).all()))
    expect(page.locator(".plate.empty")).to_have_count(0)
    page.go_back()
    expect(names).to_have_text(["cake", "tea"])
    expect(page.locator("#name")).to_have_value("cake")
    # To another page and back, too.
    page.locator("#orders .taste").first.click()
    expect(page.locator("#counter")).to_be_visible()
    page.go_back()
    expect(names).to_have_text(["cake", "tea"])
    page.wait_for_load_state()  # with its scripts
    page.go_back()
    expect(names).to_have_text(["tea"])
    assert seeds.all_inner_texts() == all_seeds[4:]
    # A link into the page is no other order.
    page.evaluate("window.same = true")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#name$"))
    page.go_back()
    expect(page).not_to_have_url(re.compile("#name$"))
    assert page.evaluate("window.same")


@pytest.mark.parametrize("locale", [JAPANESE, ENGLISH])
@pytest.mark.parametrize(("width", "height", "touch"), [(390, 460, True), (1440, 900, False)])
def test_what_is_ordered_comes_into_sight(
    url: str, visit: Open, locale: str, width: int, height: int, touch: bool
) -> None:
    page = visit(url, locale, viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch)
    box, status = page.locator("#name"), page.get_by_role("status")
    box.fill("tea")
    page.keyboard.press("Enter")
    expect(pictures(page)).to_have_count(4)
    expect(pictures(page).first).to_be_in_viewport(ratio=0.99)
    expect(page.locator(".order h3")).to_be_in_viewport()
    expect(box).not_to_be_focused() if touch else expect(box).to_be_focused()
    said = status.bounding_box()
    assert said and said["width"] <= 1  # the plates say it
    assert not re.search("[0-9] ?(s|秒)", status.inner_text())
    # A picture can be pressed for long, saved and opened as what it is.
    image = pictures(page).first
    assert image.evaluate(
        """image => {
            const { left, top, width, height } = image.getBoundingClientRect();
            return document.elementFromPoint(left + width / 2, top + height / 2) === image;
        }"""
    )
    # The number of an older order fills a box that is in sight then.
    box.fill("cake")
    page.locator("#form .primary").click()
    expect(page.locator(".order h3").first).to_have_text("cake")
    expect(status).to_contain_text(re.compile("ready|できました"))
    page.locator(".order").nth(1).locator(".seed").last.click()
    expect(page.locator("#seed")).to_be_in_viewport()
    expect(box).to_be_focused()
    assert said["width"] <= 1 and (status.bounding_box() or said)["width"] > 100
    # What a telephone has no use for is not offered there.
    for of_a_desk in (page.locator("#show-keys"), page.locator(".reopen .for-mouse")):
        expect(of_a_desk).to_be_hidden() if touch else expect(of_a_desk).to_be_visible()


@pytest.mark.parametrize(("locale", "width"), [(JAPANESE, 390), (ENGLISH, 1440)])
def test_several_lines_and_long_names_are_not_swallowed(
    url: str, visit: Open, locale: str, width: int
) -> None:
    page = visit(url, locale, viewport={"width": width, "height": 844})
    paste = """(box, text) => {
        const clipboardData = new DataTransfer();
        clipboardData.setData("text", text);
        box.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    }"""
    box = page.locator("#name")
    assert box.get_attribute("maxlength") == "80"
    box.evaluate(paste, "x" * 81)
    expect(page.get_by_role("status")).to_contain_text("80")
    expect(page.locator("#several")).to_be_hidden()
    box.evaluate(paste, "tea\n\nカレーうどん\npie\n")
    offer = page.locator("#several a")
    expect(offer).to_contain_text("3")
    offer.click()
    expect(page.locator(".grid tbody tr")).to_have_count(3)
    # The number that was drawn stays, in the address too.
    assert re.search("seed=[0-9]+", page.url)
    columns = page.locator(".grid thead th").all_inner_texts()
    page.reload()
    assert page.locator(".grid thead th").all_inner_texts() == columns
    page.locator(".languages a:not([aria-current])").click()
    assert page.locator(".grid thead th").all_inner_texts() == columns


@pytest.mark.parametrize(("locale", "width"), [(JAPANESE, 390), (ENGLISH, 1440)])
def test_a_plate_is_enlarged_turned_saved_and_shared(
    url: str, visit: Open, locale: str, width: int
) -> None:
    touch = width == 390
    page = visit(
        f"{url}/?name=tea&seed=5&n=3",
        locale,
        viewport={"width": width, "height": 844},
        has_touch=touch,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page.locator("#orders a.dish").first.click()
    dialog = page.get_by_role("dialog")
    number = dialog.locator(".seed")
    expect(number).to_have_text("No. 5")
    image = dialog.locator(".picture")
    until(lambda: is_drawn(image))
    box = image.bounding_box()
    assert box and box["width"] > (300 if touch else 400)
    if touch:
        devtools = page.context.new_cdp_session(page)
        for kind, x in (("touchStart", 300), ("touchMove", 200), ("touchEnd", None)):
            points = [] if x is None else [{"x": x, "y": box["y"] + 50}]
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    else:
        page.keyboard.press("ArrowRight")
    expect(number).to_have_text("No. 6")
    dialog.locator(".turn.back").click()
    dialog.locator(".turn.back").click()
    expect(number).to_have_text("No. 7")
    with page.expect_download() as waiting:
        dialog.locator(".save").click()
    assert read_metadata(Path(waiting.value.path()).read_bytes())["Seed"] == "7"
    with page.expect_download() as waiting:
        dialog.locator(".save-large").click()
    with Image.open(waiting.value.path()) as large:
        assert large.size == (1024, 1024)
    share = dialog.locator(".share")
    if touch:
        page.evaluate("() => { window.shared = []; navigator.share = async (what) => window.shared.push(what.url); }")
        page.evaluate("window.matchMedia = () => ({ matches: true })")
        share.locator("summary").click()
        link = page.evaluate("window.shared[0]")
    else:
        share.locator("summary").click()
        for site, host in ((".on-x", "x.com"), (".on-line", "line.me")):
            assert host in (share.locator(site).get_attribute("href") or "")
        share.locator(".permalink").click()
        expect(page.get_by_role("status")).not_to_be_empty()
        link = page.evaluate("navigator.clipboard.readText()")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    # Whoever opens the link sees the dish, and an order of their own before everything that can be done with this one.
    friend = visit(link, locale, viewport={"width": width, "height": 844})
    expect(friend.locator(".seat .dish")).to_be_in_viewport(ratio=0.9)
    own = friend.locator("#own")
    own.fill("cake")
    own.press("Enter")
    expect(pictures(friend)).to_have_count(4)
    expect(friend.locator(".order h3")).to_have_text("cake")


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
    expect(page.get_by_role("textbox")).to_be_focused()
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
    assert [at for at in reached if at in ("name", "n", "surprise")] == ["name", "surprise", "n"]
    page.get_by_role("textbox").focus()
    page.keyboard.type("tea")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(pictures(page)).to_have_count(4)


@pytest.mark.parametrize("path", ["/", "/?name=tea&seed=1&n=8", "/docs", "/omakase", "/nowhere"])
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
    eventually(page, lambda: said)
    assert [line.split()[0] for line in said[0].splitlines()] == ["7", "8"]
