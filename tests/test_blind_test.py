"""Judging by eye: sheets that tell nothing, keys that tell all, and counting that agrees with both."""

import io
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from model import sheets
from model.evaluation import blind_test
from model.evaluation.blind_test import FLAVOURS, FORMS, interval, read_answers
from model.pipeline import Pipeline
from model.words import words
from tests.conftest import make_checkpoint

RED, GREEN = (200, 0, 0), (0, 200, 0)


def flat(count: int, colour: tuple[int, int, int], side: int = 128) -> np.ndarray:
    return np.full((count, side, side, 3), colour, np.uint8)


def spots(test: blind_test.BlindTest, side: int, across: int) -> list[list[tuple[int, ...]]]:
    """The colours of the middles of every group's pictures, in the order of their numbers."""
    found = []
    pitch = across * (side + 4) - 4 + 12, side + 24 + 12
    for sheet in test.sheets:
        columns = (sheet.width - 12) // pitch[0]
        for place in range(columns * ((sheet.height - 12) // pitch[1])):
            x, y = 12 + place % columns * pitch[0] + side // 2, 12 + place // columns * pitch[1] + side // 2
            group = [tuple(np.asarray(sheet)[y, x + i * (side + 4)].tolist()) for i in range(across)]
            if (255, 255, 255) not in group:
                found.append(group)
    return found


# ---- pairs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "a_sheet"), [(128, 24), (256, 15)])
def test_the_key_says_which_side_is_which(side: int, a_sheet: int) -> None:
    names = [f"dish {i}" for i in range(30)]
    test = blind_test.pairs(
        names, flat(30, RED, side), flat(30, GREEN, side), ("red", "green"), 0, named=False, photographs=False
    )
    assert len(test.sheets) == -(-30 // a_sheet)
    assert all(1580 < sheet.width <= 1650 and sheet.height <= 1650 for sheet in test.sheets)
    lefts = [entry["left"] for entry in test.key["pairs"]]
    assert spots(test, side, 2) == [[RED, GREEN] if left == "A" else [GREEN, RED] for left in lefts]
    assert 8 < lefts.count("A") < 22
    assert [entry["name"] for entry in test.key["pairs"]] == names


def test_the_seed_decides_the_order() -> None:
    def lefts(seed: int) -> list[str]:
        test = blind_test.pairs(
            ["soup"] * 20, flat(20, RED), flat(20, GREEN), ("", ""), seed, named=False, photographs=False
        )
        return [entry["left"] for entry in test.key["pairs"]]

    assert lefts(1) == lefts(1) != lefts(2)


def test_names_stand_under_pairs_only_when_asked_for() -> None:
    def sheet(name: str, named: bool) -> bytes:
        test = blind_test.pairs(
            [name], flat(1, RED), flat(1, GREEN), ("a", "b"), 0, named=named, photographs=False
        )
        return test.sheets[0].tobytes()

    assert sheet("pea soup", False) == sheet("抹茶ラーメン", False)
    assert sheet("pea soup", True) != sheet("抹茶ラーメン", True)
    assert sheet("a very long name " * 9, True)  # is cut off


def test_the_question_is_about_photographs_where_there_are_some() -> None:
    def questions(photographs: bool) -> str:
        test = blind_test.pairs(
            ["soup"], flat(1, RED), flat(1, GREEN), ("a", "b"), 0, named=False, photographs=photographs
        )
        return test.questions

    assert "is a photograph" in questions(True)
    assert "photograph" not in questions(False)


def test_counting_gives_back_what_the_eyes_preferred() -> None:
    n = 60
    test = blind_test.pairs(
        ["soup"] * n, flat(n, RED), flat(n, GREEN), ("new 1a2b", "old 3c4d"), 7, named=False, photographs=False
    )
    # Eyes that like red in 45 of 60.
    answers = {
        i: "L" if (pair[0] == RED) == (i <= 45) else "right" for i, pair in enumerate(spots(test, 128, 2), 1)
    }
    assert len(answers) == n
    text = blind_test.count(json.loads(json.dumps(test.key)), answers)
    assert "60 of 60 answered" in text
    assert "A chosen 45 of 60: 75.0 % (95 % interval 62.8 to 84.2)   new 1a2b" in text
    assert "B chosen 15 of 60: 25.0 %" in text and "old 3c4d" in text
    few = blind_test.count(test.key, {i: answers[i] for i in range(1, 11)})
    assert "10 of 60 answered" in few and "A chosen 10 of 10: 100.0 %" in few


def test_the_interval_is_wilsons() -> None:
    assert interval(45, 60) == pytest.approx((0.6277, 0.8422), abs=1e-4)
    assert interval(0, 6) == pytest.approx((0, 0.3903), abs=1e-4)
    assert interval(6, 6) == pytest.approx((0.6097, 1), abs=1e-4)


# ---- quiz ------------------------------------------------------------------------------------------------


def test_the_quiz_has_every_form_in_every_flavour_of_the_vocabulary() -> None:
    dishes = blind_test.dishes()
    assert len(dishes) == len(set(dishes)) == 72
    assert {form for form, _ in dishes} == set(FORMS)
    assert all(name.endswith(form) for form, name in dishes)
    assert set(FORMS) <= {word.head for word in words("form")}
    vocabulary = {word.en for word in words()}
    assert all(any(flavour.endswith(word) for word in vocabulary) for flavour in FLAVOURS)


def quiz_of_colours(seed: int = 3) -> tuple[blind_test.BlindTest, dict[tuple[int, ...], str]]:
    """Every form is a colour."""
    forms, names = zip(*blind_test.dishes(), strict=True)
    colours = {form: (20 * i, 200 - 10 * i, 77) for i, form in enumerate(FORMS)}
    pictures = np.concatenate([flat(1, colours[form]) for form in forms])
    return blind_test.quiz(forms, names, pictures, "tiny", seed), {colours[form]: form for form in FORMS}


def test_the_quiz_is_counted_by_form_and_says_what_was_taken_for_what() -> None:
    test, forms = quiz_of_colours()
    shown = [forms[group[0]] for group in spots(test, 128, 1)]
    assert shown != sorted(shown) and shown != [form for form, _ in blind_test.dishes()]
    assert all(form in test.questions for form in FORMS)
    # Eyes that take every second cake for a pizza, say nothing to one and are right about the rest.
    answers, cakes = {}, 0
    for number, form in enumerate(shown, 1):
        cakes += form == "cake"
        answers[number] = "?" if form == "cake" and cakes == 1 else "Pizza" if form == "cake" and cakes % 2 else form
    text = blind_test.count(test.key, answers)
    assert "recognised 69 of 72: 95.8 %" in text
    (cake,) = (line for line in text.splitlines() if line.strip().startswith("cake"))
    assert "3 of 6: 50.0 %" in cake and "taken for pizza 2, ? 1" in cake
    (soup,) = (line for line in text.splitlines() if line.strip().startswith("soup"))
    assert "6 of 6" in soup and "taken" not in soup


def test_photographs_are_found_by_the_ends_of_their_names() -> None:
    cookies = [f"cookie {i} cookie" for i in range(9)]
    names = ["pea soup", "soup spoon", "lemon cakes", "pancake", "cheesecake", *cookies]
    found = blind_test.photographed(names, 0)
    assert [(form, names[row]) for form, row in found if form != "cookies"] == [
        ("soup", "pea soup"), ("pancakes", "pancake"), ("cake", "lemon cakes"),
    ]  # fmt: skip
    assert sum(form == "cookies" for form, _ in found) == 6


# ---- answers ---------------------------------------------------------------------------------------------


def test_answers_are_read_as_people_write_them() -> None:
    text = "1 L\n2:r\n\n# sheet 2\n 3, Right \n4. pea soup\r\n5\tcake"
    assert read_answers(text) == {1: "L", 2: "r", 3: "Right", 4: "pea soup", 5: "cake"}


@pytest.mark.parametrize(
    ("text", "message"), [("1 L\nL 2\n", "line 2 is 'L 2'"), ("1 L\n1 R", "line 2 answers 1"), ("7", "line 1")]
)
def test_a_line_that_is_no_answer_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_answers(text)


def test_answers_that_do_not_fit_are_named() -> None:
    test, _ = quiz_of_colours()
    for answers, message in [
        ({73: "soup"}, "73 is answered, and the sheets go from 1 to 72"),
        ({1: "stew"}, "the answer to 1 is 'stew'; the forms are soup, ramen"),
        ({}, "no answer"),
    ]:
        with pytest.raises(ValueError, match=message):
            blind_test.count(test.key, answers)
    pairs = blind_test.pairs(["a"], flat(1, RED), flat(1, RED), ("", ""), 0, named=False, photographs=False)
    with pytest.raises(ValueError, match="neither L nor R"):
        blind_test.count(pairs.key, {1: "both"})


# ---- the command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rows = []
    for i in range(8):
        file = io.BytesIO()
        Image.new("RGB", (160, 160), (30 * i, 90, 10)).save(file, "PNG")
        name = "smoky pea soup" if i < 2 else f"dish {i} salad"
        rows.append({"image": {"bytes": file.getvalue(), "path": ""}, "name": name, "kind": "free", "pixels": 160})
    pq.write_table(pa.Table.from_pylist(rows), folder / "validation-0.parquet")
    return folder


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(sheets.main, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_two_checkpoints_paint_the_same_names_and_latents(tiny_checkpoint: Path, tmp_path: Path) -> None:
    other = make_checkpoint(tmp_path / "other", seed=1)
    (tmp_path / "names.txt").write_text("pea soup\n\nトマトラーメン\n fried rice \npea soup\n", "utf-8")
    out, key = tmp_path / "out", tmp_path / "key.json"
    options = ["--names", tmp_path / "names.txt", "--count", 3, "--out", out, "--key", key, "--seed", 5]
    done = run("pairs", tiny_checkpoint, other, *options)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["questions.txt", "sheet-01.png"]
    truth = json.loads(key.read_text("utf-8"))
    assert {entry["name"] for entry in truth["pairs"]} == {"pea soup", "トマトラーメン", "fried rice"}
    sheet = np.asarray(Image.open(out / "sheet-01.png"))
    rng = random.Random(5)
    names = rng.sample(["pea soup", "トマトラーメン", "fried rice"], 3)
    seeds = [rng.randrange(2**32 - 1) for _ in names]
    for place, (entry, name, seed) in enumerate(zip(truth["pairs"], names, seeds, strict=True)):
        assert entry["name"] == name
        order = [tiny_checkpoint, other] if entry["left"] == "A" else [other, tiny_checkpoint]
        for i, folder in enumerate(order):
            x = 12 + place * (2 * 256 + 4 + 12) + i * 260
            shown = sheet[12 : 12 + 256, x : x + 256]
            assert np.array_equal(shown, Pipeline.load(folder, "cpu").generate([name], [seed])[0])


def test_a_photograph_stands_beside_a_picture_of_its_name(
    tiny_checkpoint: Path, photographs: Path, tmp_path: Path
) -> None:
    out, key = tmp_path / "out", tmp_path / "key.json"
    options = ["--data", photographs, "--size", 128, "--count", 7, "--out", out, "--key", key, "--captions"]
    done = run("pairs", tiny_checkpoint, "photographs", *options)
    assert done.exit_code == 0, done.output
    truth = json.loads(key.read_text("utf-8"))
    assert len({entry["name"] for entry in truth["pairs"]}) == 7  # one photograph a name
    assert "photographs" in truth["sides"]["B"]
    sheet = np.asarray(Image.open(out / "sheet-01.png"))
    for place, entry in enumerate(truth["pairs"]):
        x = 12 + place % 6 * 272 + (132 if entry["left"] == "A" else 0)
        y = 12 + place // 6 * 164
        red = 0 if "soup" in entry["name"] else 30 * int(entry["name"].split()[1])
        assert np.abs(sheet[y : y + 128, x : x + 128].astype(int) - (red, 90, 10)).max() <= 1
    assert "photograph" in (out / "questions.txt").read_text("utf-8")


def test_photographs_may_be_cut_by_crops(tiny_checkpoint: Path, photographs: Path, tmp_path: Path) -> None:
    crops = tmp_path / "crops.tsv"
    crops.write_text("file\trow\tx\ty\thalf\n" + "".join(f"validation-0.parquet\t{i}\t.5\t.5\t.4\n" for i in (3, 4)))
    options = ["--data", photographs, "--crops", crops, "--out", tmp_path / "out", "--key", tmp_path / "key.json"]
    assert run("pairs", tiny_checkpoint, "photographs", *options, "--count", 2).exit_code == 0
    truth = json.loads((tmp_path / "key.json").read_text("utf-8"))
    assert {entry["name"] for entry in truth["pairs"]} == {"dish 3 salad", "dish 4 salad"}


def test_the_quiz_of_photographs_and_its_count(photographs: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    done = run("quiz", "photographs", "--data", photographs, "--out", tmp_path / "out", "--key", key)
    assert done.exit_code == 0, done.output
    truth = json.loads(key.read_text("utf-8"))["pictures"]
    assert sorted(entry["form"] for entry in truth) == ["salad"] * 6 + ["soup"] * 2
    lines = [f"{entry['number']} {entry['form']}" for entry in truth]
    (tmp_path / "one.txt").write_text("\n".join(lines[:4]))
    (tmp_path / "two.txt").write_text("\n".join(lines[4:]))
    counted = run("count", key, tmp_path / "one.txt", tmp_path / "two.txt")
    assert counted.exit_code == 0 and "recognised 8 of 8: 100.0 %" in counted.output
    again = run("count", key, tmp_path / "one.txt", tmp_path / "one.txt")
    assert again.exit_code == 1 and "in another file too" in again.output


def test_the_quiz_of_a_checkpoint_has_72_pictures(tiny_checkpoint: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    done = run("quiz", tiny_checkpoint, "--out", tmp_path / "out", "--key", key, "--size", 128)
    assert done.exit_code == 0, done.output
    assert len(json.loads(key.read_text("utf-8"))["pictures"]) == 72
    for file in (tmp_path / "out").glob("*.png"):
        assert not getattr(Image.open(file), "text", None)


def test_what_would_spoil_a_test_or_cannot_be_read_is_said_in_a_line(
    tiny_checkpoint: Path, photographs: Path, tmp_path: Path
) -> None:
    def fails(*arguments: object) -> str:
        done = run(*arguments)
        assert done.exit_code in (1, 2)
        return " ".join(done.output.replace("│", " ").split())

    out, key = tmp_path / "out", tmp_path / "key.json"
    places = ["--out", out, "--key", key]
    pairs = ["pairs", tiny_checkpoint, "photographs"]
    assert "which those who answer are given" in fails(*pairs, "--out", out, "--key", out / "key.json")
    assert "Validation photographs are needed" in fails(*pairs, *places)
    assert "there are 7 names for 60 pairs" in fails(*pairs, "--data", photographs, *places)
    assert "leave --names out" in fails(*pairs, "--names", key, *places)
    assert "does not exist" in fails("quiz", tmp_path / "nothing", *places)
    nowhere = ["--names", tmp_path / "nowhere.txt"]
    assert "nowhere.txt" in fails("pairs", tiny_checkpoint, tiny_checkpoint, *nowhere, *places)
    out.mkdir()
    (out / "sheet-01.png").touch()
    assert "has sheets already" in fails("quiz", tiny_checkpoint, *places)
    assert not key.exists()
    key.write_text("[]")
    (tmp_path / "answers.txt").write_text("1 L\n")
    assert "not the key of such a test" in fails("count", key, tmp_path / "answers.txt")
    key.write_text("{")
    assert "key.json: not JSON" in fails("count", key, tmp_path / "answers.txt")
    assert "nowhere.json" in fails("count", tmp_path / "nowhere.json", tmp_path / "answers.txt")
