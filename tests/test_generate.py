"""Pictures from the shell: which files there are, what they say, and what is refused how."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from model import png
from model.contact_sheet import ContactSheet, drawable
from model.generate import main
from model.pipeline import MAX_SEED, Pipeline


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


def run(checkpoint: Path, out: Path, *arguments: str, stdin: bytes = b"") -> Result:
    options = ["--out", str(out), "--checkpoint", str(checkpoint), "--device", "cpu"]
    result = CliRunner().invoke(main, [*arguments, *options], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_one_picture_a_name_and_variant_and_a_sheet(tiny_checkpoint: Path, out: Path) -> None:
    result = run(tiny_checkpoint, out, "ピリ辛サーモン丼", "pea soup", "-n", "3", "--seed", "40")
    assert result.exit_code == 0, result.output
    expected = [f"0000{row}-{k}.png" for row in (0, 1) for k in (0, 1, 2)]
    assert sorted(path.name for path in out.iterdir()) == [*expected, "sheet.png"]
    pipeline = Pipeline.load(tiny_checkpoint, device="cpu")
    names = ["ピリ辛サーモン丼"] * 3 + ["pea soup"] * 3
    for file, name, seed, picture in zip(
        expected, names, [40, 41, 42] * 2, pipeline.generate(names, [40, 41, 42] * 2), strict=True
    ):
        assert np.array_equal(pixels(out / file), picture)
        assert png.read_metadata((out / file).read_bytes()) == {
            "Name": name, "Seed": str(seed), "Model": pipeline.version, "Software": "Imaginary Cafeteria",
        }  # fmt: skip
    assert f"6 pictures and sheet.png in {out}: model {pipeline.version}, cpu" in result.output


def test_a_list_of_names_from_a_file_and_from_stdin(tiny_checkpoint: Path, tmp_path: Path, out: Path) -> None:
    text = "\ufeff抹茶ラーメン\r\n\n  pea soup \n鮭".encode()
    (tmp_path / "names.txt").write_bytes(text)
    assert run(tiny_checkpoint, out, "--names", str(tmp_path / "names.txt"), "--size", "64").exit_code == 0
    names = [png.read_metadata(path.read_bytes())["Name"] for path in sorted(out.glob("0*"))]
    assert names == ["抹茶ラーメン", "pea soup", "鮭"]
    assert pixels(out / "00000-0.png").shape == (64, 64, 3)

    other = tmp_path / "other"
    assert run(tiny_checkpoint, other, "--names", "-", "--size", "64", stdin=text).exit_code == 0
    for path in out.iterdir():
        assert (other / path.name).read_bytes() == path.read_bytes()


def test_only_the_pictures_being_made_are_overwritten(tiny_checkpoint: Path, out: Path) -> None:
    out.mkdir()
    for name in ("00000-0.png", "00001-0.png", "notes.txt"):
        (out / name).write_text("mine")
    assert run(tiny_checkpoint, out, "鮭", "--size", "64").exit_code == 0
    assert pixels(out / "00000-0.png").shape == (64, 64, 3)
    assert (out / "00001-0.png").read_text() == (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == [
        "00000-0.png",
        "00001-0.png",
        "notes.txt",
        "sheet.png",
    ]


def test_the_progress_bar_comes_with_more_than_a_few(tiny_checkpoint: Path, out: Path) -> None:
    assert "5/5" in run(tiny_checkpoint, out, "鮭", "-n", "5", "--size", "64").stderr
    assert "1/1" not in run(tiny_checkpoint, out, "鮭", "--size", "64").stderr


def test_bad_lines_are_all_named_and_nothing_is_made(
    tiny_checkpoint: Path, tmp_path: Path, out: Path
) -> None:
    listing = tmp_path / "names.txt"
    listing.write_text("鮭\n\x00\npea soup\n\u200b\n")
    result = run(tiny_checkpoint, out, "--names", str(listing))
    assert result.exit_code == 1
    assert f"{listing}, line 2: " in result.stderr
    assert f"{listing}, line 4: " in result.stderr
    assert "line 1" not in result.stderr
    assert "line 3" not in result.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give names of dishes, or --names FILE"),
        (["鮭", "--names", "-"], "Give names of dishes, or --names FILE"),
        (["--names", "-"], "standard input has no names"),
        (["--names", "nowhere.txt"], "nowhere.txt cannot be read: No such file"),
        ([" "], "Name 1: "),
        (["鮭", "--seed", str(MAX_SEED + 1)], f"0<=x<={MAX_SEED}"),
        (["鮭", "--seed", str(MAX_SEED), "-n", "2"], f"over the last seed, {MAX_SEED}"),
        (["鮭", "-n", "0"], "1<=x<="),
        (["鮭", "--size", "128"], "'128' is not one of '64', '256'"),
        (["鮭", "--device", "tpu"], "device 'tpu' is none of auto, cpu"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tiny_checkpoint: Path, out: Path, arguments: list[str], message: str
) -> None:
    options = ["--out", str(out), "--checkpoint", str(tiny_checkpoint)]
    result = CliRunner().invoke(main, [*options, *arguments])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert not out.exists()


def test_a_list_that_is_not_utf_8_names_the_line(tiny_checkpoint: Path, out: Path) -> None:
    result = run(tiny_checkpoint, out, "--names", "-", stdin="鮭\n抹茶ラーメン".encode("cp932"))
    assert "standard input, line 1 is not UTF-8" in result.stderr


def test_a_checkpoint_that_is_none_is_named(tmp_path: Path, out: Path) -> None:
    result = run(tmp_path / "nowhere", out, "鮭")
    assert result.exit_code == 1
    assert f"{tmp_path / 'nowhere'} does not exist" in result.stderr


def test_a_folder_that_cannot_be_written_is_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(tiny_checkpoint, tmp_path / "file" / "pictures", "鮭")
    assert result.exit_code == 1
    assert "cannot be written: Not a directory" in result.stderr


def test_a_long_name_is_told_with_its_line(tiny_checkpoint: Path, out: Path) -> None:
    result = run(tiny_checkpoint, out, "--names", "-", "--size", "64", stdin=("鮭\n" + "ゑ" * 40).encode())
    assert result.exit_code == 0
    assert re.search("standard input, line 2: .*48 word pieces", result.stderr)
    assert "line 1" not in result.stderr


def test_help_explains_every_option() -> None:
    options = [parameter for parameter in main.params if parameter.param_type_name == "option"]
    assert len(options) == 7
    assert all(getattr(option, "help", None) for option in options)


@pytest.mark.parametrize("name", ["crème brûlée", "抹茶ラーメン", "🍣 パフェ", "x" * 500, "حساء"])
def test_png_keeps_picture_and_text(name: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    data = png.encode(picture, png.describe(name, MAX_SEED, "0123456789ab"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)
    assert png.read_metadata(data)["Name"] == name
    assert png.read_metadata(data)["Seed"] == str(MAX_SEED)
    assert (b"iTXt" in data) == (max(name) > "\xff")
    assert data == png.encode(picture, png.describe(name, MAX_SEED, "0123456789ab"))


def test_bytes_that_are_no_png_are_refused() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    whole = png.encode(picture, {})
    jpeg = io.BytesIO()
    Image.fromarray(picture).save(jpeg, "JPEG")
    for data in (b"", whole[:20], whole[: len(whole) // 2], jpeg.getvalue()):
        with pytest.raises(ValueError, match="not a whole PNG file"):
            png.read_metadata(data)


def test_captions_have_no_boxes() -> None:
    assert drawable("ピリ辛サーモン🍣丼") == "ピリ辛サーモン丼"
    assert drawable("Phở 👩‍🍳 bò") == "Pho bò"
    assert drawable("豆瓣醤と鰰と薑 ♪ crème") == "豆瓣醤と鰰と薑 ♪ crème"
    assert drawable("حساء") == ""


def test_the_font_has_every_kanji_of_jis_levels_1_and_2() -> None:
    codes = range(0xA1, 0xFF)
    kanji = "".join(
        bytes((row, cell)).decode("euc_jp", "ignore") for row in range(0xB0, 0xF5) for cell in codes
    )
    assert len(kanji) == 6355
    assert drawable(kanji) == kanji


def test_a_sheet_shows_pictures_and_captions_in_their_places() -> None:
    def solid(*colour: int) -> np.ndarray:
        return np.full((64, 64, 3), colour, np.uint8)

    sheet = ContactSheet(["赤", ""], ["seed 0", "seed 0"], variants=2)
    blank = np.asarray(sheet.image).copy()
    sheet.paste(0, 0, solid(255, 0, 0))
    sheet.paste(0, 1, solid(0, 255, 0))
    sheet.paste(1, 1, solid(0, 0, 255))
    image = np.asarray(sheet.image)
    area = sheet.side**2
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert (image == colour).all(2).sum() == area
    red, green, blue = (np.argwhere((image == c).all(2)).mean(0) for c in np.eye(3, dtype=int) * 255)
    assert red[0] == green[0]
    assert red[1] < green[1]
    assert blue[0] > red[0] or blue[1] > green[1]
    changed = (image != blank).any(2)
    assert (blank[changed] == 255).all(), "a picture covers a caption"


def test_a_caption_adds_ink_and_an_undrawable_one_does_not() -> None:
    def ink(caption: str) -> int:
        return int((np.asarray(ContactSheet([caption], [""]).image) < 128).sum())

    assert ink("抹茶ラーメン") > 500
    assert ink("🍣حساء") == ink("") == 0


@pytest.mark.parametrize("caption", ["とても長い名前の料理" * 8, "an endless " * 7, "w" * 80])
def test_long_captions_stay_in_their_column(caption: str) -> None:
    sheet = ContactSheet([caption, ""], ["", ""])
    image = np.asarray(sheet.image)
    ink = np.argwhere((image < 128).any(2))
    assert ink[:, 1].min() >= 8
    assert ink[:, 1].max() < 8 + sheet.side
    assert ink[:, 0].max() < image.shape[0]


def test_a_sheet_stays_small_enough_and_says_how_many_it_shows() -> None:
    few, many, most = (ContactSheet(["鮭"] * n, ["seed 0"] * n) for n in (100, 800, 5000))
    assert few.side == 256
    assert many.side < 256
    assert few.shown == 100
    assert many.shown == 800
    assert 1000 < most.shown < 5000
    assert most.image.width * most.image.height < 60_000_000
    most.paste(4999, 0, np.zeros((64, 64, 3), np.uint8))
