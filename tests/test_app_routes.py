"""The routes, over a tiny checkpoint: what they take, what they answer, and what they refuse."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urljoin
from urllib.request import Request

import httpx
import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from app.application import create_app
from app.settings import Settings
from model import png
from model.pipeline import MAX_SEED, Pipeline
from tests.serving import FakePipeline, cafeteria, ready_client, serve

NAME = "ピリ辛サーモン丼"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> Pipeline:
    return Pipeline.load(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def client(tiny_checkpoint: Path) -> Iterator[httpx.Client]:
    settings = Settings(checkpoint=str(tiny_checkpoint), device="cpu")
    with serve(create_app(settings)) as url, ready_client(url) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_cookies(client: httpx.Client) -> None:
    client.cookies.clear()


def picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def seeds(page: str) -> list[int]:
    return [int(seed) for seed in re.findall(r'<img class="picture" src="/dish.webp\?[^"]*seed=(\d+)"', page)]


# Pictures


def test_curl_gets_a_png_straight_back(client: httpx.Client, pipeline: Pipeline) -> None:
    # What `curl -F name=…` sends.
    answer = client.post("/generate", files={"name": (None, NAME)})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    seed = int(answer.headers["cafeteria-seed"])
    assert unquote(answer.headers["cafeteria-name"]) == NAME
    assert answer.headers["cafeteria-model"] == pipeline.version
    assert png.read_metadata(answer.content) == png.describe(NAME, seed, pipeline.version)
    assert np.array_equal(picture(answer.content), pipeline.generate([NAME], [seed])[0])


def test_pictures_differ_by_name_and_repeat_by_seed(client: httpx.Client) -> None:
    def ask(name: str, seed: int) -> bytes:
        return client.post("/generate", data={"name": name, "seed": seed}).content

    assert ask(NAME, 5) == ask(NAME, 5)
    assert ask(NAME, 5) != ask("pea soup", 5)
    assert ask(NAME, 5) != ask(NAME, 6)


def test_without_a_seed_each_order_is_another(client: httpx.Client) -> None:
    a, b = (client.post("/generate", data={"name": NAME}).headers["cafeteria-seed"] for _ in "ab")
    assert a != b


def test_null_is_a_field_left_out(client: httpx.Client) -> None:
    left_out = dict.fromkeys(("n", "size", "path", "off", "mix", "to", "to_seed", "t"))
    given = client.post("/generate", json={"name": NAME, "seed": 7, **left_out})
    assert given.status_code == 200, given.text
    assert given.content == client.post("/generate", json={"name": NAME, "seed": 7}).content
    drawn = [client.post("/generate", json={"name": NAME, "seed": None, "size": 64}) for _ in range(3)]
    assert len({answer.headers["cafeteria-seed"] for answer in drawn}) > 1


def test_json_gives_seeds_addresses_and_base64(client: httpx.Client) -> None:
    answer = client.post(
        "/generate", json={"name": NAME, "n": 3, "seed": MAX_SEED}, headers={"Accept": "application/json"}
    ).json()
    assert answer["name"] == NAME
    assert answer["notices"] == []
    assert [p["seed"] for p in answer["pictures"]] == [MAX_SEED, 0, 1]
    for p in answer["pictures"]:
        assert client.get(p["url"]).content == base64.b64decode(p["png"])


def test_several_pictures_stream_sketches_first(client: httpx.Client) -> None:
    answer = client.post("/generate", data={"name": NAME, "n": 2, "seed": 40})
    assert answer.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert events[0]["event"] == "order"
    assert [p["seed"] for p in events[0]["pictures"]] == [40, 41]
    assert events[-1]["event"] == "done"
    for index in (0, 1):
        mine = [event for event in events[1:-1] if event["index"] == index]
        assert [event["event"] for event in mine] == ["sketch", "picture"]
        sketch, whole = (picture(base64.b64decode(event["png"])) for event in mine)
        assert (sketch.shape, whole.shape) == ((64, 64, 3), (256, 256, 3))


def test_a_small_picture_is_the_sketch(client: httpx.Client, pipeline: Pipeline) -> None:
    small = client.post("/generate", data={"name": NAME, "seed": 3, "size": 64}).content
    assert np.array_equal(picture(small), pipeline.generate([NAME], [3], 64)[0])
    (event,) = (
        json.loads(line)
        for line in client.post(
            "/generate",
            data={"name": NAME, "seed": 3, "size": 64},
            headers={"Accept": "application/x-ndjson"},
        ).text.splitlines()[1:-1]
    )
    assert event["event"] == "picture"
    assert event["size"] == 64
    assert client.get(event["url"]).content == small


def test_the_permalink_is_stable_and_can_be_cached(client: httpx.Client, pipeline: Pipeline) -> None:
    address = f"/dish.png?name={quote(NAME)}&seed=77"
    answer = client.get(address)
    assert np.array_equal(picture(answer.content), pipeline.generate([NAME], [77])[0])
    tag = answer.headers["etag"]
    assert re.fullmatch(r'"[^"]+"', tag)
    assert (answer.headers["cache-control"], answer.headers.get("vary")) == ("public, max-age=3600", None)
    lasting = client.get(f"{address}&model={pipeline.version}")  # another model draws nothing there
    assert lasting.content == answer.content
    assert lasting.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert client.get(f"{address}&model=").headers["cache-control"] == "public, max-age=3600"
    for condition in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = client.get(address, headers={"If-None-Match": condition})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(address, headers={"If-None-Match": '"other"'}).content == answer.content
    # The same dish in another spelling, and other dishes.
    assert (
        client.get(f"/dish.png?seed=77&name={quote('　ピリ辛 ｻｰﾓﾝ丼'.replace(' ', ''))}").headers["etag"]
        == tag
    )
    for other in (f"name={quote(NAME)}&seed=78", "name=pea&seed=77", f"name={quote(NAME)}&seed=77&size=64"):
        assert client.get(f"/dish.png?{other}").headers["etag"] != tag
    head = client.head(address)
    assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")


def test_a_tag_of_another_model_is_no_match() -> None:
    def ask(pipeline: FakePipeline, tag: str = "") -> httpx.Response:
        with cafeteria(pipeline) as url, ready_client(url) as client:
            return client.get("/dish.png?name=tea&seed=1", headers={"If-None-Match": tag})

    other = FakePipeline()
    other.version = "ba9876543210"
    tag = ask(FakePipeline()).headers["etag"]
    assert [ask(pipeline, tag).status_code for pipeline in (FakePipeline(), other)] == [304, 200]


def test_a_permalink_without_a_seed_is_seed_0(client: httpx.Client) -> None:
    assert client.get("/dish.png?name=pea").content == client.get("/dish.png?name=pea&seed=0").content


def test_a_picture_can_be_saved_under_its_name(client: httpx.Client) -> None:
    plain = client.get("/dish.png", params={"name": "a/b 丼", "seed": 1})
    assert plain.headers["content-disposition"].startswith("inline")
    saved = client.get("/dish.png", params={"name": "a/b 丼", "seed": 1, "download": "1"})
    assert saved.headers["content-disposition"] == (
        "attachment; filename=\"dish-1.png\"; filename*=UTF-8''" + quote("a-b 丼-1.png")
    )


# The page


def order_by_form(client: httpx.Client, **fields: str) -> httpx.Response:
    """The page that a browser's form leads to, which has an address of its own."""
    answer = client.post("/generate", data=fields, headers={"Accept": BROWSER})
    assert (answer.status_code, answer.headers["cache-control"]) == (303, "no-store")
    return client.get(answer.headers["location"], headers={"Accept": BROWSER})


def test_a_browsers_form_gets_the_page_with_the_pictures(client: httpx.Client) -> None:
    answer = order_by_form(client, name=NAME, n="4")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert NAME in answer.text
    assert len(seeds(answer.text)) == 4
    for address in re.findall(r'<img class="picture" src="([^"]+)"', answer.text):
        assert client.get(address.replace("&amp;", "&")).headers["content-type"] == "image/webp"


def test_a_form_of_ones_own_gets_the_pictures_of_all_its_fields(client: httpx.Client) -> None:
    fields = {"name": NAME, "seed": "7", "n": "2", "mix": "0.5:egg"}
    answer = client.post("/generate", data=fields, headers={"Accept": BROWSER})
    assert answer.status_code == 200 and "mix=0.5%3Aegg" in answer.text
    assert answer.text.count('<img class="picture" src=') == 2


def test_a_browsers_form_without_a_number_gets_four(client: httpx.Client) -> None:
    assert len(seeds(order_by_form(client, name=NAME).text)) == 4


def test_the_page_of_a_dish_shows_that_dish(client: httpx.Client) -> None:
    answer = client.get("/", params={"name": NAME, "seed": 9, "n": 2})
    assert seeds(answer.text) == [9, 10]
    assert f'value="{NAME}"' in answer.text


def test_the_page_says_what_was_wrong_and_keeps_what_was_typed(client: httpx.Client) -> None:
    for answer in (
        client.post("/generate", data={"name": "tea", "n": "99"}, headers={"Accept": BROWSER}),
        client.get("/", params={"name": "tea", "n": "99"}),
    ):
        assert answer.status_code == 422
        assert "from 1 to 8" in answer.text
        assert 'value="tea"' in answer.text


def test_names_are_escaped(client: httpx.Client) -> None:
    name = '"><script>alert(1)</script>'
    for answer in (
        client.get("/", params={"name": name}),
        order_by_form(client, name=name),
    ):
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;" in answer.text


def test_the_language_comes_by_link_then_cookie_then_browser(client: httpx.Client) -> None:
    def language(query: str = "", **headers: str) -> str:
        found = re.search('<html lang="(..)"', client.get(f"/{query}", headers=headers).text)
        assert found
        return found[1]

    japanese = {"Accept-Language": "ja-JP,ja;q=0.9"}
    assert language() == "en"
    assert language(**japanese) == "ja"
    assert language("?lang=en", **japanese) == "en"
    assert language(**japanese) == "en"  # by the cookie that the link has set
    assert language("?lang=xx", **japanese) == "en"


def test_both_languages_have_all_words(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/nowhere"):
        english, japanese = (
            client.get(path, params={"lang": lang}, headers={"Accept": BROWSER}).text for lang in ("en", "ja")
        )
        assert english != japanese
        assert "Jinja" not in english
        assert re.search("[ぁ-ん]", japanese)


def languages(client: httpx.Client, address: str) -> list[str]:
    """Where a page's links to itself in each language lead."""
    page = client.get(address, headers={"Accept": BROWSER}).text
    found = re.findall(r'<a href="([^"]*)" lang="[a-z]+" hreflang', page)
    assert len(found) == 2, found
    return [html.unescape(link) for link in found]


@pytest.mark.parametrize(
    "address",
    [
        "/",
        f"/?name={quote(NAME)}&seed=7&n=2",
        "/dish?name=tea&seed=1&mix=0.5%3Aegg&mix=1%3Aham",
        "/menu?dish=name%3Dtea&dish=name%3Dham",
        "/static/no%3Fthing.css?a=1&a=2",
    ],
)
def test_a_page_in_another_language_is_the_same_page(client: httpx.Client, address: str) -> None:
    path, _, query = address.partition("?")
    for lang, link in zip(("ja", "en"), languages(client, address), strict=True):
        there, _, asked = link.partition("?")
        assert (there, parse_qsl(asked)) == (path, [*parse_qsl(query), ("lang", lang)])
        assert languages(client, link)


@pytest.mark.parametrize("path", ["//evil.example/x", "///evil.example", "/%09/evil.example", "/%5Cevil.example"])
def test_no_address_makes_a_page_lead_elsewhere(client: httpx.Client, path: str) -> None:
    here = str(client.base_url).rstrip("/")
    for link in languages(client, here + path):
        assert urljoin(here, link).startswith(f"{here}/")


def test_the_table_is_laid_with_dishes_that_exist_nowhere_else(client: httpx.Client) -> None:
    page = client.get("/").text
    addresses = re.findall(r'<img src="(/dish.webp[^"]+)"', page)
    assert len(addresses) == 6
    assert client.get(addresses[0].replace("&amp;", "&")).status_code == 200


def test_a_surprise_is_a_name_or_leads_to_its_page(client: httpx.Client) -> None:
    names = {client.get("/surprise?lang=ja").json()["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(re.search("[ぁ-んァ-ン一-龠]", name) for name in names)
    client.cookies.clear()
    assert re.search("[a-z]", client.get("/surprise?lang=en").json()["name"])
    answer = client.get("/surprise?n=2", headers={"Accept": BROWSER})
    assert answer.status_code == 303
    assert len(seeds(client.get(answer.headers["location"]).text)) == 2


def test_notices_reach_the_page_the_json_and_the_header(client: httpx.Client) -> None:
    long = "とても長い名前の" * 20
    japanese = {"Accept-Language": "ja"}
    notice = client.post(
        "/generate", json={"name": long}, headers={"Accept": "application/json", **japanese}
    ).json()["notices"][0]
    assert "80文字" in notice
    assert notice in client.get("/", params={"name": long}, headers=japanese).text
    assert "80 characters" in order_by_form(client, name=long).text  # though the address is another request's
    header = client.post("/generate", json={"name": long}, headers=japanese).headers["cafeteria-notices"]
    assert unquote(header).startswith(notice)
    english = client.post("/generate", json={"name": long}, headers={"Accept": "application/json"}).json()
    assert "80 characters" in english["notices"][0]
    # What a cache may hand to others says what it depends on.
    assert client.get("/dish.png", params={"name": long}).headers["vary"] == "Accept-Language, Cookie"


def test_letters_that_the_model_has_not_learned_are_told(client: httpx.Client) -> None:
    answer = client.post("/generate", json={"name": "김치"}, headers={"Accept": "application/json"}).json()
    (notice,) = answer["notices"]
    assert "never met 김치," in notice
    assert notice in client.get("/", params={"name": "김치"}).text
    assert notice in client.get("/dish", params={"name": "김치"}).text
    japanese = client.get("/", params={"name": "김치"}, headers={"Accept-Language": "ja"}).text
    assert "김치はモデルの知らない文字です" in japanese


def test_look_alikes_have_one_picture_and_one_tag(client: httpx.Client) -> None:
    def picture_of(name: str) -> tuple[str, bytes]:
        answer = client.get("/dish.png", params={"name": name, "seed": 7})
        return answer.headers["etag"], answer.content

    assert picture_of("豆腐ハンハ゛一グ") == picture_of("豆腐ハンバーグ")
    assert picture_of("sаlmоn рarfait") == picture_of("salmon parfait")


# Negotiation


def test_an_unacceptable_accept_is_406(client: httpx.Client) -> None:
    for accept, n in (("audio/ogg", 1), ("image/png", 2), ("image/webp", 2), ("image/avif", 1)):
        answer = client.post("/generate", data={"name": NAME, "n": n}, headers={"Accept": accept})
        assert (answer.status_code, answer.json()["error"]["code"]) == (406, "not_acceptable")
    assert client.get("/dish.png?name=x", headers={"Accept": "text/plain"}).status_code == 406


# Hostile and mistaken requests

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


def part(name: str, value: bytes, more: str = "") -> bytes:
    return (
        b'--x\r\nContent-Disposition: form-data; name="'
        + name.encode()
        + b'"'
        + more.encode()
        + b"\r\n\r\n"
        + value
    )


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        (FORM, b"name=", 422, "empty_name"),
        (FORM, b"name=+%00%E2%80%8B", 422, "empty_name"),
        (FORM, b"n=1", 422, "missing_name"),
        (FORM, b"", 422, "missing_name"),
        (FORM, b"name=a&name=b", 422, "repeated_field"),
        (FORM, b"name=a&sede=1", 422, "unknown_field"),
        (FORM, "name=ピリ辛".encode("shift_jis"), 400, "not_utf8"),
        (FORM, b"name=%83s%83%8A", 400, "not_utf8"),
        (FORM, b"name=a&n=0", 422, "invalid_n"),
        (FORM, b"name=a&n=9", 422, "invalid_n"),
        (FORM, b"name=a&n=1.5", 422, "invalid_n"),
        (FORM, "name=a&n=４".encode(), 422, "invalid_n"),
        (FORM, b"name=a&seed=-1", 422, "invalid_seed"),
        (FORM, b"name=a&seed=4294967296", 422, "invalid_seed"),
        (FORM, b"name=a&seed=" + b"9" * 5000, 422, "invalid_seed"),
        (FORM, b"name=a&size=128", 422, "invalid_size"),
        (FORM, b"name=a&format=avif", 422, "invalid_format"),
        (MULTIPART, part("name", "ピリ辛".encode("shift_jis")) + b"\r\n--x--\r\n", 400, "not_utf8"),
        (MULTIPART, part("name", b"tea", '; filename="tea.txt"') + b"\r\n--x--\r\n", 422, "unexpected_file"),
        (MULTIPART, b"nothing of the kind", 400, "invalid_form"),
        ("multipart/form-data", b"--x--", 400, "invalid_form"),
        ("application/json", b'{"name": "\\ud800"}', 422, "invalid_name"),
        ("application/json", b'{"name": "\\u0000"}', 422, "empty_name"),
        ("application/json", b'{"name": null}', 422, "missing_name"),
        ("application/json", b'{"name": ["a"]}', 422, "invalid_name"),
        ("application/json", b'{"name": "a", "\\ud800": 1}', 422, "unknown_field"),
        ("application/json", b'{"name": "a", "seed": NaN}', 400, "invalid_json"),
        ("application/json", b'{"name": "a", "seed": Infinity}', 400, "invalid_json"),
        ("application/json", b'{"name": "a", "seed": 1e999}', 422, "invalid_seed"),
        ("application/json", b'{"name": "a", "seed": true}', 422, "invalid_seed"),
        ("application/json", b'{"name": "a", "seed": 1.0}', 422, "invalid_seed"),
        ("application/json", b'{"name": "a", "n": {}}', 422, "invalid_n"),
        ("application/json", b'{"name": "a", "seed": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        ("application/json", b'{"name": ' + b"[" * 20000 + b"]" * 20000 + b"}", 400, "invalid_json"),
        ("application/json", b'{"name": "a"', 400, "invalid_json"),
        ("application/json", b"[]", 422, "not_an_object"),
        ("application/json", '{"name": "丼"}'.encode("shift_jis"), 400, "not_utf8"),
        ("text/plain", b"name=a", 415, "unsupported_media_type"),
        ("", b"name=a", 415, "unsupported_media_type"),
        (FORM, b"name=" + b"a" * 70000, 413, "body_too_large"),
    ],
)
def test_a_bad_request_has_a_clear_answer(
    client: httpx.Client, kind: str, body: bytes, status: int, code: str
) -> None:
    for language, accept in (("en", "*/*"), ("ja", "*/*"), ("en", BROWSER)):
        headers = {"Content-Type": kind, "Accept": accept, "Accept-Language": language}
        answer = client.post("/generate", content=body, headers=headers)
        assert answer.status_code == status, answer.text
        if accept == "*/*":
            error = answer.json()["error"]
            assert error["code"] == code
            assert bool(re.search("[ぁ-ん]", error["message"])) == (language == "ja")
            assert len(answer.content) < 600
        else:
            assert "text/html" in answer.headers["content-type"]


def test_a_body_of_unknown_length_is_limited_too(client: httpx.Client) -> None:
    answer = client.post(
        "/generate", content=iter([b"name=", *[b"a" * 10000] * 8]), headers={"Content-Type": FORM}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_name"),
        ("name=", "empty_name"),
        ("name=%83s%83%8A", "not_utf8"),
        ("name=%ED%A0%80", "not_utf8"),
        ("name=a&seed=" + "9" * 5000, "invalid_seed"),
        ("name=a&seed=x", "invalid_seed"),
        ("name=a&size=1", "invalid_size"),
        ("name=a&name=b", "repeated_field"),
    ],
)
def test_a_bad_permalink_has_a_clear_answer(client: httpx.Client, query: str, code: str) -> None:
    answer = client.get(f"/dish.png?{query}")
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize(
    "name", ["a" * 10_000, "🍣🍜", "👩‍🍳のスープ", "حساء", "ｶﾞｲｺﾂ", "\t a \x00 b ", "𠮷野家"]
)
def test_odd_names_give_pictures(client: httpx.Client, name: str) -> None:
    answer = client.post("/generate", json={"name": name, "size": 64})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"


def test_unknown_addresses_and_methods_have_the_same_shape(client: httpx.Client) -> None:
    assert client.get("/nowhere").json()["error"]["code"] == "not_found"
    assert client.get("/static/nothing.css").json()["error"]["code"] == "not_found"
    answer = client.get("/generate")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    for address in ("/nowhere", "/static/nothing.css"):
        page = client.get(address, headers={"Accept": BROWSER})
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        for found in re.findall(r'<(?:link|script)[^>]* (?:href|src)="([^"]+)"', page.text):
            assert client.get(found).status_code == 200, found
        assert '<a class="primary" href="/">' in page.text


@pytest.mark.parametrize("path", ["/", "/dish", "/dish.png"])
def test_who_may_only_look_is_told_all_that_may_be_done(client: httpx.Client, path: str) -> None:
    answer = client.post(path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert answer.headers["allow"] in answer.json()["error"]["message"]
    for method in ("GET", "HEAD"):
        assert client.request(method, f"{path}?name=tea&seed=1").status_code == 200


# Safety


def test_every_answer_carries_the_security_headers(client: httpx.Client) -> None:
    for answer in (
        client.get("/"),
        client.get("/static/style.css"),
        client.get("/nowhere"),
        client.post("/generate", content=b"x" * 70000),
        client.post("/generate", data={"name": "a"}),
        client.post("/generate", data={"name": "a", "n": 2}),
    ):
        assert answer.headers["content-security-policy"].startswith("default-src 'none';")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "{self}"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "{self}"}, True),
        ({"Origin": "http://elsewhere.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[oops"}, False),
    ],
)
def test_forms_of_other_sites_are_refused(
    client: httpx.Client, headers: dict[str, str], allowed: bool
) -> None:
    own = f"{client.base_url.scheme}://{client.base_url.netloc.decode()}"
    headers = {key: value.format(self=own) for key, value in headers.items()}
    answer = client.post("/generate", data={"name": "a", "size": 64}, headers=headers)
    assert answer.status_code == (200 if allowed else 403)
    if not allowed:
        assert answer.json()["error"]["code"] == "cross_site"
    assert client.get("/dish.png?name=a&size=64", headers=headers).status_code == 200


def test_nothing_is_loaded_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/docs"):
        page = client.get(path).text
        shown = re.sub(r'<a [^>]*target="_blank"[^>]*>', "", page)  # where one goes to share a dish
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', shown):
            assert address.startswith(("/", "#")) or address == "", address
        # No inline code, which the policy would block.
        assert not re.search(r"<script(?![^>]*(src|application/json))|<style|style=|\son\w+=", page)


@pytest.mark.parametrize(
    "path",
    [
        "/?lang=ja",
        "/?lang=ja&name=tea&seed=1&n=8",
        "/dish?lang=ja&name=tea&mix=1:cake&to=soup&t=0.5&path=1.2.3&nearest=1",
        "/omakase?lang=ja",
    ],
)
def test_the_page_is_light(client: httpx.Client, path: str) -> None:
    """What is its own: HTML, style sheets and scripts, without pictures and the display face."""
    page = client.get(path)
    found = set(re.findall(r'(?:src|href)="(/static/[^"]+\.(?:js|css))"', page.text))
    todo = {address for address in found if "/fonts/" not in address}
    files: dict[str, bytes] = {}
    while todo:
        address = todo.pop()
        files[address] = client.get(address).content
        imported = re.findall(r'(?:from|import) "\./(.+?)"', files[address].decode())
        todo |= {f"/static/{name}" for name in imported} - files.keys()
    assert len(files) > 5
    assert len(page.content) + sum(map(len, files.values())) < 100_000


# Health and documentation


def test_health(client: httpx.Client, pipeline: Pipeline) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "model": pipeline.version, "device": "cpu"}


def test_openapi_describes_every_route(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/generate", "/dish.png", "/dish.webp", "/card.jpg", "/morph.webp", "/menu.zip", "/nearest", "/surprise",
        "/healthz", "/readyz", "/metrics", "/v1/images/generations", "/v1/models", "/v1/models/{id}",
    }  # fmt: skip
    for path in ("/dish.png", "/dish.webp", "/card.jpg", "/morph.webp"):
        assert set(schema["paths"][path]) == {"get"}
    generate = schema["paths"]["/generate"]["post"]
    assert set(generate["requestBody"]["content"]) == {MULTIPART.partition(";")[0], FORM, "application/json"}
    assert {"200", "400", "403", "406", "413", "415", "422", "503"} <= set(generate["responses"])


def test_the_examples_in_the_documentation_work(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = client.get("/docs?lang=ja").text
    python = re.search(r'id="example-python">(.*?)</code>', page, re.DOTALL)
    assert python
    code = python[1].replace("&#34;", '"').replace("&quot;", '"')
    printed: list[str] = []

    def urlopen(request: Request) -> io.BytesIO:
        assert isinstance(request.data, bytes)
        answer = client.post(
            request.full_url, content=request.data, headers={"Content-Type": FORM, **request.headers}
        )
        return io.BytesIO(answer.content)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    exec(code, {"print": lambda *words: printed.append(" ".join(map(str, words)))})
    assert [line.split()[0] for line in printed] == ["7", "8"]


# Faults of the model


def test_a_model_that_fails_is_a_plain_500(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = FakePipeline()
    with cafeteria(pipeline) as url, ready_client(url) as client:
        pipeline.broken = True
        for answer in (
            client.post("/generate", data={"name": "a"}),
            client.post("/generate", data={"name": "a", "n": 2}, headers={"Accept": "application/json"}),
            client.get("/dish.png?name=a"),
        ):
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "failed"
            assert "oven" not in answer.text
            assert answer.headers["x-content-type-options"] == "nosniff"
        # A stream has begun by then, and says so for each picture.
        events = [
            json.loads(line)
            for line in client.post("/generate", data={"name": "a", "n": 2}).text.splitlines()
        ]
        assert [event["event"] for event in events if "error" in event] == ["error", "error"]
        assert events[-1]["event"] == "done"
        # The sketch still comes.
        assert client.get("/dish.png?name=a&size=64").status_code == 200
    assert "the oven is cold" in caplog.text


class Spoilt(FakePipeline):
    """Cannot make seed 2."""

    def refine(self, sketches: Tensor, embeddings: Tensor, latents: Tensor) -> Tensor:
        if 2 in latents:
            raise RuntimeError("it burnt")
        return super().refine(sketches, embeddings, latents)


def test_a_picture_that_fails_alone_is_told_apart() -> None:
    with cafeteria(Spoilt()) as url, ready_client(url) as client:
        order = {"n": 3, "seed": 1}
        answer = client.post("/generate", json={"name": "tea", **order}, headers={"Accept": "application/json"})
        assert answer.status_code == 200
        made = answer.json()["pictures"]
        assert ["png" in picture for picture in made] == [True, False, True]
        assert ["error" in picture for picture in made] == [False, True, False]
        assert made[1]["error"]["code"] == "failed"
        # OpenAI's API has no place for a picture that is missing.
        refused = client.post("/v1/images/generations", json={"prompt": "tea", **order})
        assert (refused.status_code, refused.json()["error"]["code"]) == (500, "failed")
