import io
import json
import logging
import shutil
import threading
import time
import types
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms

from model.data import decoding
from model.data import photos as data
from model.data.layouts import DataError, listing
from model.data.name_pairs import Pair, read_pairs
from model.data.photos import load
from tests.cases import case

RED, GREEN, BLUE = (200, 30, 30), (30, 160, 30), (30, 30, 200)


def photo(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (40, 40), form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()


def shard(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def row(name: str | None, colour: tuple[int, int, int] = RED, **more: object) -> dict[str, object]:
    return {"image": {"bytes": photo(colour), "path": None}, "name": name, **more}


def colours(photos: data.Photos) -> list[tuple[int, ...]]:
    return [tuple(image[image.shape[0] // 2, image.shape[1] // 2].tolist()) for image in photos.images]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def photos_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my dishes"
    folder.mkdir()
    (folder / "smoky_beetroot_ramen.png").write_bytes(photo(RED))
    (folder / "green curry.png").write_bytes(photo(GREEN))
    return folder


def test_shards_of_a_split(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "dishes"
    shard(
        folder / "train-00000-of-00002.parquet",
        [row("ramen", RED, name_ja="ラーメン", kind="class", source="a"), row("pesto", GREEN, name_ja=None)],
    )
    shard(folder / "train-00001-of-00002.parquet", [row("blue soup", BLUE)])
    shard(folder / "validation.parquet", [row("unseen")])
    shard(folder / "validation-00000.parquet", [row("held out", GREEN)])

    photos = load(folder, 16, cache=cache)
    assert len(photos) == 3
    assert photos.images.shape == (3, 16, 16, 3)
    assert photos.images.dtype == np.uint8
    assert photos.names == ["ramen", "pesto", "blue soup"]
    assert photos.names_in("ja") == ["ラーメン", None, None]
    assert photos.kinds == ["class", "free", "free"]
    assert photos.sources == ["a", "train-00000-of-00002", "train-00001-of-00002"]
    assert colours(photos) == [RED, GREEN, BLUE]
    assert load(folder, 16, "validation", cache=cache).names == ["held out"]


def test_one_parquet_file_is_taken_whole(tmp_path: Path, cache: Path) -> None:
    rows: list[dict[str, object]] = [{"picture": photo(GREEN), "name": None, "name_ja": "抹茶カレー"}]
    file = shard(tmp_path / "cafeteria.parquet", rows)
    for split in ("train", "validation"):
        photos = load(file, 8, split, cache=cache)
        assert photos.names == photos.names_in("ja") == ["抹茶カレー"]  # the only name given
        assert colours(photos) == [GREEN]


def test_small_photos_are_left_out_when_asked(tmp_path: Path, cache: Path, photos_folder: Path) -> None:
    (photos_folder / "tiny tart.png").write_bytes(photo(size=(90, 12)))
    assert len(load(photos_folder, 64, cache=cache)) == 3  # enlarged
    assert load(photos_folder, 64, cache=cache, min_pixels=20).names == ["green curry", "smoky beetroot ramen"]
    with pytest.raises(DataError, match="3 smaller than 500 pixels"):
        load(photos_folder, 64, cache=cache, min_pixels=500)
    # A column that says so saves decoding what is left out.
    folder = tmp_path / "shards"
    shard(folder / "train-0.parquet", [row("large", pixels=40), row("small", pixels=20)])
    assert load(folder, 16, cache=cache, min_pixels=30).names == ["large"]


def test_folder_named_by_file_names(photos_folder: Path, cache: Path) -> None:
    (photos_folder / (unicodedata.normalize("NFD", "ピリ辛_パフェ") + ".JPG")).write_bytes(photo(BLUE, form="JPEG"))
    for copy in (" (2)", "_(3)", "（４）", " (2) copy 2", " - コピー", " - Copy (2)", "のコピー 2"):
        (photos_folder / f"green curry{copy}.png").write_bytes(photo(GREEN))
    (photos_folder / "more").mkdir()
    (photos_folder / "more" / "jam tart.webp").write_bytes(photo(RED, form="WEBP"))
    (photos_folder / "rice.jfif").write_bytes(photo(RED, form="JPEG"))  # as Windows saves what a page shows
    (photos_folder / "._green curry.png").write_bytes(b"left by macOS")
    (photos_folder / "notes.txt").write_text("no photo")
    photos = load(photos_folder, 16, cache=cache)
    expected = [*["green curry"] * 8, "jam tart", "rice", "smoky beetroot ramen", "ピリ辛 パフェ"]
    assert sorted(photos.names) == expected
    assert set(photos.kinds) == {"free"}
    assert set(photos.sources) == {"my dishes"}
    assert photos.names_in("ja") == [None] * 12


def test_folder_with_splits(photos_folder: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="validation"):
        load(photos_folder, 16, "validation", cache=cache)
    (photos_folder / "validation").mkdir()
    (photos_folder / "validation" / "held_out.png").write_bytes(photo())
    assert load(photos_folder, 16, "validation", cache=cache).names == ["held out"]
    assert "held out" not in load(photos_folder, 16, cache=cache).names


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_folder_with_metadata(
    kind: str, photos_folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos_folder / "not listed.png").write_bytes(photo())
    decomposed = unicodedata.normalize("NFD", "プリン.png")
    (photos_folder / decomposed).write_bytes(photo(BLUE))
    records = [
        {"file_name": "green curry.png", "name": "emerald stew", "name_ja": "翠のシチュー"},
        {"file_name": "プリン.png", "name": "blue, wobbly pudding", "name_ja": ""},
        {"file_name": "gone.png", "name": "gone", "name_ja": ""},
    ]
    if kind == "csv":
        lines = ["file_name,name,name_ja", *(f'{r["file_name"]},"{r["name"]}",{r["name_ja"]}' for r in records)]
        # Spreadsheets put a byte order mark first.
        (photos_folder / "metadata.csv").write_text("\n".join(lines), "utf-8-sig")
    else:
        lines = [json.dumps(record) for record in records]
        (photos_folder / "metadata.jsonl").write_text("\n".join(lines) + "\n\n")
    photos = load(photos_folder, 16, cache=cache)
    assert photos.names == ["emerald stew", "blue, wobbly pudding"]
    assert photos.names_in("ja") == ["翠のシチュー", None]
    assert colours(photos) == [GREEN, BLUE]
    assert "gone.png" in caplog.text
    assert f"not listed.png: it is not in metadata.{kind}" in caplog.text


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_may_come_from_a_spreadsheet_and_from_windows(mark: str, photos_folder: Path, cache: Path) -> None:
    (photos_folder / "more").mkdir()
    (photos_folder / "more" / "Jam.PNG").write_bytes(photo(RED))
    rows = [("File_Name", " Name"), ("GREEN CURRY.png", "emerald stew, hot"), (".\\more\\jam.png", "jam tart")]
    (photos_folder / "metadata.csv").write_text("\r\n".join(mark.join(row) for row in rows), newline="")
    photos = load(photos_folder, 16, cache=cache)
    assert photos.names == ["emerald stew, hot", "jam tart"]
    assert colours(photos) == [GREEN, RED]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("metadata.csv", b"file,title\na.png,soup\n", r"no column file_name and no column name \(it has file, title\)"),
        ("metadata.csv", "file_name,name\na.png,丼\n".encode("shift_jis"), "not UTF-8"),
        ("metadata.csv", b'file_name,name\na.png,"half a quote\nb.png,soup\n', "line 3: .* quotation mark not closed"),
        ("metadata.csv", b'file_name,name\na.png,"' + b"long " * 30_000, "line 2: .* quotation mark not closed"),
        ("metadata.jsonl", b"{broken\n", "line 1 is not JSON"),
        ("metadata.jsonl", b'{"file_name": "a.png", "text": "soup"}\n', "line 1 is not an object with file_name"),
    ],
)
def test_faulty_metadata_is_named(
    name: str, content: bytes, fault: str, photos_folder: Path, cache: Path
) -> None:
    (photos_folder / name).write_bytes(content)
    with pytest.raises(DataError, match=fault) as caught:
        load(photos_folder, 16, cache=cache)
    assert name in str(caught.value)


def rows_of(table: str | bytes, name: str, folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """File names and names of dishes that a table gives, and what is said besides. 000.jpg and 001.jpg are there."""
    folder.mkdir(exist_ok=True)
    for n in (0, 1):
        (folder / f"00{n}.jpg").write_bytes(photo(form="JPEG"))
    (folder / name).write_bytes(table.encode() if isinstance(table, str) else table)
    found = listing(folder)
    return [(row.label, row.name) for row in found.rows], found.skipped


STEW = ("001.jpg", "beef stew")
FISH = [("000.jpg", "fish, chips and peas"), STEW]


@pytest.mark.parametrize("table", [
    "file_name,name\n000.jpg,fish, chips and peas\n001.jpg,beef stew\n",
    'file_name, name\n000.jpg, "fish, chips and peas"\n001.jpg, beef stew\n',
    'file_name,name\n000.jpg,"fish, chips and peas" \n001.jpg,"beef stew"\n',
    'file_name,name\n000.jpg,\u00a0"fish, chips and peas"\n"001.jpg" , "beef stew"\n',
    "file_name,name\n000.jpg,“fish, chips and peas”\n001.jpg,“beef stew”\n",
    "file_name,name\n000.jpg,'fish, chips and peas'\n001.jpg,beef stew\n",
    "file_name,name\n000.jpg,fish, chips and peas,,\n001.jpg,beef stew,,\n",
    "file_name;name\n000.jpg;fish, chips and peas\n001.jpg;beef stew\n",
    "sep=;\nfile_name;name\n000.jpg;fish, chips and peas\n001.jpg;beef stew\n",
    "file_name|name\n000.jpg|fish, chips and peas\n001.jpg|beef stew\n",
    "File Name,NAME\r000.jpg,fish, chips and peas\r001.jpg,beef stew\r",
    "file_name,name\n000,fish, chips and peas\nphotos/001.JPG,beef stew\n",
    "file_name\tname\n000.jpg\tfish, chips and peas\n001.jpg\tbeef stew\n".encode("utf-16"),
    "file_name,name\n,\n000.jpg,fish, chips and peas\n , \n001.jpg,beef stew\n,,,\n\n",
])  # fmt: skip
def test_what_a_table_can_only_mean_is_read(table: str | bytes, tmp_path: Path) -> None:
    assert rows_of(table, "Metadata.CSV", tmp_path) == (FISH, [])


@pytest.mark.parametrize(("table", "said"), [
    ("file_name,name,name_ja\n000.jpg,fish, chips and peas,魚\n001.jpg,beef stew,肉\n",
     'metadata.csv line 2: 4 values for 3 columns; put quotation marks around a name with "," in it'),
    ("file_name,name,name_ja\n000.jpg,fish, chips and peas\n001.jpg,beef stew\n",
     "metadata.csv line 2: name_ja would be 'chips and peas'; put quotation marks around a name with \",\" in it"),
    ("name,file_name\nfish, chips and peas,000.jpg\nbeef stew,001.jpg\n",
     'metadata.csv line 2: 3 values for 2 columns; put quotation marks around a name with "," in it'),
])  # fmt: skip
def test_a_line_that_can_mean_several_things_is_named(table: str, said: str, tmp_path: Path) -> None:
    found, skipped = rows_of(table, "metadata.csv", tmp_path)
    assert found == [STEW]
    assert skipped == [said, "000.jpg: it is not in metadata.csv"]


@pytest.mark.parametrize("table", [
    'file_name,name\n000.jpg,"fish "n" chips"\n', 'file_name,name\n000.jpg,"fish and chips\n001.jpg,stew\n',
])  # fmt: skip
def test_quotation_marks_that_do_not_fit_are_named(table: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata.csv: line \d: .* quotation mark"):
        rows_of(table, "metadata.csv", tmp_path)


def test_a_table_beside_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "000.jpg", "name": "soup"}\n')
    found, skipped = rows_of("file_name,name\n001.jpg,beef stew\n", "metadata.csv", tmp_path)
    assert found == [STEW]
    assert skipped[0] == "metadata.jsonl: not read, since there is metadata.csv too"


# What Python's own str.splitlines takes for the end of a line, and JSON, CSV and TSV do not.
SEPARATORS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.tsv", "metadata.jsonl"])
def test_only_a_line_feed_ends_a_line(separator: str, name: str, tmp_path: Path) -> None:
    dishes = [("000.jpg", f"arroz{separator}chaufa"), STEW]
    if name.endswith("l"):
        if separator < " ":
            pytest.skip("JSON wants control characters escaped")
        lines = [json.dumps({"file_name": file, "name": dish}, ensure_ascii=False) for file, dish in dishes]
    else:
        lines = [("," if name.endswith("csv") else "\t").join(row) for row in [("file_name", "name"), *dishes]]
    found, skipped = rows_of("\n".join(lines), name, tmp_path)
    assert found[1:] == [STEW] and skipped == []
    assert found[0][1] in ("arroz chaufa", "arrozchaufa")  # a control character shows nothing


@pytest.mark.parametrize("separator", SEPARATORS)
def test_names_of_one_dish_may_have_any_of_these(separator: str, tmp_path: Path) -> None:
    table = tmp_path / "names.tsv"
    table.write_bytes(f"\ufeffen\tja\r\narroz{separator}chaufa\tチャウファ\r\nbeef stew\t牛|シチュー\r\n".encode())
    rice, stew = read_pairs(table)
    assert rice.name.startswith("arroz") and rice.name.endswith("chaufa") and rice.translations == ("チャウファ",)
    assert stew == Pair("beef stew", ("牛", "シチュー"), "ja")


@pytest.mark.parametrize(("name", "expected"), [
    ("comma_not_quoted.csv", FISH), ("space_before_quote.csv", FISH), ("empty_rows.csv", [("000.jpg", "beef stew")]),
    ("line_separator_in_name.jsonl", [("000.jpg", "arroz chaufa"), STEW]),
])  # fmt: skip
def test_shared_tables(name: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    content = case(f"tables/{name}").read_bytes()
    found, skipped = rows_of(content, f"metadata{Path(name).suffix}", tmp_path)
    assert found == expected
    assert [line for line in skipped if "line" in line] == []


def test_photographs_that_nobody_named_are_left_out_and_said(
    photos_folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("IMG_1234.png", "3f2504e0-4f89-11d3-9a0c-0305e82c3301.png", "stew/1.png", "@eaDir/soup.png"):
        (photos_folder / name).parent.mkdir(exist_ok=True)
        (photos_folder / name).write_bytes(photo(BLUE))
    assert load(photos_folder, 16, cache=cache).names == ["green curry", "smoky beetroot ramen", "stew"]
    assert "IMG_1234.png: neither it nor its folder has a dish's name" in caplog.text
    assert "passed over what other programs keep there: @eaDir (1)" in caplog.text


def test_a_photograph_that_is_cut_off_is_said(
    photos_folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    (photos_folder / "jam tart.png").write_bytes(buffer.getvalue()[: int(0.97 * buffer.tell())])
    assert "jam tart" in load(photos_folder, 16, cache=cache).names
    assert "1 cut off and read all the same (jam tart.png (without 3.2% of its rows))" in caplog.text


def test_food101(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "food-101"
    (root / "meta").mkdir(parents=True)
    for entry, colour in [("apple_pie/1", RED), ("apple_pie/2", GREEN), ("ramen/3", BLUE)]:
        (root / "images" / entry).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / f"{entry}.jpg").write_bytes(photo(colour, form="PNG"))
    (root / "meta" / "train.json").write_text('{"ramen": ["ramen/3"], "apple_pie": ["apple_pie/1"]}')
    (root / "meta" / "test.json").write_text('{"apple_pie": ["apple_pie/2"]}')
    for place in (root, tmp_path):  # the folder itself and what torchvision calls its root
        photos = load(place, 16, cache=cache)
        assert photos.names == ["apple pie", "ramen"]
        assert photos.kinds == ["class", "class"]
        assert photos.sources == ["food101", "food101"]
        assert colours(photos) == [RED, BLUE]
    assert colours(load(root, 16, "validation", cache=cache)) == [GREEN]


def test_photos_are_upright_square_rgb(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    # Held sideways: green on the left of the file, and orientation 6 turns the file's left to the top.
    picture = Image.new("RGB", (300, 300), RED)
    picture.paste(GREEN, (0, 0, 150, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "1 turned.jpg", exif=exif, quality=95)
    # The middle of a wide photo is what stays.
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(BLUE, (100, 0, 200, 100))
    wide.save(folder / "2 wide.png")
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(folder / "3 cut out.png")
    Image.new("L", (50, 50), 120).save(folder / "4 grey.png")
    Image.new("CMYK", (50, 50), (0, 0, 0, 0)).save(folder / "5 print.jpg")
    # One-pixel stripes must average out, not alias.
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(folder / "6 stripes.png")

    deep = np.full((50, 50), 120 * 257, np.uint16)
    Image.fromarray(deep).save(folder / "7 deep.png")
    Image.fromarray(deep.astype(np.int32)).save(folder / "8 deeper.tif")
    Image.fromarray(deep.astype(np.float32) / 65535).save(folder / "9 floating.tif")

    pictures = load(folder, 32, cache=cache).images.astype(int)
    turned, square, cut_out, grey, printed, averaged, *greys = pictures
    assert [(picture.min(), picture.max()) for picture in greys[:2]] == [(120, 120)] * 2
    assert greys[2].min() == greys[2].max() > 0
    assert np.abs(turned[4, 16] - GREEN).max() < 12
    assert np.abs(turned[28, 16] - RED).max() < 12
    assert np.abs(square[:, 2:-2] - BLUE).max() < 12
    assert cut_out.min() == 255  # transparent is white
    assert np.ptp(grey) == 0
    assert printed.min() > 250
    assert np.abs(averaged[4:-4, 4:-4] - 127.5).max() < 12


def test_colours_are_those_of_the_profile(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    # A profile whose red and green are exchanged, so that nothing but reading it shows which is which.
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = swapped.index(b"rXYZ"), swapped.index(b"gXYZ")
    swapped[red], swapped[green] = swapped[green], swapped[red]
    Image.new("RGB", (50, 50), RED).save(folder / "a stew.png", icc_profile=bytes(swapped))
    Image.new("RGB", (50, 50), RED).save(folder / "b stew.png", icc_profile=b"no profile")
    Image.new("L", (50, 50), 120).save(folder / "c stew.png", icc_profile=bytes(swapped))
    exchanged, plain, grey = load(folder, 16, cache=cache).images.astype(int)
    assert exchanged[8, 8].argmax() == 1
    assert np.abs(plain[8, 8] - RED).max() < 2
    assert np.abs(grey - 120).max() < 2


def test_a_telephones_largest_photos_are_read_and_larger_ones_named(tmp_path: Path) -> None:
    Image.new("L", (20_000, 9_000)).save(tmp_path / "large.jpg")  # over Pillow's own bound
    assert decoding.decode(tmp_path / "large.jpg", 16).image.shape == (16, 16, 3)
    Image.new("1", (20_000, 16_000)).save(tmp_path / "larger.png")
    with pytest.raises(ValueError, match="too large: 320 megapixels"):
        decoding.decode(tmp_path / "larger.png", 16)


def test_unreadable_photos_are_named_counted_and_skipped(
    photos_folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(8):
        (photos_folder / f"broken {i}.jpg").write_bytes(b"not a picture")
    (photos_folder / "half.png").write_bytes(photo(size=(300, 300))[:200])
    photos = load(photos_folder, 16, cache=cache)
    assert photos.names == ["green curry", "smoky beetroot ramen"]
    assert colours(photos) == [GREEN, RED]
    (message,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "9 left out" in message
    assert "broken 0.jpg" in message
    assert "and 4 more" in message
    assert "broken 7" not in message


def test_photos_without_a_name_are_skipped(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = shard(tmp_path / "a.parquet", [row("soup"), row(None), row("  "), row("stew", BLUE), row("cr\ufffdpe")])
    photos = load(file, 8, cache=cache)
    assert photos.names == ["soup", "stew"]
    assert colours(photos) == [RED, BLUE]
    for number in (1, 2, 4):  # the last was spoilt on its way here, by a bad unzip for example
        assert f"a.parquet row {number}: it has no name" in caplog.text


def test_nothing_to_load_is_a_clear_error(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        load(tmp_path / "missing", 16, cache=cache)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no photographs there"):
        load(empty, 16, cache=cache)
    (empty / "soup.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"no photograph could be used.*soup\.jpg"):
        load(empty, 16, cache=cache)
    assert not [file for file in cache.iterdir() if file.suffix != ".lock"]
    (tmp_path / "notes.txt").write_text("soup")
    with pytest.raises(DataError, match="neither a folder nor"):
        load(tmp_path / "notes.txt", 16, cache=cache)


def test_faulty_shards_are_named(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    file = folder / "train-0.parquet"
    file.write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"train-0\.parquet: not a readable Parquet file"):
        load(folder, 16, cache=cache)
    with pytest.raises(DataError, match=r"no validation-\*\.parquet"):
        load(folder, 16, "validation", cache=cache)
    shard(file, [{"image": {"bytes": photo(), "path": None}, "caption": "soup"}])
    with pytest.raises(DataError, match=r"no column `name` .*caption"):
        load(folder, 16, cache=cache)
    shard(file, [{"url": "https://example.org", "name": "soup"}])
    with pytest.raises(DataError, match="no column of images"):
        load(folder, 16, cache=cache)


def test_a_restart_does_not_decode_again(
    photos_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(photos_folder, 16, cache=cache)
    decode = decoding.decode
    monkeypatch.setattr(data, "decode", lambda *_: pytest.fail("decoded again"))
    again = load(photos_folder, 16, cache=cache)
    assert again.names == first.names
    assert np.array_equal(again.images, first.images)
    assert isinstance(again.images, np.memmap)
    assert not again.images.flags.writeable

    # A changed photo, another size or a lost file is another matter.
    monkeypatch.setattr(data, "decode", decode)
    (photos_folder / "green curry.png").write_bytes(photo(BLUE, (41, 41)))
    assert colours(load(photos_folder, 16, cache=cache)) == [BLUE, RED]
    assert load(photos_folder, 8, cache=cache).images.shape == (2, 8, 8, 3)


def test_the_cache_holds_a_place_once(photos_folder: Path, cache: Path) -> None:
    elsewhere = shutil.copytree(photos_folder, cache.parent / "elsewhere" / photos_folder.name)
    for folder, size in ((photos_folder, 16), (photos_folder, 8), (elsewhere, 16)):
        load(folder, size, cache=cache)
    assert len(list(cache.glob("*.npy"))) == 3
    (photos_folder / "green curry.png").write_bytes(photo(BLUE, (41, 41)))
    assert colours(load(photos_folder, 16, cache=cache)) == [BLUE, RED]
    assert colours(load(elsewhere, 16, cache=cache)) == [GREEN, RED]
    for suffix in ("npy", "json"):
        assert len(list(cache.glob(f"*.{suffix}"))) == 3  # what was decoded before the photograph changed has gone


def test_an_interrupted_decode_starts_over(
    photos_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load(photos_folder, 16, cache=cache)
    assert list(cache.glob("*.npy"))  # the pixels were written, but nothing says that they are whole
    assert not list(cache.glob("*.json"))
    assert len(load(photos_folder, 16, cache=cache)) == 2
    for file in cache.glob("*.npy"):  # cut short, by a full disk for example
        file.write_bytes(file.read_bytes()[:300])
    assert colours(load(photos_folder, 16, cache=cache)) == [GREEN, RED]


def test_processes_that_start_together_decode_once(
    photos_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []

    def slow(*arguments: object) -> decoding.Decoded:
        calls.append(arguments)
        time.sleep(0.05)
        return decoding.decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(data, "decode", slow)
    lengths: list[int] = []
    threads = [
        threading.Thread(target=lambda: lengths.append(len(load(photos_folder, 16, cache=cache)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [2, 2, 2]
    assert len(calls) == 2


def test_no_room_for_the_cache_is_a_clear_error(
    photos_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1))
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        load(photos_folder, 16, cache=cache)
    (cache.parent / "file").write_text("")
    with pytest.raises(DataError, match="cannot be cached there"):
        load(photos_folder, 16, cache=cache.parent / "file")


def test_default_cache(photos_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load(photos_folder, 16)
    assert list((tmp_path / "xdg" / "imaginary-cafeteria").glob("*.npy"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data.default_cache() == tmp_path / "home" / ".cache" / "imaginary-cafeteria"
