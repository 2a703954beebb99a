"""What a visitor keeps: the history of dishes, the menu made of it, and saved pictures that find their way back."""

from __future__ import annotations

import base64
import re
import zipfile
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.application import create_app
from app.settings import Settings
from model.pipeline import Pipeline
from tests.browser.conftest import Open, follow
from tests.conftest import make_checkpoint
from tests.serving import chromium, serve, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium() is None, reason="no Chromium on PATH (chromium, chromium-browser, google-chrome)"
    ),
]

ENGLISH = "en-US"


def drop(page: Page, data: bytes) -> None:
    """Drops a file onto the page, as a hand does it."""
    transfer = page.evaluate_handle(
        """text => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
            transfer.items.add(new File([bytes], "dish.png", { type: "image/png" }));
            return transfer;
        }""",
        base64.b64encode(data).decode(),
    )
    page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})


def save(page: Page) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Save").first.click()
    return Path(waiting.value.path()).read_bytes()


def test_a_saved_picture_dropped_on_the_page_opens_its_dish(url: str, visit: Open) -> None:
    data = save(visit(f"{url}/dish?name=親子丼&seed=7&path=2&mix=-1:卵", ENGLISH))
    page = visit(url, ENGLISH)
    drop(page, data)
    expect(page).to_have_url(re.compile("/dish\\?.*path=2.*mix=-1"))
    expect(page.get_by_role("heading", level=1)).to_have_text("親子丼 − 卵")
    expect(page.get_by_role("status")).to_contain_text("exactly the same picture", timeout=15_000)
    # A plain one, whose metadata has no recipe, and dropped at the counter itself.
    plain = save(visit(f"{url}/?name=tea&seed=5&n=1", ENGLISH))
    drop(page, plain)
    expect(page.get_by_role("heading", level=1)).to_have_text("tea")
    expect(page.get_by_role("status")).to_contain_text("exactly the same picture", timeout=15_000)


@pytest.mark.parametrize("path", ["/table", "/menu?dish=name%3Dtea", "/docs", "/nowhere"])
def test_a_saved_picture_is_taken_on_every_page(url: str, visit: Open, path: str) -> None:
    data = httpx.get(f"{url}/dish.png?name=tea&seed=5&size=64", trust_env=False).content
    page = visit(url + path, ENGLISH)
    drop(page, b"GIF89a")
    expect(page.get_by_role("status")).to_contain_text("carries no recipe")
    drop(page, data)
    expect(page).to_have_url(re.compile("/dish\\?name=tea&seed=5"))
    expect(page.get_by_role("status")).to_contain_text("exactly the same picture", timeout=15_000)


def test_a_picture_by_another_model_is_told_from_this_ones(url: str, visit: Open, tmp_path: Path) -> None:
    other = Pipeline.load(make_checkpoint(tmp_path / "other", seed=1), "cpu")
    with serve(create_app(Settings(), other)) as elsewhere:
        data = save(visit(f"{elsewhere}/?name=tea&seed=5&n=1", ENGLISH))
    page = visit(url, ENGLISH)
    # By hand this time: the file is chosen with the keyboard.
    page.get_by_label("Open a saved picture").set_input_files(
        {"name": "tea.png", "mimeType": "image/png", "buffer": data}
    )
    expect(page.get_by_role("status")).to_contain_text("different picture now", timeout=15_000)
    expect(page.get_by_role("status")).to_contain_text(other.version)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40])
def test_other_files_are_not_taken(url: str, visit: Open, data: bytes) -> None:
    page = visit(url, ENGLISH)
    drop(page, data)
    expect(page.get_by_role("status")).to_contain_text("carries no recipe")
    assert page.url == f"{url}/"
    page.get_by_text("Open a saved picture").scroll_into_view_if_needed()
    box = page.locator(".not-ours").bounding_box()
    assert box and box["y"] > 0 and box["y"] + box["height"] <= 800  # where the hand is


def test_ones_own_dishes_are_remembered_and_become_a_menu(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    shelf = page.get_by_role("region", name="Your own dishes")
    expect(shelf).to_be_hidden()
    for name in ("tea", "cake"):
        page.get_by_role("textbox").fill(name)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(f"{name}: ready")
    follow(page, page.get_by_role("link", name=re.compile("^Play with")).first)
    page.locator("#child-3").click()
    expect(page.get_by_role("status")).to_contain_text("redrawn")
    page.goto(url)
    expect(shelf.locator("li a")).to_have_text(["cake", "cake", "tea"])
    assert "path=3" in (shelf.get_by_role("link").first.get_attribute("href") or "")
    assert "model=" not in shelf.inner_html()  # a dish is remembered whatever model comes after
    with page.expect_download() as waiting:
        shelf.get_by_role("link", name="Save all").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert len(archive.namelist()) == 3
    follow(page, shelf.get_by_role("link", name="My menu"))
    expect(page.locator(".card img")).to_have_count(3)
    until(lambda: page.locator(".card img").last.evaluate("i => i.complete && i.naturalWidth === 256"))
    expect(page.get_by_role("button", name="Print")).to_be_visible()
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.get_by_role("button", name="Print")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")
    page.goto(url)
    shelf.get_by_role("button", name="Forget tea").click()
    expect(shelf.locator("li a")).to_have_text(["cake", "cake"])
    assert page.evaluate("document.activeElement.ariaLabel") == "Forget cake"
    page.on("dialog", lambda dialog: dialog.accept())
    shelf.get_by_role("button", name="Forget all").click()
    expect(shelf).to_be_hidden()
    page.reload()
    expect(shelf).to_be_hidden()
    page.close()


def test_of_a_sitting_at_the_counter_its_latest_dish_is_kept(url: str, visit: Open) -> None:
    page = visit(url + "/dish?name=tea&seed=1", ENGLISH)
    page.reload()  # another sitting: what was there before it stays
    for path in ("1", "1.1", "1.1.1"):
        page.locator("#child-1").click()
        expect(page).to_have_url(re.compile(f"path={path}(&|$)"))
        expect(page.get_by_role("status")).to_contain_text("redrawn")
    until(lambda: "path=1.1.1" in page.evaluate("localStorage.getItem('dishes')"))
    queries = [one["query"] for one in page.evaluate("JSON.parse(localStorage.getItem('dishes'))")]
    assert queries == ["name=tea&seed=1&path=1.1.1", "name=tea&seed=1"]
    page.get_by_role("link", name="Back to no. 1", exact=True).click()
    expect(page).not_to_have_url(re.compile("path="))
    until(lambda: "path" not in page.evaluate("localStorage.getItem('dishes')"))
    page.goto(url)
    expect(page.locator("#shelf li a")).to_have_count(1)
    expect(page.locator("#shelf li a")).to_have_attribute("title", "tea")


def test_the_shelf_has_all_that_is_remembered_and_what_another_tab_adds(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    page.evaluate(
        """() => localStorage.setItem("dishes", JSON.stringify(
            [...Array(30).keys()].map(k => ({ query: `name=tea&seed=${k}`, title: `tea ${k}` }))))"""
    )
    page.reload()
    expect(page.locator("#shelf li")).to_have_count(30)
    expect(page.get_by_text("Menu and file take the latest 24.")).to_be_visible()
    follow(page, page.get_by_role("link", name="My menu"))
    expect(page.locator(".card li")).to_have_count(24)
    page.goto(url)
    other = page.context.new_page()
    other.goto(f"{url}/dish?name=cake&seed=1")
    expect(page.locator("#shelf li")).to_have_count(31)


def test_a_history_that_somebody_has_spoilt_is_no_harm(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    for spoilt in ("{", '{"a": 1}', '[null, 3, {"query": 5}]'):
        page.evaluate("text => localStorage.setItem('dishes', text)", spoilt)
        page.reload()
        page.get_by_role("textbox").fill("tea")
        page.keyboard.press("Enter")
        expect(page.locator("#shelf li")).to_have_count(1)
