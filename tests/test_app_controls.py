"""The controls in the API: variations, mixing, taking away, word pieces, morphing; their limits and permalinks."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

import httpx
import numpy as np
import pytest
from PIL import Image

from app.application import create_app
from app.settings import Settings
from model import png
from model.pipeline import Pipeline
from tests.conftest import NAMES, knowing
from tests.serving import Query, Value, ready_client, serve

NAME = "親子丼"
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(scope="module")
def client(tiny_checkpoint: Path) -> Iterator[httpx.Client]:
    app = create_app(Settings(), knowing(Pipeline.load(tiny_checkpoint, "cpu")))
    with serve(app) as url, ready_client(url) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_cookies(client: httpx.Client) -> None:
    client.cookies.clear()


def dish(client: httpx.Client, **query: Value) -> httpx.Response:
    answer = client.get("/dish.png", params={"name": NAME, "seed": 7, "size": 64, **query})
    assert answer.status_code == 200, answer.text
    return answer


CONTROLS: list[Query] = [
    {"path": "1"},
    {"path": "2"},
    {"path": "1.1"},
    {"off": "0"},
    {"mix": "0.5:卵"},
    {"mix": "-1:卵"},
    {"mix": ["-1:卵", "0.5:サーモン"]},
    {"to": "カレー", "t": "0.5"},
    {"to_seed": "9", "t": "0.5"},
]


def test_each_control_makes_another_picture_with_an_address_of_its_own(client: httpx.Client) -> None:
    answers = [dish(client), *(dish(client, **control) for control in CONTROLS)]
    for what in ([a.content for a in answers], [a.headers["etag"] for a in answers]):
        assert len(set(what)) == len(answers)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_png_knows_the_recipe_that_makes_it_again(client: httpx.Client, control: Query) -> None:
    data = client.get("/dish.png", params={"name": NAME, "seed": 7, **control}).content
    metadata = png.read_metadata(data)
    assert metadata["Name"] == NAME
    again = client.get(f"/dish.png?{metadata['Recipe']}")
    assert again.content == data
    # Canonical: read and written once more, the recipe is the same.
    assert dict(parse_qsl(metadata["Recipe"]))["name"] == NAME


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"path": "03"}, {"path": "3"}),
        ({"off": "1,0,1"}, {"off": "0,1"}),
        ({"mix": ["0.25:卵", "0.25:　卵"]}, {"mix": "0.50:卵"}),
        ({"mix": ["1:卵", "-1:卵"]}, {}),
        ({"to": "カレー", "t": "1.00"}, {"to": "カレー", "t": "1"}),
        ({"path": "", "off": "", "mix": "", "to": "", "to_seed": "", "t": ""}, {}),
        ({"t": "0.5"}, {}),
    ],
)
def test_two_spellings_of_a_recipe_are_one_dish(
    client: httpx.Client, one: Query, other: Query
) -> None:
    assert dish(client, **one).headers["etag"] == dish(client, **other).headers["etag"]


def ask(client: httpx.Client, **fields: object) -> list[dict[str, object]]:
    answer = client.post("/generate", json={"name": NAME, **fields}, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer.json()["pictures"]


def test_several_variations_are_sisters(client: httpx.Client) -> None:
    made = ask(client, seed=7, path="3.1", n=3, size=64)
    assert [p["path"] for p in made] == ["3.1", "3.2", "3.3"]
    assert len({p["png"] for p in made}) == 3
    assert all(p["seed"] == 7 for p in made)
    for p in made:
        assert base64.b64decode(str(p["png"])) == client.get(str(p["url"])).content


def test_a_morph_comes_as_its_steps(client: httpx.Client) -> None:
    steps = ask(client, seed=7, to="カレー", n=5, size=64)
    assert [p["t"] for p in steps] == [0, 0.25, 0.5, 0.75, 1]
    start, end = (
        np.asarray(Image.open(io.BytesIO(dish(client, name=n).content))) for n in (NAME, "カレー")
    )
    first, last = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(str(steps[k]["png"]))))) for k in (0, -1)
    )
    assert np.array_equal(first, start)
    assert np.abs(last.astype(int) - end).max() <= 1
    (there,) = ask(client, seed=7, to="カレー", t=0.25, size=64)
    assert there["png"] == steps[1]["png"]


def test_the_controls_stream_too_and_come_by_form(client: httpx.Client) -> None:
    fields = {"name": NAME, "seed": "7", "n": "2", "to": "カレー", "mix": ["-1:卵", "0.5:鮭"]}
    answer = client.post("/generate", data=fields)
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [p["t"] for p in events[0]["pictures"]] == [0, 1]
    assert events[-1]["event"] == "done"


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ({"path": "0"}, "invalid_path", "path"),
        ({"path": "1..2"}, "invalid_path", "path"),
        ({"path": "10000"}, "invalid_path", "path"),
        ({"path": ".".join("1" * 17)}, "invalid_path", "path"),
        ({"path": "１"}, "invalid_path", "path"),
        ({"off": "99"}, "invalid_off", "off"),
        ({"off": "a"}, "invalid_off", "off"),
        ({"mix": "卵"}, "invalid_mix", "mix"),
        ({"mix": "2.01:卵"}, "invalid_mix", "mix"),
        ({"mix": "nan:卵"}, "invalid_mix", "mix"),
        ({"mix": "0.123:卵"}, "invalid_mix", "mix"),
        ({"mix": [f"1:{k}" for k in range(7)]}, "invalid_mix", "mix"),
        ({"mix": "1:\u200b"}, "empty_name", "mix"),
        ({"to": "\u200b"}, "empty_name", "to"),
        ({"to_seed": "-1"}, "invalid_seed", "to_seed"),
        ({"t": "1.1"}, "invalid_t", "t"),
        ({"t": "nan"}, "invalid_t", "t"),
    ],
)
def test_what_is_out_of_bounds_is_said_by_field(
    client: httpx.Client, query: Query, code: str, field: str
) -> None:
    for answer in (
        client.get("/dish.png", params={"name": NAME, **query}),
        client.post("/generate", data={"name": NAME, **query}),
        client.post("/generate", json={"name": NAME, **query}),
    ):
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == (code, field)


@pytest.mark.parametrize(
    "body",
    [
        {"mix": {"a": 1}}, {"mix": [1]}, {"mix": [["1:a"]]}, {"path": [1]}, {"t": []}, {"off": {}},
        {"t": float(10**300)}, {"path": True}, {"mix": "1:\ud800"},
    ],
)  # fmt: skip
def test_json_of_the_wrong_kind_is_refused_by_field(client: httpx.Client, body: dict[str, object]) -> None:
    content = json.dumps({"name": NAME, "size": 64, **body})
    answer = client.post("/generate", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [answer.json()["error"]["field"]] == list(body)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ('"to": 1234567, "t": 0.50', {"to": "1234567", "t": "0.5"}),
        ('"to": 12.50, "t": 1', {"to": "12.50", "t": "1"}),
        ('"to": 1e3, "t": 1.0', {"to": "1e3", "t": "1"}),
        ('"path": 3', {"path": "3"}),
        ('"path": 3.10', {"path": "3.10"}),
        ('"path": 123.4567', {"path": "123.4567"}),
        ('"off": 1', {"off": "1"}),
        (f'"to": 1{"0" * 400}, "t": 1', {"to": f"1{'0' * 79}", "t": "1"}),
    ],
)
def test_a_number_in_json_is_read_as_it_is_written(
    client: httpx.Client, number: str, expected: dict[str, str]
) -> None:
    answer = client.post(
        "/generate",
        content=f'{{"name": "{NAME}", "seed": 7, "size": 64, {number}}}',
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    recipe = dict(fields(answer.json()["pictures"][0]["url"]))
    assert {key: recipe[key] for key in recipe.keys() & {"path", "off", "to", "t"}} == expected


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("t", "1e-05"), ("t", "1e400"), ("path", "0.5"), ("path", "1e2"), ("off", "1.0"), ("name", "1.5"),
        *((field, "1" + "0" * 400) for field in ("t", "path", "off")),
    ],
)  # fmt: skip
def test_a_number_in_json_that_fits_no_field_is_refused(client: httpx.Client, field: str, number: str) -> None:
    before = "" if field == "name" else f'"name": "{NAME}", '
    answer = client.post(
        "/generate", content=f'{{{before}"{field}": {number}}}', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, f"invalid_{field}")


# The seat at the counter


def page(client: httpx.Client, at: str = "/dish", **query: Value) -> str:
    answer = client.get(at, params={"name": NAME, "seed": 7, **query}, headers={"Accept": BROWSER})
    assert answer.status_code == 200, answer.text
    return answer.text


def link(text: str, id: str) -> str:
    """Where the link with this id leads."""
    found = re.search(rf'<a id="{id}"[^>]* href="([^"]+)"', text)
    assert found, id
    return html.unescape(found[1])


def fields(address: str) -> list[tuple[str, str]]:
    return parse_qsl(address.partition("?")[2])


def test_the_counter_leads_to_variations_and_back(client: httpx.Client) -> None:
    child = link(page(client), "child-2")
    assert fields(child) == [("name", NAME), ("seed", "7"), ("path", "2")]
    grandchild = link(client.get(child).text, "child-1")
    assert ("path", "2.1") in fields(grandchild)
    text = client.get(grandchild).text
    assert fields(link(text, "back-1")) == [("name", NAME), ("seed", "7")]
    assert fields(link(text, "back-2")) == fields(child)
    others = client.get(link(text, "others")).text
    assert ("path", "2.1.5") in fields(link(others, "child-1"))


def test_the_deepest_variation_has_no_children(client: httpx.Client) -> None:
    assert 'id="child-1"' not in page(client, path=".".join("1" * 16))


def test_the_counter_switches_pieces_off_and_on(client: httpx.Client) -> None:
    off = link(page(client), "piece-1")
    assert ("off", "1") in fields(off)
    assert "off" not in dict(fields(link(client.get(off).text, "piece-1")))


def test_a_letter_without_a_piece_is_one_chip(client: httpx.Client) -> None:
    text = page(client, name="鰻丼")  # no name of the tokenizer's training has an eel
    chips = re.findall(r'<a id="(piece-\d+)"[^>]*>([^<]+)</a>', text)
    assert [shown for _, shown in chips] == ["鰻", "丼"]
    off = link(text, chips[0][0])
    places = dict(fields(off))["off"].split(",")
    assert len(places) == 3  # its bytes
    again = client.get(off).text
    assert 'class="piece off"' in again
    assert "off" not in dict(fields(link(again, chips[0][0])))


def test_the_counter_adds_and_takes_ingredients_in_the_pages_language(client: httpx.Client) -> None:
    japanese, english = page(client, lang="ja"), page(client, lang="en")
    more, less = link(japanese, "pantry-1-more"), link(japanese, "pantry-1-less")
    assert dict(fields(more))["mix"].startswith("0.5:") and dict(fields(less))["mix"].startswith("-0.5:")
    assert re.search("[ぁ-んァ-ヶ一-龠]", dict(fields(more))["mix"])
    assert re.fullmatch(r"0.5:[a-z ]+", dict(fields(link(english, "pantry-1-more")))["mix"])
    added = client.get(f"{more}&lang=ja").text
    assert "mix" not in dict(fields(link(added, "pantry-1-less")))  # 0.5 less of 0.5 is none
    assert ("mix", dict(fields(more))["mix"].replace("0.5:", "1:")) in fields(link(added, "pantry-1-more"))


def test_what_is_in_the_dish_has_a_slider_each(client: httpx.Client) -> None:
    mixed = page(client, mix=["-1:雪男", "0.5:虹"])
    assert re.findall(r'name="amount"[^>]* value="([^"]+)"', mixed) == ["-1.0", "0.5"]
    assert fields(link(mixed, "mixed-2-none")) == [("name", NAME), ("seed", "7"), ("mix", "-1:雪男")]
    full = page(client, mix=[f"1:{k}" for k in range(6)])
    assert 'id="pantry-1-more"' not in full and 'id="amount-6"' in full


def test_an_amount_is_set_in_its_place(client: httpx.Client) -> None:
    query: Query = {"name": NAME, "seed": 7, "mix": ["-1:卵", "0.5:鮭"], "word": "卵"}
    for amount, entries in (("0.35", ["0.35:卵", "0.5:鮭"]), ("-2", ["-2:卵", "0.5:鮭"]), ("0", ["0.5:鮭"])):
        answer = client.get("/dish", params={**query, "amount": amount})
        assert answer.status_code == 303
        assert [value for key, value in fields(answer.headers["location"]) if key == "mix"] == entries
    assert client.get("/dish", params={**query, "amount": "2.05"}).status_code == 422


def test_the_first_ingredients_are_such_as_everybody_knows(client: httpx.Client) -> None:
    first = page(client, lang="en")
    assert ("mix", "0.5:tomato") in fields(link(first, "pantry-2-more"))
    others = client.get(link(first, "pantry") + "&lang=en").text
    assert fields(link(others, "pantry-2-more")) != fields(link(first, "pantry-2-more"))


def test_a_word_of_ones_own_becomes_part_of_the_address(client: httpx.Client) -> None:
    for how, entry in (("take", "-1:卵"), ("add", "0.5:卵")):
        query: Query = {"name": NAME, "seed": 7, "word": "　卵 ", "how": how}
        answer = client.get("/dish", params=query)
        assert answer.status_code == 303
        assert fields(answer.headers["location"]) == [("name", NAME), ("seed", "7"), ("mix", entry)]
    assert client.get("/dish", params={"name": NAME, "word": "\u200b"}).status_code == 422


def test_the_morph_is_a_strip_of_dishes(client: httpx.Client) -> None:
    text = page(client, to="カレー", t="0.5")
    assert [dict(fields(link(text, f"step-{k}"))).get("t", "0") for k in range(1, 8)] == [
        "0", "0.17", "0.33", "0.5", "0.67", "0.83", "1",
    ]  # fmt: skip
    assert fields(link(text, "no-morph")) == [("name", NAME), ("seed", "7")]


def test_a_morph_may_lead_to_another_number_alone(client: httpx.Client) -> None:
    elsewhere = fields(link(page(client), "elsewhere"))
    assert [key for key, _ in elsewhere] == ["name", "seed", "to_seed", "t"]
    text = page(client, to_seed="9", t="0.5")
    assert [dict(fields(link(text, f"step-{k}"))).get("t", "0") for k in (1, 4, 7)] == ["0", "0.5", "1"]
    assert "→ #9 50%" in text
    assert dish(client, to_seed="9", t="0.5").content != dish(client, to_seed="9", t="1").content
    there, nine = (
        Image.open(io.BytesIO(dish(client, **query).content)) for query in ({"to_seed": "9", "t": "1"}, {"seed": 9})
    )
    assert np.array_equal(np.asarray(there), np.asarray(nine))


def test_a_permalink_says_which_model_made_it(client: httpx.Client) -> None:
    model = client.get("/readyz").json()["model"]
    found = re.search('class="permalink" href="([^"]+)"', page(client, path="3"))
    assert found
    permalink = html.unescape(found[1])
    assert fields(permalink)[-2:] == [("model", model), ("shared", "1")]
    said = "so the picture may differ"
    assert said not in client.get(permalink, params={"lang": "en"}).text
    for at in ("/", "/dish"):
        assert said in page(client, at, lang="en", model="0123456789ab")
        assert "script" not in page(client, at, lang="en", model="<script>").partition("<main")[2][:400]


def test_a_weight_stays_on_a_line_with_its_word(client: httpx.Client) -> None:
    query: dict[str, Value] = {"mix": ["0.5:broccoli", "-1:red wine"], "to": "curry", "t": "0.4"}
    title = "親子丼 +\u00a00.5\u00a0broccoli −\u00a0red wine →\u00a0curry 40%"
    text = page(client, "/dish", **query)
    assert f'<h1 id="dish-heading">{NAME}</h1>' in text
    chips = re.findall(r'class="chip [a-z]+" href="([^"]+)"[^>]*>(.+?) <', text)
    assert [label for _, label in chips] == ["+ 0.5 broccoli", "− red wine", "→ curry 40%"]
    assert [len(fields(html.unescape(address))) for address, _ in chips] == [5, 5, 4]  # each without its part
    assert "broccoli&nbsp;<b>+0.5</b>" in page(client, mix="0.5:broccoli", lang="en")
    recipe = urlencode({"name": NAME, **query}, doseq=True)
    assert f">{title}<" in client.get("/menu", params={"dish": recipe}).text
    assert "\u00a0" not in client.get("/nearest", params={"name": NAME, **query}).json()["name"]


def test_no_other_model_answers_for_a_picture(client: httpx.Client) -> None:
    model, other = client.get("/readyz").json()["model"], "0123456789ab"
    order = {"name": NAME, "seed": 7, "size": 64, "mix": ["0.5:卵"]}
    (made,) = client.post("/generate", json=order, headers={"Accept": "application/json"}).json()["pictures"]
    assert dict(fields(made["url"]))["model"] == model
    answer = client.get(made["url"])
    assert answer.content == base64.b64decode(made["png"])
    plain = client.get(made["url"].partition("&model=")[0])
    assert plain.headers["etag"] == answer.headers["etag"]
    again = client.get(made["url"], headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304

    old = made["url"].replace(model, other)
    recipe = quote(old.partition("?")[2])
    for address in (old, old.replace("/dish.png", "/nearest"), f"/menu.zip?dish={recipe}", f"/menu?dish={recipe}"):
        refused = client.get(address, headers={"If-None-Match": "*", "Accept-Language": "en"})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (404, "other_model")
        assert model in error["message"] and other in error["message"]
        assert "no-store" in refused.headers["cache-control"] and "etag" not in refused.headers
    shown = client.get(old, headers={"Accept": BROWSER, "Accept-Language": "en"})
    assert (shown.status_code, shown.text.count(other)) == (404, 1 + 2)  # said once; two links to other languages
    assert client.get("/dish.png?name=tea&model=latest").json()["error"]["code"] == "invalid_model"
    assert client.get("/dish.png?name=tea&model=").status_code == 200


def test_a_number_can_be_kept_without_a_script(client: httpx.Client) -> None:
    def number(text: str) -> str:
        found = re.search(r'<input id="seed"[^>]* value="([^"]*)"', text)
        assert found
        return found[1]

    assert number(client.get("/", params={"seed": "9"}).text) == "9"
    assert number(client.get("/", params={"seed": "<9"}).text) == ""
    headers = {"Accept": BROWSER}
    for seed, kept in (("9", "9"), ("0", "0"), ("", ""), (" ", "")):
        ordered = client.post("/generate?lang=ja", data={"name": NAME, "seed": seed}, headers=headers)
        shown = client.get(ordered.headers["location"])
        assert number(shown.text) == kept
        assert '<html lang="ja"' in shown.text
    assert number(page(client, "/")) == ""  # a permalink's own number is not the next order's
    surprise = client.get("/surprise", params={"seed": "9"}, headers=headers)
    assert dict(fields(surprise.headers["location"]))["seed"] == "9"


def test_a_permalink_shows_its_picture_where_it_is_shared(client: httpx.Client) -> None:
    for text in (page(client, mix="-1:卵"), page(client, path="3"), page(client, "/")):
        properties = dict(re.findall(r'<meta property="(og:[^"]+)" content="([^"]*)">', text))
        assert NAME in properties["og:title"]
        assert properties["og:image"].startswith("http://")
        answer = client.get(html.unescape(properties["og:image"]))
        assert answer.headers["content-type"] == "image/jpeg"
        assert client.get(html.unescape(properties["og:url"]), headers={"Accept": BROWSER}).status_code == 200


@pytest.mark.parametrize(
    "query", ["child=0", "child=99999", "child=x", "pantry=-1", "pantry=9999", "nearest=1"]
)
def test_what_only_turns_the_page_never_breaks_it(client: httpx.Client, query: str) -> None:
    assert client.get(f"/dish?name=tea&{query}").status_code == 200


def test_a_bad_address_of_the_counter_is_said(client: httpx.Client) -> None:
    answer = client.get("/dish", params={"name": NAME, "path": "x"}, headers={"Accept": BROWSER})
    assert (answer.status_code, "“path” is up to" in answer.text) == (422, True)


def test_names_at_the_counter_are_escaped(client: httpx.Client) -> None:
    name = '"><script>alert(1)</script>'
    for text in (
        page(client, name=name, to=name, mix=f"1:{name}"),
        client.get("/table", params={"names": name}).text,
    ):
        assert "<script>alert" not in text


# The table


def test_the_table_has_a_row_a_name_and_a_column_a_seed(client: httpx.Client) -> None:
    text = client.get("/table", params={"names": f"{NAME}\r\n\r\ntea\r\n", "n": 3, "seed": 5}).text
    cells = [fields(html.unescape(a)) for a in re.findall(r'<a id="cell[^"]*"[^>]* href="([^"]+)"', text)]
    assert cells == [[("name", n), ("seed", str(s))] for n in (NAME, "tea") for s in (5, 6, 7)]
    once = client.get("/table", params={"names": "a\nb", "n": 2}).text  # a seed at random is one for all rows
    seeds = re.findall(r'<a id="cell[^"]*"[^>]* href="[^"]+seed=(\d+)"', once)
    assert seeds[:2] == seeds[2:]


@pytest.mark.parametrize("query", ["names=" + "a%0A" * 9, "names=a&seed=x", "names=%83s", "names=a&names=b"])
def test_a_table_that_cannot_be_laid_says_why(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/table?{query}")
    assert 400 <= answer.status_code < 500
    assert 'id="problem"' in answer.text


def test_a_file_name_fits_every_file_system(client: httpx.Client) -> None:
    query: Query = {"name": "長" * 80, "path": ".".join(["9999"] * 16), "mix": "-1:卵", "download": "1", "size": 64}
    disposition = client.get("/dish.png", params=query).headers["content-disposition"]
    name = unquote(disposition.partition("UTF-8''")[2])
    assert len(name.encode()) <= 255
    assert name.endswith(".9999.png")


# What is near


def test_what_exists_is_told_from_what_is_new(client: httpx.Client) -> None:
    known = client.get("/nearest", params={"name": NAME, "seed": 7}).json()
    assert (known["name"], known["exists"], known["by_name"]["novelty"]) == (NAME, True, 0)
    assert known["by_name"]["names"][0] == {"name": NAME, "distance": 0}
    for changed in ({"name": NAME, "mix": "-1:卵"}, {"name": NAME, "off": "0"}, {"name": "雪男丼"}):
        assert client.get("/nearest", params=changed).json()["exists"] is False
    near = known["by_picture"]["names"]
    assert {one["name"] for one in near} <= set(NAMES)
    assert [one["distance"] for one in near] == sorted(one["distance"] for one in near)
    # The picture decides, not the name.
    other = client.get("/nearest", params={"name": NAME, "seed": 8}).json()
    assert (other["by_name"], other["by_picture"]) != (known["by_name"], known["by_picture"])
    assert other["by_name"] == known["by_name"]
    text = page(client, nearest=1, lang="en")
    assert f"“{NAME}” exists" in text and "Its picture:" in text
    assert "Its name:" in page(client, nearest=1, lang="en", name="雪男丼")


def test_nothing_is_said_of_what_is_new_without_an_index(tiny_checkpoint: Path) -> None:
    app = create_app(Settings(), Pipeline.load(tiny_checkpoint, "cpu"))
    with serve(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        answer = client.get("/nearest?name=tea")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_index")


# The menu of one's own


def test_a_menu_is_a_page_and_a_zip_of_its_dishes(client: httpx.Client) -> None:
    dishes = [f"name={quote(NAME)}&seed=7&mix={quote('-1:卵')}", "name=a/b:c&seed=1&path=2"]
    text = client.get("/menu", params={"dish": dishes}).text
    shown = [html.unescape(a) for a in re.findall(r'<img src="(/dish.webp[^"]+)"', text)]
    assert len(shown) == 2
    answer = client.get(html.unescape(re.findall(r'href="(/menu.zip[^"]+)"', text)[0]))
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"01 {NAME} − 卵-7.png", "02 a-b-c-1.2.png"]
        for name, address in zip(archive.namelist(), shown, strict=True):
            assert archive.read(name) == client.get(address.replace("/dish.webp", "/dish.png")).content


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "invalid_menu"),
        ("dish=name%3Da&" * 25, "invalid_menu"),
        ("dish=", "missing_name"),
        ("dish=name%3Da%26seed%3Dx", "invalid_seed"),
        ("dish=name%3D%2583s", "not_utf8"),
        ("dish=name%3Da%26name%3Db", "repeated_field"),
    ],
)
def test_a_menu_that_cannot_be_made_says_why(client: httpx.Client, query: str, code: str) -> None:
    for path in ("/menu", "/menu.zip"):
        answer = client.get(f"{path}?{query.rstrip('&')}")
        assert (answer.status_code in (400, 422), answer.json()["error"]["code"]) == (True, code)


# The documentation


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")
@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_curl_line_of_the_documentation_works(
    client: httpx.Client, language: str, tmp_path: Path
) -> None:
    text = client.get("/docs", params={"lang": language}).text
    lines = [html.unescape(line) for line in re.findall(r"<code id=\"[^\"]+\">(curl [^<]+)</code>", text)]
    assert len(lines) == 12
    for line in lines:
        command, *arguments = shlex.split(line)
        done = subprocess.run(
            [command, "--fail-with-body", "--silent", "--show-error", "--noproxy", "*", *arguments],
            cwd=tmp_path,
            capture_output=True,
            timeout=30,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if "-o" not in arguments:
            answer = json.loads(done.stdout)
            assert answer.get("name") or [picture["seed"] for picture in answer["data"]] == [7, 8]
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        match path.suffix:
            case ".png":
                assert png.read_metadata(data)["Software"]
            case ".jpg" | ".webp":
                with Image.open(path) as image:
                    assert image.size == {".jpg": (1200, 630), ".webp": (256, 256)}[path.suffix]
            case ".zip":
                assert len(zipfile.ZipFile(path).namelist()) == 2
            case ".ndjson":
                assert [p["t"] for p in json.loads(data.splitlines()[0])["pictures"]][::7] == [0, 1]
    assert len(list(tmp_path.iterdir())) == 8  # dish.png is written twice
