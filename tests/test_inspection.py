"""What is found in a folder of photographs before it is adapted to, and names made of their words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageFilter

from model.adaptation.recombine import recombine
from model.checkpoint import TOKENIZER
from model.data import inspection
from model.data.inspection import look
from model.data.layouts import DataError
from model.text_encoder import Tokenizer
from tests.cases import case

EXAMPLE = Path(__file__).parent.parent / "examples" / "cafeteria"
PHOTOS = sorted(EXAMPLE.glob("*.jpg"))


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Tokenizer:
    return Tokenizer.load(tiny_checkpoint / TOKENIZER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, to spoil."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "photos"))


def text(folder: Path, tokenizer: Tokenizer) -> str:
    return "\n".join(look(folder, tokenizer).lines())


def test_the_example_is_small_and_in_order(tokenizer: Tokenizer) -> None:
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 400_000
    found = look(EXAMPLE, tokenizer)
    assert found.photos.images.shape == (len(PHOTOS), 256, 256, 3)
    assert {"arroz chaufa", "ティラミス"} <= set(found.photos.names)
    assert not (found.left_out or found.copies or found.alike or found.small or found.blurred)


def test_phone_photos_come_upright_in_heic_and_jpeg(folder: Path, tokenizer: Tokenizer) -> None:
    for path in PHOTOS[:2]:
        (folder / path.name).unlink()
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:, :200] = 255  # a white left half
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is left here is the top
    Image.fromarray(pixels).save(folder / "white_rice.jpg", exif=exif)
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(folder / "half cake.heic")
    photos = look(folder, tokenizer).photos
    turned, straight = (photos.images[photos.names.index(name)] for name in ("white rice", "half cake"))
    assert turned[40:100].mean() > 240 > 20 > turned[-100:-40].mean()
    assert straight[:, 40:100].mean() > 240 > 20 > straight[:, -100:-40].mean()


def test_what_cannot_be_used_is_left_out_and_named(folder: Path, tokenizer: Tokenizer) -> None:
    (folder / "broken_soup.jpg").write_bytes(PHOTOS[0].read_bytes()[:900])
    (folder / "no_soup.jpg").write_text("a recipe")
    (folder / "raw_soup.CR2").write_bytes(b"II*\0")
    Image.new("RGB", (300, 300)).save(folder / "\u200b.png")
    found = look(folder, tokenizer)
    assert len(found.photos) == len(PHOTOS)
    said = "\n".join(found.lines())
    for part in ("4 left out: ", "broken_soup.jpg", "no_soup.jpg (not a picture)", "raw_soup.CR2: a camera's raw file"):
        assert part in said


def test_a_cameras_names_are_told(folder: Path, tokenizer: Tokenizer) -> None:
    (folder / PHOTOS[0].name).rename(folder / "IMG_1234.jpg")
    for name in ("image of 1000 islands", "7up jelly 2024", "Chicken 65", "カレー 500"):  # a person's words
        shutil.copy(PHOTOS[1], folder / f"{name}.jpg")
    found = look(folder, tokenizer)
    assert found.unnamed == ["IMG_1234.jpg"]
    assert {"image of 1000 islands", "7up jelly 2024", "Chicken 65", "カレー 500"} <= set(found.photos.names)
    assert "IMG 1234" not in found.photos.names
    assert "1 left out, since neither file nor folder has a dish's name: IMG_1234.jpg" in found.lines()


def test_copies_go_and_near_copies_stay_together(folder: Path, tokenizer: Tokenizer) -> None:
    first, second = PHOTOS[0], PHOTOS[1]
    shutil.copy(first, folder / f"{first.stem} (2).jpg")
    Image.open(second).resize((200, 200)).save(folder / "other_name.jpg", quality=40)
    shutil.copy(PHOTOS[2], folder / "a_third_name.jpg")  # one picture, two names: both are right
    found = look(folder, tokenizer)
    assert [set(pair) for pair in found.copies] == [{first.name, f"{first.stem} (2).jpg"}]
    assert {frozenset(pair) for pair in found.alike} == {
        frozenset({second.name, "other_name.jpg"}), frozenset({PHOTOS[2].name, "a_third_name.jpg"})
    }  # fmt: skip
    group = dict(zip(found.labels, found.groups, strict=True))
    assert group[second.name] == group["other_name.jpg"] != group[PHOTOS[2].name]
    assert len(found.photos) == len(PHOTOS) + 2
    assert "1 there twice" in text(folder, tokenizer) and "2 pairs nearly the same" in text(folder, tokenizer)


def test_the_same_picture_at_another_size_is_passed_over(folder: Path, tokenizer: Tokenizer) -> None:
    first, second, third = PHOTOS[:3]
    for name, photo, side in [
        (f"{first.stem}_small.jpg", first, 160), (f"thumb_{first.stem}.jpg", first, 100),
        (f"web/{first.name}", first, 200),
        (f"{second.stem}-640x640.webp", second, 640), (f"{second.stem}@2x.png", second, 512),
        ("previews/00012.jpg", third, 100),  # a program's name says nothing else
    ]:  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        Image.open(photo).resize((side, side)).save(folder / name)
    found = look(folder, tokenizer)
    assert len(found.photos) == len(PHOTOS)
    assert len(found.copies) == 6 and not (found.alike or found.unnamed)
    # The largest stays.
    assert (second.name, f"{second.stem}-640x640.webp") in found.copies
    assert (f"thumb_{first.stem}.jpg", first.name) in found.copies
    assert "6 there twice, one of them left out" in "\n".join(found.lines())


def test_two_shots_of_one_dish_are_two_photographs(folder: Path, tokenizer: Tokenizer) -> None:
    for photo in PHOTOS:
        image = Image.open(photo)
        image.crop((4, 3, image.width - 2, image.height)).resize((300, 300)).save(folder / f"{photo.stem} 2.png")
    found = look(folder, tokenizer)
    assert len(found.photos) == 2 * len(PHOTOS) and found.copies == []
    groups = dict(zip(found.labels, found.groups, strict=True))
    assert all(groups[photo.name] == groups[f"{photo.stem} 2.png"] for photo in PHOTOS)


def test_photographs_of_one_dish_are_one_group_however_it_is_written(folder: Path, tokenizer: Tokenizer) -> None:
    names = ["Beef-Stew-1", "beef stew 2", "beef_stew (3)", "beefstew", "Chicken 65", "chicken 90"]
    for photo, name in zip(PHOTOS, names, strict=False):
        (folder / photo.name).rename(folder / f"{name}.jpg")
    found = look(folder, tokenizer)
    groups = dict(zip(found.labels, found.groups, strict=True))
    assert len({groups[f"{name}.jpg"] for name in names[:4]}) == 1
    assert len({groups[f"{name}.jpg"] for name in names}) == 2
    assert len(set(found.groups)) == len(PHOTOS) - 4
    table = ["file_name,name,name_ja"]
    for n, photo in enumerate(sorted(folder.glob("*.jpg"))):
        table.append(f"{photo.name},{chr(97 + n)}ana cake,{'肉じゃが' if n < 3 else ''}")
    (folder / "metadata.csv").write_text("\n".join(table), "utf-8")
    assert len(set(look(folder, tokenizer).groups[:3])) == 1  # in either language


def test_the_report_shows_the_names_as_they_are_understood(folder: Path, tokenizer: Tokenizer) -> None:
    for n, photo in enumerate(PHOTOS):
        written = ("beef stew {}.jpg", "fried-rice-{}.jpg", "ramen/{}.jpg", "ramen/IMG_000{}.jpg")
        name = written[n % 4].format(n // 4 + 1)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / photo.name).rename(folder / name)
    assert "names as they are understood: beef stew ×6 · fried rice ×6 · ramen ×12" in text(folder, tokenizer)


def test_a_picture_of_one_colour_is_none(folder: Path, tokenizer: Tokenizer) -> None:
    Image.new("RGB", (300, 300), "white").save(folder / "white rice.png")
    assert look(folder, tokenizer).left_out == ["white rice.png (one colour all over)"]


@pytest.fixture(scope="module")
def shared_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folders")
    command = [sys.executable, str(case("folders.py")), str(EXAMPLE.parents[1]), str(out)]
    subprocess.run(command, check=True)
    return out


@pytest.mark.parametrize("name", ["numbered", "uuids", "image0"])
def test_shared_folders_that_nobody_named_are_refused(name: str, shared_folders: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"24 of 24 photographs have a number.*no dish's.*Name each file after"):
        look(shared_folders / name, tokenizer)


@pytest.mark.parametrize("name", ["a_folder_a_dish", "renamed_in_bulk"])
def test_shared_folders_of_six_dishes(name: str, shared_folders: Path, tokenizer: Tokenizer) -> None:
    found = look(shared_folders / name, tokenizer)
    dishes = {"beef stew", "curry udon", "apple tart", "pumpkin soup", "fried rice", "肉じゃが"}
    assert Counter(found.photos.names) == dict.fromkeys(dishes, 4)
    assert len(set(found.groups)) == 6


@pytest.mark.parametrize(("name", "count"), [("hyphens", 24), ("synology", 24), ("linked", 24), ("odd_endings", 28)])
def test_shared_folders_with_names(name: str, count: int, shared_folders: Path, tokenizer: Tokenizer) -> None:
    found = look(shared_folders / name, tokenizer)
    assert len(found.photos) == count and found.left_out == []
    assert not any("-" in dish or "_" in dish for dish in found.photos.names)
    assert set(found.photos.names) >= {photo.stem.replace("_", " ") for photo in PHOTOS}
    assert found.passed == ({"@eaDir": 72} if name == "synology" else {})


def test_small_and_blurred_photos_are_told(folder: Path, tokenizer: Tokenizer) -> None:
    Image.open(PHOTOS[0]).resize((100, 120)).save(folder / "tiny_tart.png")
    Image.open(PHOTOS[1]).filter(ImageFilter.GaussianBlur(4)).save(folder / "blurred_stew.png")
    found = look(folder, tokenizer)
    assert [found.labels[row] for row in found.small] == ["tiny_tart.png"]
    assert "blurred_stew.png" in {found.labels[row] for row in found.blurred}


def test_letters_that_the_text_encoder_never_saw_are_told(folder: Path, tokenizer: Tokenizer) -> None:
    shutil.copy(PHOTOS[0], folder / "Борщ soup.jpg")
    found = look(folder, tokenizer)
    assert found.unread["Борщ soup"].startswith("Б") and "s" not in found.unread["Борщ soup"]
    assert "Борщ soup (Б" in "\n".join(found.lines())


def fewer(folder: Path) -> None:
    for path in sorted(folder.glob("*.jpg"))[inspection.FEWEST - 1 :]:
        path.unlink()


def none(folder: Path) -> None:
    for path in folder.glob("*.jpg"):
        path.unlink()


def unreadable(folder: Path) -> None:
    for path in folder.glob("*.jpg"):
        path.write_text("nothing")


def same(folder: Path) -> None:
    none(folder)
    for number in range(20):
        shutil.copy(PHOTOS[0], folder / f"ramen ({number}).jpg")


def camera(folder: Path) -> None:
    names = ("IMG_1234", "PXL_20240101_120000123.MP", "20240101_120000", "DSC00012", "P1010001", "写真 2024-01-01 12",
             "IMG-20240101-WA0012", "WhatsApp Image 2024-01-01 at 12.00.00 PM (1)", "Screenshot_20240101",
             "IMG_E1234", "S__12345678", "FB_IMG_1234567890", "LINE_ALBUM_240101_1")  # fmt: skip
    for number, path in enumerate(sorted(folder.glob("*.jpg"))[:18]):
        path.rename(path.with_name(f"{names[number % len(names)]}{number}.jpg"))


@pytest.mark.parametrize(("spoil", "message"), [
    (same, "1 photographs can be used.*; [0-9]+ are copies of others"),
    (camera, "18 of 24 photographs have a number, a camera's name .* and no dish's .*Name each file after its dish"),
    (fewer, "19 photographs can be used, and a cafeteria needs 20 at least"),
    (none, "no photographs there"),
    (unreadable, "0 photographs can be used.*left out: .*not a picture"),
])  # fmt: skip
def test_too_few_photographs_are_a_clear_message(
    folder: Path, tokenizer: Tokenizer, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(DataError, match=message):
        look(folder, tokenizer)


def test_so_many_that_training_is_better_are_sent_there(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MOST", 10)
    with pytest.raises(DataError, match="model.train"):
        look(EXAMPLE, tokenizer)


def test_names_recombine_a_word_of_one_with_the_form_of_another() -> None:
    names = ["apple strudel", "lamb biriyani", "slow cooked beef with lemon", "bread", "梅しそパスタ", "牛すじカレー"]
    cut = {"梅しそパスタ": ["▁", "梅しそ", "パスタ"], "牛すじカレー": ["牛すじ", "カレー"]}
    made = recombine(names, 100, 0, cut.__getitem__)
    assert {"apple biriyani", "lamb bread", "lemon strudel", "梅しそカレー", "牛すじパスタ"} <= set(made)
    assert not set(made) & set(names)
    assert not any(name.endswith(" lemon") or "with" in name for name in made)
    assert len(set(made)) == len(made)
    assert recombine(names, 5, 1, cut.__getitem__) == recombine(names, 5, 1, cut.__getitem__)
    assert recombine(names, 5, 1, cut.__getitem__) != recombine(names, 5, 2, cut.__getitem__)
    assert recombine(["soup"], 5, 0, list) == []


def test_japanese_names_recombine_at_their_particles_and_in_pieces_that_are_words() -> None:
    cut = {"バナナマフィン": ["▁バナナ", "マフィン"], "グヤーシュ": ["グ", "ヤーシュ"], "鰻": ["<0xE9>", "<0xB0>"]}
    names = ["牛肉のグヤーシュ", "ナポリ風ラグー(豚)", "きのことチーズ入りリゾット", "鰻・デ・バナナマフィン"]
    made = recombine(names, 100, 0, lambda text: cut.get(text, [text]))
    assert {"牛肉ラグー", "ナポリグヤーシュ", "バナナリゾット", "鰻マフィン", "きのことチーズグヤーシュ"} <= set(made)
    cut = {"さば寿司": ["さば", "寿司"], "山菜おにぎり": ["山菜", "おにぎり"]}
    assert set(recombine([*cut], 9, 0, cut.__getitem__)) == {"さばのおにぎり", "山菜寿司"}  # not さばおにぎり
    assert not any("の" in name.replace("きのこ", "") or "風" in name or "デ" in name for name in made)
    assert not any(name.startswith(("グ", "ヤー", "<")) for name in made)
