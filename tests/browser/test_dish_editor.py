"""The seat at the counter in a real Chromium: each control redraws the dish, in place or by plain links."""

from __future__ import annotations

import io
import re
from functools import partial
from urllib.parse import unquote

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from app.application import create_app
from app.settings import Settings
from tests.browser.conftest import Open, eventually, laid, requested
from tests.serving import FakePipeline, chromium, serve, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium() is None, reason="no Chromium on PATH (chromium, chromium-browser, google-chrome)"
    ),
]

DISH = "/dish?name=親子丼&seed=7"
JAPANESE, ENGLISH = "ja-JP", "en-US"


def settled(page: Page, *contains: str) -> str:
    """Waits until the plate holds the dish of the page's address; its query."""
    expect(page.locator("#counter")).not_to_have_attribute("aria-busy", "true")
    for part in contains:
        expect(page).to_have_url(re.compile(re.escape(part)))
    picture = page.locator(".seat .picture")
    until(lambda: picture.evaluate("image => image.complete && image.naturalWidth === 256"))
    query = picture.get_attribute("src") or ""
    return query.partition("?")[2]


def drawn(page: Page) -> list[int]:
    """The pixels on top of the plate."""
    return page.evaluate(
        """() => {
            const image = [...document.querySelectorAll(".seat .dish img")].at(-1);
            const canvas = new OffscreenCanvas(16, 16).getContext("2d");
            canvas.drawImage(image, 0, 0, 16, 16);
            return [...canvas.getImageData(0, 0, 16, 16).data];
        }"""
    )


def test_a_plate_leads_to_the_counter(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    page.get_by_role("textbox").fill("tea")
    page.keyboard.press("Enter")
    expect(page.locator("#orders img.picture")).to_have_count(4)
    seed = page.locator(".order .seed").nth(1).inner_text().removeprefix("No. ")
    page.locator("#orders img.picture").nth(1).click()
    page.get_by_role("dialog").get_by_role("link", name="Play with it").click()
    assert settled(page, "/dish?") == f"name=tea&seed={seed}"
    expect(page.get_by_role("heading", level=1)).to_have_text("tea")


def test_variations_can_be_walked_down_and_back(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    page.get_by_role("link", name="Variation no. 7.2").click()
    settled(page, "path=2")
    page.get_by_role("link", name="Variation no. 7.2.1").click()
    settled(page, "path=2.1")
    family = page.get_by_role("navigation", name="Family tree")
    expect(family.get_by_role("link", name="Back to no. 7.2")).to_be_visible()
    page.get_by_role("link", name="Back to no. 7", exact=True).click()
    settled(page)
    assert "path" not in page.url
    page.go_back()
    assert "path=2.1" in settled(page, "path=2.1")
    page.reload()
    assert "path=2.1" in settled(page, "path=2.1")


def test_an_ingredient_is_added_and_another_taken(url: str, visit: Open) -> None:
    page = visit(url + DISH)
    before = drawn(page)
    page.get_by_label("好きな言葉や料理").fill("卵")
    page.get_by_role("button", name="引く").click()
    settled(page, "mix=-1%3A%E5%8D%B5")
    expect(page.get_by_role("heading", level=1)).to_have_text("親子丼")
    expect(page.locator(".chip")).to_have_text(["− 卵"])
    expect(page.get_by_role("status")).to_contain_text("描き直しました")
    assert drawn(page) != before
    page.locator("#pantry-3-more").click()
    settled(page, "mix=0.5")
    expect(page.locator(".portion b")).to_have_count(2)
    page.locator(".chips").get_by_role("link", name="卵を元に戻す").click()
    expect(page.locator(".portion b")).to_have_text(["+0.5"])


@pytest.mark.parametrize("width", [390, 1280])
def test_a_second_tap_at_the_same_place_adds_the_same_again(url: str, visit: Open, width: int) -> None:
    page = visit(url + "/dish?name=ramen&seed=7", viewport={"width": width, "height": 844})
    settled(page)
    # At the end of a line, too, where a pill that grew would move to the next one, and among other ingredients.
    for k, pantry in ((1, 0), (3, 0), (5, 0), (6, 0), (8, 0), (3, 1)):
        page.goto(f"{url}/dish?name=ramen&seed=7&pantry={pantry}")
        settled(page)
        more = page.locator(f"#pantry-{k}-more")
        more.scroll_into_view_if_needed()
        before = more.bounding_box()
        assert before
        for amount in ("mix=0.5%3A", "mix=1%3A"):
            page.mouse.click(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
            settled(page, amount)
        assert more.bounding_box() == pytest.approx(before, abs=1)
        assert page.url.count("mix=") == 1


def test_quick_taps_all_count(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=ramen&seed=7")
    settled(page)
    page.locator("#pantry-2-more").click(click_count=3)
    settled(page, "mix=1.5%3A")
    page.locator("#pantry-2-less").dblclick()
    settled(page, "mix=0.5%3A")


def test_a_full_mix_shows_what_it_has_no_room_for(url: str, visit: Open) -> None:
    page = visit(url + DISH + "".join(f"&mix=1:{name}" for name in "abcde"), ENGLISH)
    before = page.locator("#pantry-1-more").bounding_box()
    word = page.get_by_label("Any word or dish")
    word.fill("f")
    page.keyboard.press("Enter")
    settled(page, "%3Af")
    expect(page.get_by_text("Take one out first.")).to_be_visible()
    expect(page.locator(".portion a")).to_have_count(0)
    after = page.locator(".portion .spent").nth(1).bounding_box()
    assert before and after and before["x"] == after["x"]  # nothing has moved up
    word.fill("g")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Up to 6 ingredients. Take one out first.")


@pytest.mark.parametrize(
    ("locale", "width", "height"), [(JAPANESE, 320, 568), (ENGLISH, 390, 844), (JAPANESE, 1440, 900)]
)
def test_the_plate_stays_in_sight_and_nothing_said_covers_the_controls(
    url: str, visit: Open, locale: str, width: int, height: int
) -> None:
    page = visit(url + DISH, locale, viewport={"width": width, "height": height})
    settled(page)
    status, plate = page.get_by_role("status"), page.locator(".seat .dish")
    for control in ("#pantry-1-more", "#pantry-12-more", "#elsewhere", "#step-1"):
        page.locator(control).scroll_into_view_if_needed()
        page.wait_for_timeout(50)
        page.locator(control).click()
        settled(page)
        expect(plate).to_be_in_viewport(ratio=0.99)
        expect(status).not_to_be_empty()
        box = status.bounding_box()
        assert box and box["width"] <= 1  # what can be seen is said to screen readers alone
    # The morph plays on a plate that is seen whole, and what says how new the dish is neither covers it nor stays.
    page.locator("#play").click()
    expect(plate).to_be_in_viewport(ratio=0.99)
    page.locator("#play").click()
    settled(page)
    page.locator("#more > summary").click()
    page.locator("#nearest").click()
    expect(page.locator("#by-name")).to_be_in_viewport()
    expect(plate).to_be_in_viewport(ratio=0.99)
    page.locator("#close-novelty").click()
    expect(page.locator("#novelty")).to_have_count(0)


@pytest.mark.parametrize(("locale", "width"), [(JAPANESE, 390), (ENGLISH, 1440)])
def test_changes_are_undone_redone_and_compared(url: str, visit: Open, locale: str, width: int) -> None:
    page = visit(url + DISH, locale, viewport={"width": width, "height": 844})
    settled(page)
    undo, redo, compare = (page.locator(f"#{id}") for id in ("undo", "redo", "compare"))
    for button in (undo, redo, compare):
        expect(button).to_be_disabled()
    first = drawn(page)
    page.locator("#child-2").click()
    settled(page, "path=2")
    second = drawn(page)
    box = compare.bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    eventually(page, lambda: drawn(page) == first)
    page.mouse.up()
    eventually(page, lambda: drawn(page) == second)
    undo.click()
    eventually(page, lambda: "path" not in page.url)
    settled(page)
    assert drawn(page) == first
    expect(undo).to_be_disabled()
    redo.click()
    settled(page, "path=2")
    assert drawn(page) == second
    expect(redo).to_be_disabled()


def test_what_is_mixed_in_has_a_slider(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=親子丼&seed=7&mix=-1:卵&mix=0.5:鮭", ENGLISH)
    settled(page)
    before = drawn(page)
    slider = page.get_by_role("slider", name="How much 卵")
    asked = requested(page, "/dish.webp")
    slider.evaluate("s => { s.value = 0.35; s.dispatchEvent(new Event('input', { bubbles: true })); }")
    expect(page.locator(".seat img.live")).to_have_count(1)
    assert [at for at in map(unquote, asked) if "mix=0.35:卵&mix=0.5:鮭" in at and "size=64" in at]
    expect(page.locator(".mixed .amount").first).to_have_text("+0.35")
    slider.focus()
    page.keyboard.press("End")
    settled(page, "mix=2%3A", "mix=0.5%3A")
    assert drawn(page) != before
    assert page.evaluate("document.activeElement.id") == "amount-1"  # its place is kept


def test_a_slider_let_go_where_it_began_uncovers_the_picture(url: str, visit: Open) -> None:
    page = visit(url + DISH + "&to=カレー&t=0.495", ENGLISH)  # between two steps of the slider
    settled(page)
    slider, sketch = page.locator("#t"), page.locator(".seat img.live")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    began, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(began, y)
    page.mouse.down()
    page.mouse.move(began + box["width"] / 4, y)
    expect(sketch).to_have_count(1)
    page.mouse.move(began, y)
    page.mouse.up()
    page.wait_for_timeout(200)  # in which a sketch that came late would be laid
    expect(sketch).to_have_count(0)
    assert slider.input_value() == "0.5" and "t=0.495" in page.url


def test_a_slider_let_go_at_once_asks_for_no_more_sketches(url: str, visit: Open) -> None:
    page = visit(url + DISH + "&to=カレー&t=0.5", ENGLISH)
    settled(page)
    asked = requested(page)
    # Let go while the second wish waits for the first sketch's time to be up.
    page.evaluate(
        """async () => {
            const slider = document.getElementById("t");
            const say = (event) => slider.dispatchEvent(new Event(event, { bubbles: true }));
            const plate = document.querySelector(".seat .dish");
            const laid = new Promise((done) => new MutationObserver(done).observe(plate, { childList: true }));
            performance.now = () => 0; // no sketch takes so long that the next one need not wait
            for (slider.value of [0.2, 0.4]) say("input");
            await laid;
            say("change");
        }"""
    )
    settled(page, "t=0.4")
    page.wait_for_timeout(100)
    assert [at for at in asked if "size=64" in at and "/dish.webp" not in at] == []
    expect(page.locator(".seat img.live")).to_have_count(0)


def test_a_number_is_typed_and_another_comes_at_random(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    settled(page)
    before = drawn(page)
    page.get_by_text("More", exact=True).click()
    number = page.get_by_role("spinbutton", name="Plate no.", exact=True)
    number.fill("9")
    expect(page.locator(".seat img.live")).to_have_count(1)
    page.keyboard.press("Enter")
    assert settled(page, "seed=9").endswith("seed=9")
    assert drawn(page) != before
    page.keyboard.press("ArrowUp")
    settled(page, "seed=10")
    page.locator("#another").click()
    eventually(page, lambda: "seed=10&" not in page.url)
    settled(page)
    assert f"seed={number.input_value()}&" in page.url + "&"


def test_a_dish_walks_to_another_plate_of_its_own(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    page.get_by_role("link", name="Into another plate of the same dish").click()
    settled(page, "to_seed=", "t=0.5")
    expect(page.locator(".steps img")).to_have_count(7)
    number = page.get_by_role("spinbutton", name="plate no. (optional)")
    number.fill("9")
    page.keyboard.press("Enter")
    settled(page, "to_seed=9")
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    settled(page, "t=1")
    end = drawn(page)
    page.goto(f"{url}/dish?name=親子丼&seed=9")
    settled(page)
    assert drawn(page) == end


def test_single_keys_play_until_they_are_switched_off(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    settled(page)
    page.keyboard.press("2")
    settled(page, "path=2")
    page.keyboard.press("u")
    eventually(page, lambda: "path" not in page.url)
    settled(page)
    page.keyboard.press("/")
    page.keyboard.type("1n")  # written, not obeyed
    expect(page.get_by_role("textbox", name="Same plate, another name")).to_have_value("1n")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys dd").filter(has_text="Another plate")).to_be_visible()
    page.get_by_role("checkbox", name="Use keyboard shortcuts").uncheck()
    page.reload()
    settled(page)
    page.keyboard.press("n")
    page.wait_for_timeout(200)
    assert "seed=7" in page.url


def test_the_link_is_copied_or_else_followed(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH, permissions=["clipboard-read", "clipboard-write"])
    page.keyboard.press("c")
    expect(page.get_by_role("status")).to_have_text("Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert "seed=7&model=" in link and link.endswith("&shared=1") and "model=" not in page.url
    # As it is over plain HTTP from another machine.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.keyboard.press("c")
    expect(page).to_have_url(link)


def test_a_link_into_the_page_serves_no_dish_anew(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    settled(page)
    asked = requested(page)
    page.get_by_role("link", name="Skip").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))
    page.evaluate("new Promise((resolve) => setTimeout(resolve))")
    assert not [address for address in asked if "/dish" in address]


def test_whether_a_dish_is_new_is_said_on_demand(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Is it new?").click()
    expect(page.get_by_role("heading", name="“親子丼” exists")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("Its picture: [0-9]+% new"))).to_be_visible()
    expect(page.locator(".nearest ol")).to_have_count(2)


def test_a_word_piece_is_switched_off(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    before = drawn(page)
    page.get_by_text("More", exact=True).click()
    piece = page.locator(".piece").first
    id = piece.get_attribute("id")
    piece.click()
    settled(page, "off=")
    expect(piece).to_have_accessible_name(re.compile("on$"))
    assert drawn(page) != before
    assert page.evaluate("document.activeElement.id") == id
    piece.click()
    settled(page)
    assert drawn(page) == before


def test_another_name_is_drawn_on_the_same_plate_as_it_is_typed(url: str, visit: Open) -> None:
    page = visit(url + DISH + "&path=3", ENGLISH)
    settled(page)
    box = page.get_by_role("textbox", name="Same plate, another name")
    box.fill("")
    asked = requested(page, "/dish.webp")
    box.press_sequentially("cake", delay=30)
    sketch = page.locator(".seat img.live")
    expect(sketch).to_have_count(1)
    eventually(page, lambda: any("name=cake" in at for at in asked))
    assert all("size=64" in at and "seed=7" in at and "path=3" in at for at in asked)
    assert "親子丼" in page.evaluate("decodeURIComponent(location.href)")  # nothing is settled yet
    page.keyboard.press("Enter")
    assert settled(page, "name=cake") == "name=cake&seed=7&path=3"
    assert box.evaluate("box => box === document.activeElement")


def test_enter_while_composing_settles_nothing(url: str, visit: Open) -> None:
    page = visit(url + DISH)
    settled(page)
    box = page.get_by_role("textbox", name="皿はそのまま、名前を変える")
    box.fill("")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Input.imeSetComposition", {"text": "うどん", "selectionStart": 3, "selectionEnd": 3})
    expect(page.locator(".seat img.live")).to_have_count(1)  # drawn already while one composes
    before = page.url
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert page.url == before
    devtools.send("Input.insertText", {"text": "うどん"})
    page.keyboard.press("Enter")
    assert "path" not in settled(page, "name=%E3%81%86%E3%81%A9%E3%82%93&seed=7")


def test_a_name_that_was_typed_is_the_dish_once_its_box_is_left(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=tea&seed=7", ENGLISH)
    settled(page)
    box = page.get_by_role("textbox", name="Same plate, another name")
    box.fill("cake")
    box.blur()  # as "Done" on a telephone's keyboard does
    settled(page, "name=cake")
    expect(page.get_by_role("heading", level=1)).to_have_text("cake")
    box.fill("soup")
    page.locator("#pantry-1-more").click()  # which is meant for the soup
    settled(page, "name=soup", "mix=0.5")
    box.fill("stew")
    more = page.locator("#pantry-1-more").bounding_box()
    assert more
    page.mouse.move(more["x"] + more["width"] / 2, more["y"] + more["height"] / 2)
    page.mouse.down()
    page.wait_for_timeout(300)  # a finger rests for longer than the dish takes
    page.mouse.up()
    settled(page, "name=stew", "mix=1%3A")
    box.fill("half a na")
    page.keyboard.press("Escape")
    expect(box).to_have_value("stew")
    expect(box).not_to_be_focused()
    assert "name=stew" in settled(page)
    box.fill("pie")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Save", exact=True).click()
    assert "name=pie" in waiting.value.url and "mix=1%3A" in waiting.value.url
    page.get_by_role("textbox", name="Morph into another dish").fill("egg")
    page.get_by_role("textbox", name="Morph into another dish").blur()
    settled(page, "to=egg")


def test_what_is_saved_of_a_morph_that_plays_is_what_is_seen(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=tea&seed=7&to=cake&t=0.5", ENGLISH)
    settled(page)
    page.get_by_role("button", name="Play", exact=True).click()
    slider = page.get_by_role("slider")
    eventually(page, lambda: slider.input_value() != "0.5", pause=50)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Save", exact=True).click()
    assert f"t={slider.input_value()}" in page.url and f"t={slider.input_value()}&" in waiting.value.url
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_a_moving_morph_is_shared_as_a_file_where_files_can_be(url: str, visit: Open) -> None:
    address = url + "/dish?name=tea&seed=7&to=cake&t=0.5"
    page = visit(address, ENGLISH)
    settled(page)
    button = page.get_by_role("button", name="Share the animation")
    expect(button).to_be_hidden()  # no browser here has a sheet to share with
    page.add_init_script(
        """window.shared = [];
        navigator.canShare = ({ files }) => files.every(file => file.type === "image/webp");
        navigator.share = async ({ files: [file] }) => {
            window.shared.push(file);
            if (window.shared.length === 1) throw new DOMException("too late", "NotAllowedError");
        };"""
    )
    page.goto(address)
    settled(page)
    button.click()
    expect(page.get_by_role("status")).to_contain_text("once more", timeout=15_000)
    button.click()
    eventually(page, lambda: page.evaluate("window.shared.length") == 2)
    bytes_ = page.evaluate("window.shared[1].arrayBuffer().then(all => [...new Uint8Array(all)])")
    with Image.open(io.BytesIO(bytes(bytes_))) as picture:
        assert picture.format == "WEBP" and getattr(picture, "n_frames", 1) > 8
    assert page.evaluate("window.shared[0] === window.shared[1]")  # it is not drawn twice


def test_a_morph_into_nothing_asks_into_what(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=tea&seed=7", ENGLISH)
    settled(page)
    before = page.url
    page.get_by_role("button", name="Morph", exact=True).click()
    expect(page.get_by_role("textbox", name="Morph into another dish")).to_be_focused()
    assert page.url == before


def test_what_is_said_of_a_links_model_goes_with_its_dish(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=tea&seed=7&model=000000000000", ENGLISH)
    expect(page.locator("#made-by")).to_contain_text("000000000000")
    page.locator("#child-1").click()
    settled(page, "path=1")
    expect(page.locator("#made-by")).to_have_count(0)


def test_the_list_of_keys_is_that_of_the_dish(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=tea&seed=7", ENGLISH)
    settled(page)
    page.keyboard.press("?")
    expect(page.locator("#keys kbd", has_text=re.compile("^U$"))).to_have_count(0)
    page.keyboard.press("Escape")
    page.locator("#child-1").click()
    settled(page, "path=1")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.locator("#keys kbd", has_text=re.compile("^U$"))).to_have_count(1)  # back to where it came from


def test_an_answer_that_takes_its_time_is_seen_to(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=tea&seed=7", ENGLISH)
    settled(page)
    late: list[Route] = []
    page.route(re.compile("/dish[?].*path=1"), lambda route: late.append(route))

    def dimmed() -> bool:
        page.wait_for_timeout(20)
        return bool(page.locator(".seat .dish").evaluate("dish => getComputedStyle(dish).opacity < 1"))

    page.locator("#child-1").click()
    until(dimmed)
    for route in late:
        route.continue_()
    settled(page, "path=1")
    until(lambda: not dimmed())


def test_the_counter_by_keyboard_alone(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    settled(page)
    seen: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or seen[-1] in (
            "rename",
            "word",
            "to",
            "to-seed",
        )  # boxes show their focus by their line
        if seen[-1] == "to-seed":
            break
    order = [
        "child-1",
        "others",
        "another",
        "rename",
        "pantry-1-less",
        "pantry-1-more",
        "word",
        "to",
        "to-seed",
    ]
    assert [at for at in seen if at in order] == order
    page.locator("#pantry-1-more").focus()
    page.keyboard.press("Enter")
    settled(page, "mix=0.5")
    assert page.evaluate("document.activeElement.id") == "pantry-1-more"
    page.keyboard.press("Enter")  # once more of the same
    settled(page, "mix=1%3A")
    page.get_by_role("link", name="English").focus()
    page.get_by_role("link", name="日本語").click()
    assert "mix=1%3A" in page.url
    expect(page.get_by_role("heading", name="材料")).to_be_visible()


def test_the_morph_is_scrubbed_by_slider_strip_and_keyboard(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH)
    page.get_by_role("textbox", name="Morph into another dish").fill("カレー")
    page.get_by_role("button", name="Morph", exact=True).click()
    settled(page, "t=0.5")
    expect(page.locator(".steps img")).to_have_count(7)
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("End")
    assert "t=1" in settled(page, "t=1")
    end = drawn(page)
    page.keyboard.press("Home")
    eventually(page, lambda: "t=" not in page.url.replace("&t=0", ""))
    settled(page)
    assert drawn(page) != end
    slider.evaluate(
        """slider => {
            for (let t = 0; t <= 1; t += 0.1) {
                slider.value = t;
                slider.dispatchEvent(new Event("input", { bubbles: true }));
            }
        }"""
    )
    expect(page.locator(".seat img.live")).to_have_count(1)
    page.get_by_role("link", name="33% カレー").click()
    settled(page, "t=0.33")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    before = slider.input_value()
    eventually(page, lambda: slider.input_value() != before, pause=50)
    page.get_by_role("button", name="Stop").click()
    eventually(page, lambda: "t=0.33" not in page.url)
    assert f"t={slider.input_value()}" in settled(page) and f"t={slider.input_value()}" in page.url
    expect(page.locator(".seat img.live")).to_have_count(0)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_focused()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Save as animation").click()
    with Image.open(waiting.value.path()) as moving:
        assert (moving.format, moving.is_animated) == ("WEBP", True)  # type: ignore[attr-defined]
    page.locator("#no-morph").click()
    settled(page)
    assert "to=" not in page.url


def test_everything_at_the_counter_works_without_javascript(url: str, visit: Open) -> None:
    page = visit(url + DISH, ENGLISH, java_script_enabled=False)
    page.get_by_role("link", name="Variation no. 7.1").click()
    page.get_by_text("More", exact=True).click()
    page.locator(".piece").first.click()
    page.locator("#pantry-1-more").click()
    page.get_by_label("Any word or dish").fill("egg")
    page.get_by_role("button", name="Take away").click()
    page.get_by_role("textbox", name="Morph into another dish").fill("cake")
    page.get_by_role("button", name="Morph", exact=True).click()
    page.get_by_role("textbox", name="Same plate, another name").fill("tea")
    page.get_by_role("group", name="Same plate, another name").get_by_role("button", name="Redraw").click()
    page.get_by_role("slider", name="How much egg").press("Home")
    page.get_by_role("list", name="In the dish").get_by_role("button", name="Redraw").last.click()
    for part in ("name=tea", "seed=7", "path=1", "-2%3Aegg", "to=cake", "t=0.5"):
        assert part in page.url
    assert "off=" not in page.url  # other names have other pieces
    expect(page.locator(".seat .picture")).to_be_visible()
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Compare names").click()
    page.get_by_label(re.compile("one per line")).fill("tea\ncake")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".grid img")).to_have_count(8)


def test_a_full_kitchen_is_said_at_the_counter_and_asked_again(visit: Open) -> None:
    pipeline = FakePipeline()
    app = create_app(Settings(queue=8), pipeline)
    with serve(app) as url:
        page = visit(url + "/dish?name=tea&seed=1", ENGLISH)
        settled(page)
        crowd = visit(url, ENGLISH)
        laid(crowd)
        pipeline.gate.clear()
        crowd.get_by_role("combobox").select_option("8")
        crowd.get_by_role("textbox").fill("the whole house")
        crowd.keyboard.press("Enter")
        until(lambda: app.state.pictures.engine.depth == 8)
        page.locator("#another").click()
        expect(page.get_by_role("status")).to_contain_text("The kitchen is full")
        pipeline.gate.set()
        expect(page.get_by_role("status")).to_contain_text("redrawn")
        settled(page)
        # Those who follow a link to a dish meanwhile, or lay a table, get their pictures too.
        guests = []
        for path, said in (("/dish?name=cake&seed=2", "redrawn"), ("/table?names=pie%0Asoup&n=2&seed=1", "")):
            pipeline.gate.clear()
            crowd.keyboard.press("Enter")
            until(lambda: app.state.pictures.engine.depth == 8)
            guest = visit(url + path, ENGLISH)
            guests.append(guest)
            expect(guest.get_by_role("status")).to_contain_text("The kitchen is full")
            pipeline.gate.set()
            until(partial(guest.locator("main img").evaluate_all, "all => all.every(i => i.naturalWidth)"))
            expect(guest.get_by_role("status")).to_have_text(re.compile(said or "^$"))
        for one in (crowd, page, *guests):
            one.close()


def test_nobody_reads_the_words_of_a_browser_or_a_proxy(url: str, visit: Open) -> None:
    page = visit(url + DISH)
    settled(page)
    status = page.get_by_role("status")
    page.evaluate("() => void (window.fetch = async () => { throw new TypeError('Failed to fetch'); })")
    page.locator("#another").click()
    expect(status).to_have_text("厨房から返事がありません。接続をご確認ください。")
    page.reload()
    # A proxy's own refusals, of the page and of its picture.
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=503, headers={"Retry-After": "1"}, body="Request dropped")

    page.route("**/dish?*", refuse, times=1)
    # Asked for once more, to know why.
    page.route(re.compile(r"/dish\.webp\?name=[^&]*&seed=\d+$"), refuse, times=2)
    page.locator("#another").click()
    expect(status).to_contain_text("満杯")
    expect(status).to_contain_text("1秒後にもう一度試します…")
    expect(status).to_contain_text("描き直しました")
    settled(page)
    assert len(refused) == 3


def test_the_counter_fits_narrow_and_wide_windows(url: str, visit: Open) -> None:
    for path in (
        f"{DISH}&path=1.2.3&mix=-1:卵&to=カレー&t=0.5",
        f"/dish?name={'長' * 80}",
        "/table?names=tea%0Acake",
    ):
        page = visit(url + path)
        for width in (320, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width
