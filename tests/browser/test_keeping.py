"""What a visitor keeps: the history of dishes, the menu made of it, and saved pictures that find their way back."""

from __future__ import annotations

import base64
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image, PngImagePlugin
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
CASES = Path(__file__).parents[3] / "shared" / "cases" / "png"


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
    expect(page.locator(".chip")).to_have_text(["− 卵"])
    expect(page.get_by_role("status")).to_contain_text("exactly the same picture", timeout=15_000)
    # One that was enlarged, which is compared enlarged.
    page = visit(url, ENGLISH)
    drop(page, httpx.get(f"{url}/dish.png?name=tea&seed=5&size=1024", trust_env=False).content)
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
    expect(page.get_by_role("status")).to_contain_text("are not the same picture", timeout=15_000)
    expect(page.get_by_role("status")).to_contain_text(other.version)


def again(data: bytes, **texts: str) -> bytes:
    """The same picture as another program writes it: all texts compressed, behind the pixels."""
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        image.load()
        info = PngImagePlugin.PngInfo()
        for key, value in {**image.text, **texts}.items():
            if value and value.isascii():
                info.add_text(key, value, zip=True)
            elif value:
                info.add_itxt(key, value, zip=True)
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
    chunks = b"".join(
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
        for kind, text, *_ in info.chunks
    )
    end = struct.pack(">I", 0) + b"IEND"
    pixels, _, rest = file.getvalue().partition(end)
    return pixels + chunks + end + rest


def repainted(data: bytes, change: Callable[[Image.Image], Image.Image], **options: object) -> bytes:
    """The picture after a change, with its texts."""
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        image.load()
        info = PngImagePlugin.PngInfo()
        for key, value in image.text.items():
            info.add_itxt(key, value)
        file = io.BytesIO()
        change(image).save(file, "PNG", pnginfo=info, **options)
    return file.getvalue()


SAME, OTHER, UNKNOWN = "exactly the same picture", "are not the same picture", "cannot be told"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (again, SAME),
        (lambda data: again(data, Model=""), SAME),
        (lambda data: repainted(data, lambda image: image.convert("RGBA")), SAME),
        (lambda data: repainted(data, lambda image: image.point(lambda v: v + (v < 255))), "but for shades"),
        (lambda data: repainted(data, lambda image: image.transpose(Image.Transpose.ROTATE_180)), OTHER),
        (lambda data: repainted(data, lambda image: image.resize((512, 512))), OTHER),
        (lambda data: repainted(data, lambda image: image.quantize(16), bits=4), UNKNOWN),
        (lambda data: repainted(data, lambda image: image.convert("L").convert("I;16")), UNKNOWN),
    ],
)
@pytest.mark.parametrize("path", ["?name=tea&seed=5", "?name=親子丼&seed=7&mix=-1:卵&size=64"])
def test_what_other_programs_make_of_a_picture_is_told(
    url: str, visit: Open, path: str, change: Callable[[bytes], bytes], said: str
) -> None:
    data = change(httpx.get(f"{url}/dish.png{path}", trust_env=False).content)
    page = visit(url, ENGLISH)
    # A browser that guards its visitors' privacy: nothing that a canvas gives back is what was drawn.
    page.context.add_init_script(
        "OffscreenCanvasRenderingContext2D.prototype.getImageData ="
        "CanvasRenderingContext2D.prototype.getImageData = () => new ImageData(256, 256)"
    )
    drop(page, data)
    expect(page).to_have_url(re.compile("/dish\\?name="), timeout=15_000)
    expect(page.get_by_role("status")).to_contain_text(said, timeout=15_000)


def test_a_picture_that_does_not_say_its_model_is_told_so(url: str, visit: Open) -> None:
    data = httpx.get(f"{url}/dish.png?name=tea&seed=5&size=64", trust_env=False).content
    page = visit(url, ENGLISH)
    drop(page, again(repainted(data, lambda image: image.transpose(Image.Transpose.ROTATE_90)), Model=""))
    expect(page.get_by_role("status")).to_contain_text(OTHER, timeout=15_000)
    expect(page.get_by_role("status")).to_contain_text("doesn’t say which model made it")


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ({"Seed": ""}, "This is tea, but its number is missing"),
        ({"Name": ""}, "This is no. 5, but of which dish?"),
        ({"Name": "", "Seed": ""}, "carries no recipe"),
    ],
)
def test_what_a_picture_has_lost_is_told(url: str, visit: Open, lost: dict[str, str], said: str) -> None:
    data = httpx.get(f"{url}/dish.png?name=tea&seed=5&size=64", trust_env=False).content
    page = visit(url, ENGLISH)
    drop(page, again(data, **lost))
    expect(page.get_by_role("status")).to_contain_text(said)
    assert page.url == f"{url}/"


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not here")
@pytest.mark.parametrize("name", ["en_as_saved", "en_text_compressed", "ja_as_saved", "ja_text_compressed"])
def test_the_shared_pictures_open(url: str, visit: Open, name: str) -> None:
    page = visit(url, ENGLISH)
    drop(page, (CASES / f"{name}.png").read_bytes())
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "beef stew" if name[:2] == "en" else "ピリ辛サーモン丼"
    )
    # These weights are not those that made it.
    expect(page.get_by_role("status")).to_contain_text(OTHER, timeout=15_000)
    expect(page.get_by_role("status")).to_contain_text("635d2ed002a0")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40])
def test_other_files_are_not_taken(url: str, visit: Open, data: bytes) -> None:
    page = visit(url, ENGLISH)
    drop(page, data)
    expect(page.get_by_role("status")).to_contain_text("carries no recipe")
    assert page.url == f"{url}/"
    page.get_by_text("Open a saved picture").scroll_into_view_if_needed()
    box = page.get_by_role("status").bounding_box()
    assert box and box["width"] > 100 and box["y"] > 0 and box["y"] + box["height"] <= 800  # where the hand is


@pytest.mark.parametrize(
    ("locale", "width", "mine", "keep"),
    [("ja-JP", 390, "あなたの料理", "残す"), (ENGLISH, 1440, "Your own dishes", "Keep")],
)
def test_what_is_hearted_is_kept_and_becomes_a_menu(
    url: str, visit: Open, locale: str, width: int, mine: str, keep: str
) -> None:
    page = visit(url, locale, viewport={"width": width, "height": 844})
    shelf = page.get_by_role("region", name=mine)
    page.locator("#name").fill("tea")
    page.keyboard.press("Enter")
    expect(page.locator("#orders img.picture")).to_have_count(4)
    expect(shelf).to_be_hidden()  # what nobody chose is not kept
    heart = page.locator("#orders .heart").nth(1)
    box = heart.bounding_box()
    assert box and box["width"] >= 40 and box["height"] >= 40
    heart.click()
    expect(heart).to_have_attribute("aria-pressed", "true")
    expect(shelf.locator("li a")).to_have_text(["tea"])
    page.locator("#orders a.dish").nth(2).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=keep).click()
    page.keyboard.press("Escape")
    expect(shelf.locator("li")).to_have_count(2)
    expect(page.locator("#orders .heart[aria-pressed=true]")).to_have_count(2)
    assert "model=" not in shelf.inner_html()  # a dish is remembered whatever model comes after
    # A friend's link is not one's own dish, until it is hearted.
    page.goto(f"{url}/dish?name=cake&seed=7&shared=1")
    page.locator(".seat .heart").click()
    page.locator("#child-3").click()
    expect(page).to_have_url(re.compile("path=3"))
    expect(page.locator(".seat .heart")).to_have_attribute("aria-pressed", "false")
    page.goto(url)
    expect(shelf.locator("li a")).to_have_text(["cake", "tea", "tea"])
    with page.expect_download() as waiting:
        shelf.locator("[download]").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert len(archive.namelist()) == 3
    follow(page, shelf.locator("a[data-menu]").first)
    expect(page.locator(".card img")).to_have_count(3)
    until(lambda: page.locator(".card img").last.evaluate("i => i.complete && i.naturalWidth === 256"))
    page.goto(url)
    shelf.locator("li .drop").first.click()
    expect(shelf.locator("li a")).to_have_text(["tea", "tea"])
    assert page.evaluate("document.activeElement.className") == "drop"
    page.on("dialog", lambda dialog: dialog.accept())
    shelf.locator("#forget").click()
    expect(shelf).to_be_hidden()
    page.reload()
    expect(shelf).to_be_hidden()


def test_a_menu_of_two_dozen_is_printed_on_one_page_under_the_noren(url: str, visit: Open) -> None:
    names = ["ピリ辛サーモンパフェ", "月夜のかぼちゃグラタン", "黒ごまアボカドタルト"] * 8
    query = "&".join(f"dish=name%3D{name}%26seed%3D{k}" for k, name in enumerate(names))
    page = visit(f"{url}/menu?{query}", viewport={"width": 390, "height": 844})
    first, second = (page.locator(".card li").nth(k).bounding_box() for k in (0, 1))
    assert first and second and first["y"] == second["y"]  # two columns on a telephone
    # A name breaks between its words: no line begins or ends within サーモンパフェ.
    lines = page.locator(".card .what").first.inner_text().split("\n")
    height = page.locator(".card .what").first.bounding_box()
    assert lines and height and height["height"] > 0
    rects = page.locator(".card .what").first.evaluate(
        """what => {
            const range = document.createRange();
            const last = [...what.childNodes].at(-1);
            range.selectNodeContents(last);
            return [last.textContent, range.getClientRects().length];
        }"""
    )
    assert rects == ["サーモンパフェ", 1]
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator(".noren")).to_be_visible()
    expect(page.get_by_role("link", name="zip")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pdf = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


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
    other.locator(".seat .heart").click()
    expect(page.locator("#shelf li")).to_have_count(31)


def test_a_history_that_somebody_has_spoilt_is_no_harm(url: str, visit: Open) -> None:
    page = visit(url, ENGLISH)
    for spoilt in ("{", '{"a": 1}', '[null, 3, {"query": 5}]'):
        page.evaluate("text => localStorage.setItem('dishes', text)", spoilt)
        page.reload()
        page.get_by_role("textbox").fill("tea")
        page.keyboard.press("Enter")
        page.locator("#orders .heart").first.click()
        expect(page.locator("#shelf li")).to_have_count(1)
