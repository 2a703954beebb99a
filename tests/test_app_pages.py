"""What people are told by pages, where programs would be told of fields and addresses."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from app.application import create_app
from app.settings import Settings
from tests.serving import FakePipeline, Value, ready_client, serve

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    app = create_app(Settings(), FakePipeline())
    with serve(app) as url, ready_client(url) as client:
        client.headers.update({"Accept": BROWSER, "Accept-Language": "en"})
        yield client


def said(answer: httpx.Response) -> str:
    """The page's complaint."""
    found = re.search(r'class="problem">(.+?)</p>|apology">\s*<p>(.+?)</p>', answer.text)
    assert found, answer.text
    return html.unescape(found[1] or found[2])


def test_an_empty_menu_asks_for_an_order(client: httpx.Client) -> None:
    answer = client.get("/menu")
    assert (answer.status_code, said(answer)) == (422, "Your menu is empty. Order something first.")
    assert "お品書きはまだ空です。" in said(client.get("/menu", headers={"Accept-Language": "ja"}))
    answer = client.get("/menu", headers={"Accept": "application/json"})
    assert answer.json()["error"]["code"] == "invalid_menu"


def test_the_counter_without_a_dish_leads_to_where_names_are_written(client: httpx.Client) -> None:
    for address in ("/dish", "/dish?name=&seed=7"):
        answer = client.get(address)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
    answer = client.get("/dish", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "missing_name")


def test_a_number_is_called_as_its_box_is(client: httpx.Client) -> None:
    for address in ("/table?names=tea&seed=-1", "/?name=tea&seed=-1", "/dish?name=tea&seed=-1"):
        assert said(client.get(address)) == "The plate number must be a whole number from 0 to 4294967295."
    answer = client.get("/dish?name=tea&seed=-1", headers={"Accept": "application/json"})
    assert answer.json()["error"]["message"].startswith("“seed”")


def test_a_table_with_too_many_names_keeps_its_number(client: httpx.Client) -> None:
    answer = client.get("/table", params={"names": "tea\n" * 9, "seed": 123, "n": 2})
    assert said(answer) == "Up to 8 names, please."
    assert 'name="seed" inputmode="numeric" pattern="[0-9]*" maxlength="10" value="123"' in answer.text


def test_a_line_of_the_table_that_shows_nothing_is_none(client: httpx.Client) -> None:
    answer = client.get("/table", params={"names": "tea\n\u200b\n \u3000\ncake", "n": 1, "seed": 7})
    assert answer.status_code == 200
    assert re.findall(r'<th scope="row">(.+?)</th>', answer.text) == ["tea", "cake"]


def test_a_full_mix_says_what_can_be_done(client: httpx.Client) -> None:
    mix = "".join(f"&mix=1:{name}" for name in "abcde")
    assert "Up to 6 ingredients" not in client.get(f"/dish?name=tea{mix}").text
    full = f"/dish?name=tea{mix}&mix=2:f"
    assert "Up to 6 ingredients. Take one out first." in client.get(full).text
    assert said(client.get(f"{full}&word=g")) == "Up to 6 ingredients. Take one out first."
    assert said(client.get(f"{full}&word=f")) == "That is as far as f goes."
    assert client.get(f"{full}&word=e").status_code == 303
    japanese = client.get(f"{full}&word={quote('卵')}", headers={"Accept-Language": "ja"})
    assert said(japanese) == "材料は6つまでです。どれかを外してください。"


def test_a_page_is_shared_with_a_card(client: httpx.Client) -> None:
    for address, card in (
        ("/", "/card.jpg?lang=en"),
        ("/dish?name=tea&seed=7&mix=-1:egg", "/card.jpg?name=tea&seed=7&mix=-1%3Aegg&lang=en"),
        ("/?name=tea&seed=7&n=2", "/card.jpg?name=tea&seed=7&lang=en"),
    ):
        page = html.unescape(client.get(address).text)
        assert f'<meta property="og:image" content="{str(client.base_url).rstrip("/")}{card}">' in page
        assert '<meta name="twitter:card" content="summary_large_image">' in page


def test_a_cafeteria_can_be_put_on_the_home_screen(client: httpx.Client) -> None:
    for language in ("en", "ja"):
        page = client.get("/", headers={"Accept-Language": language}).text
        address = re.search(r'rel="manifest" href="(.+?)"', page)
        assert address
        manifest = client.get(address[1]).json()
        assert manifest["lang"] == language
        for icon in manifest["icons"]:
            assert client.get(f"/static/{icon['src']}").headers["content-type"] == icon["type"]


def test_weights_in_a_name_are_a_mix_and_the_page_says_so(client: httpx.Client) -> None:
    page = html.unescape(client.get("/", params={"name": "ramen -egg (spicy:1.4)", "seed": 7, "n": 1}).text)
    assert "Read as: ramen − egg + 1.4 spicy" in page
    assert "/dish?name=ramen&seed=7&mix=-1%3Aegg&mix=1.4%3Aspicy" in page
    assert 'value="ramen -egg (spicy:1.4)"' in page  # to write on
    weighed, mixed = (
        client.post("/generate", data={"seed": "7", **fields}, headers={"Accept": "image/png"}).content
        for fields in ({"name": "ramen -egg (spicy:1.4)"}, {"name": "ramen", "mix": ["-1:egg", "1.4:spicy"]})
    )
    assert weighed == mixed
    answer = client.get("/", params={"name": "ramen (egg:3)"})
    assert said(answer) == "Up to 6 ingredients, each with a weight from -2 to 2."
    japanese = client.get("/", params={"name": "ラーメン -卵", "n": 1}, headers={"Accept-Language": "ja"})
    assert "このように読みました：ラーメン − 卵" in japanese.text


def test_a_table_goes_across_plates_amounts_or_a_morph(client: httpx.Client) -> None:
    def columns(**fields: Value) -> tuple[list[str], list[str]]:
        page = html.unescape(client.get("/table", params={"names": "tea\ncake", "n": 3, "seed": 7, **fields}).text)
        return re.findall(r'<th scope="col">(.+?)</th>', page), re.findall(r'class="thumb" href="(.+?)"', page)

    headings, cells = columns()
    assert (headings, len(cells)) == (["No. 7", "No. 8", "No. 9"], 6)
    headings, cells = columns(by="amount", word="egg")
    assert headings == ["egg +0", "egg +0.75", "egg +1.5"]
    assert cells[2:4] == ["/dish?name=tea&seed=7&mix=1.5%3Aegg", "/dish?name=cake&seed=7"]
    headings, cells = columns(by="morph", word="pie")
    assert headings == ["pie 0%", "pie 50%", "pie 100%"]
    assert cells[-1] == "/dish?name=cake&seed=7&to=pie&t=1"
    answer = client.get("/table", params={"names": "tea", "by": "amount"})
    assert (answer.status_code, said(answer)) == (422, "An amount of what, or a morph into what?")
