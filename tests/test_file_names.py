"""Names of dishes as files and folders carry them, and the names that no person gave."""

from __future__ import annotations

import csv
from pathlib import PurePosixPath

import pytest

from model.data.file_names import dish_names, has_words, read, spelling
from model.words import words
from tests.cases import case

# By cameras, telephones, messengers, sites, screenshots of several languages, scanners, editors; numbers and hashes.
UNNAMED = """
    1 24 003 111 ① a b x1 abc123 2024-01 100APPLE 101CANON IMG_1234 IMG_E1234 IMG_1000_Large
    IMG_0001_SMALL img20240101120000 IMG-20240101-WA0012 _MG_1234 MVIMG_20240101_120000
    IMG_20240101_120000_BURST001 00000IMG_00000_BURST20240101120000_COVER PXL_20240101_120000123.MP
    20240101_120000 20240101_120000000_iOS 2024-01-01_12.00.00 P1010001 DSC00012 DSC_0001 dsc0001
    DSCF1234 DSCN0001 _DSC1234 SDIM0123 R0001234 L1000123 B0001234 KIMG1234 HPIM0001 IMAG0001
    imag0001 PICT0001 GOPR0123 SAM_0001 CIMG0001 AB3A0001 XYZ_1234 DJI_0001
    DJI_20240101120000_0001_D WIN_20240101_12_00_00_Pro WP_20140101_001
    JPEG_20240101_120000_1234567890 C360_2024-01-01-12-00-00-000 image0 image_(1) photo1
    FullSizeRender FullSizeRender_1 IMG_1234-edited RPReplay_Final1700000000
    Photo-on-1-1-24-at-12.00-PM KakaoTalk_Photo_2024-01-01-12-00-00 KakaoTalk_20240101_120000000_01
    S__12345678 LINE_ALBUM_240101_1 LINE_1234567890 photo_2024-01-01_12-00-00
    signal-2024-01-01-120000 signal-2024-01-01-12-00-00-123 received_123456789 FB_IMG_1234567890
    Messenger_creation_ABC1234-5678 WhatsApp_Image_2024-01-01_at_12.00.00_PM mmexport1700000000000
    wx_camera_1700000000000 微信图片_20240101120000 QQ图片20240101120000 Image_from_iOS
    123456789_1234567890123456_1234567890123456789_n SnapInsta.to_3254_n 52345678901_1a2b3c4d5e_o
    E8kq3VXVIAI7yCf GAbcDeFXkAAzQwe 3x1k2j5h4zz91 aB3dE9x V1StGXR8_Z5jdHi6B-myT
    tumblr_abc123XYZ_1280 maxresdefault hq720 unnamed download images OIP th pexels-photo-1640777
    pexels-ash-376464-1639557 eiliv-aceron-ZuIDLSz3XLg-unsplash istockphoto-1457889029-612x612
    shutterstock_123456789 AdobeStock_123456789 GettyImages-123456789
    depositphotos_12345-stock-photo food-3270461_640 3f2504e0-4f89-11d3-9a0c-0305e82c3301
    3F2504E0-4F89-11D3-9A0C-0305E82C3301_1_105_c d41d8cd98f00b204e9800998ecf8427e
    D41D8CD98F00B204E9800998ECF8427E 01ARZ3NDEKTSV4RRFFQ69G5FAV 1234abcd5678 1704067200000
    Screenshot_20240101 スクリーンショット_2024-01-01_12.00.00 스크린샷_2024-01-01_오후_12.00.00 사진_2024
    Снимок_экрана_2024-01-01_в_12.00.00 Bildschirmfoto_2024-01-01_um_12.00.00
    Captura_de_pantalla_2024-01-01_a_las_12.00.00 Capture_d’écran_2024-01-01_à_12.00.00
    Schermata_2024-01-01_alle_12.00.00 Zrzut_ekranu_2024-01-01_120000 ファイル_000 写真_2024-01-01_12
    写真2024年1月1日 2024年1月1日 1枚目 名称未設定 無題 新規フォルダー 受信した画像 iOSの画像
    截屏2024-01-01 무제
    clip_image002 image001 mceclip0 untitled-1 Untitled
    Scan_20240101 scan0001 CamScanner_01-01-2024_12.00 New_Doc_2024-01-01_1 snapseed-12345
    LRM_EXPORT_20240101_120000 InShot_20240101_120000000 PicsArt_01-01-12.00.00
    vlcsnap-2024-01-01-12h00m00s123 SYNOPHOTO_THUMB_XL Camera_Roll New_folder Photos_from_2023
    Camera_Uploads DCIM
""".split()  # fmt: skip

NAMED = {
    # words in any script, and those that have few letters or go with numbers
    "BLT": "BLT", "pho": "pho", "PBJ": "PBJ", "PB&J": "PB&J", "XLB": "XLB", "dal": "dal",
    "Pad_Thai": "Pad Thai", "bò": "bò", "phở_bò": "phở bò", "肉": "肉",
    "月見うどん": "月見うどん", "日替わり定食": "日替わり定食", "김치찌개": "김치찌개", "ผัดไทย": "ผัดไทย",
    "борщ": "борщ", "كبسة": "كبسة", "χωριάτικη": "χωριάτικη",
    "Œufs_mayonnaise": "Œufs mayonnaise", "🍣": "🍣", "L'aligot": "L'aligot",
    "Chicken_65": "Chicken 65", "7_Up_cake": "7 Up cake",
    "7up jelly 2024": "7up jelly 2024", "カレー_500": "カレー 500",
    "A5_wagyu": "A5 wagyu", "H2O_soup": "H2O soup", "1000_islands": "1000 islands",
    "15 minute dinner": "15 minute dinner", "CAKE0001": "CAKE0001",
    "large_pizza": "large pizza", "McFlurry": "McFlurry",
    "Borschtsch": "Borschtsch",
    # separators are spaces
    "Smoky-Beetroot-Ramen": "Smoky Beetroot Ramen",
    "smoky+beetroot+ramen": "smoky beetroot ramen",
    "smoky%20beetroot%20ramen": "smoky beetroot ramen",
    "smoky.beetroot.ramen": "smoky beetroot ramen",
    "SmokyBeetrootRamen": "Smoky Beetroot Ramen",
    "deep-fried_tofu": "deep-fried tofu", "3-cheese-pizza": "3 cheese pizza",
    "fish&amp;chips": "fish&chips", "#U30e9#U30fc#U30e1#U30f3": "ラーメン",
    "Dr.Pepper cake": "Dr.Pepper cake",
    # what programs add to a name
    "ramen_20240101_120000": "ramen", "20240101_ramen": "ramen",
    "2024-01-01 12.00.00 ramen": "ramen", "pizza-2000614_1280": "pizza",
    "220px-Ramen_noodles": "Ramen noodles", "ramen-300x200": "ramen",
    "ramen-scaled": "ramen", "ramen@2x": "ramen", "ramen-3f2a9b1c": "ramen",
    "ramen - Copy (2)": "ramen", "Copy of ramen": "ramen", "親子丼(2)": "親子丼",
    "tarte_tatin_(2)_copy_2": "tarte tatin",
}  # fmt: skip


@pytest.mark.parametrize("stem", UNNAMED)
def test_a_name_without_words_is_no_persons(stem: str) -> None:
    assert read(f"{stem}.jpg") == ""
    assert read(f"{stem.replace('_', ' ')}.HEIC") == ""


@pytest.mark.parametrize("stem", NAMED)
def test_a_name_with_words_is_a_dish(stem: str) -> None:
    assert read(f"{stem}.jpg") == NAMED[stem]


@pytest.mark.parametrize(("file_name", "dish"), [
    ("tomato_tart.jpg?w=640", "tomato tart"), ("leek_pie.jpg_large", "leek pie"), ("leek_pie.jpg:large", "leek pie"),
    ("leek_pie.jpeg!d", "leek pie"), ("leek_pie.jpg.1", "leek pie"), ("leek_pie.jpeg.webp", "leek pie"),
    ("leek_pie.HEIC.jpg", "leek pie"), ("leek_pie.jpg~c200", "leek pie"), ("leek_pie.jpg%3Fw=640", "leek pie"),
    ("onion_rings", "onion rings"), ("quince_jelly.jxl", "quince jelly"), ("mt. fuji curry", "mt. fuji curry"),
    ("IMG_1234.jpg?w=640", ""), ("image.jpg_large", ""),
])  # fmt: skip
def test_an_odd_ending_is_no_part_of_a_name(file_name: str, dish: str) -> None:
    assert read(file_name) == dish


def named(*paths: str) -> list[str]:
    return dish_names([PurePosixPath(path) for path in paths])


@pytest.mark.parametrize("row", [
    ("beef stew 1.jpg", "beef stew 2.jpg"),
    ("beef stew-1.jpg", "beef stew-2.jpg"),
    ("beef stew - 1.jpg", "beef stew - 2.jpg", "beef stew - 4.jpg"),
    ("beef_stew_01.jpg", "beef_stew_02.jpg"),
    ("beef-stew-1.jpg", "beef-stew-2.jpg"),
    ("beef stew.jpg", "beef stew 2.jpg"),
    ("beef stew no.1.jpg", "beef stew #2.jpg"),
    ("beef stew11.jpg", "beef stew12.jpg"),
    ("beef stew a.jpg", "beef stew b.jpg"),
    ("beef stew [1].jpg", "beef stew [2].jpg"),
    ("beef stew (1).jpg", "beef stew_2.jpg", "beef stew.jpg"),
])  # fmt: skip
def test_photographs_that_are_numbered_in_a_row_are_of_one_dish(row: tuple[str, ...]) -> None:
    assert named(*row) == ["beef stew"] * len(row)


def test_a_number_that_stands_alone_belongs_to_its_name() -> None:
    alone = ["Chicken 65", "Chicken 90", "Chicken", "7up", "Vitamin C", "カレー 500", "カレー"]
    assert named(*(f"{name}.jpg" for name in alone)) == alone
    assert named("Chicken 65 1.jpg", "Chicken 65 2.jpg") == ["Chicken 65"] * 2
    assert named("肉じゃが①.jpg", "肉じゃが２.jpg", "肉じゃが その3.jpg") == ["肉じゃが"] * 3


def test_a_list_is_not_a_part_of_its_names() -> None:
    listed = named("01 beef stew.jpg", "02 curry.jpg", "03 ramen.jpg", "7 Up cake.jpg")
    assert listed == ["beef stew", "curry", "ramen", "7 Up cake"]
    assert named("1. beef stew.jpg", "2. curry.jpg", "3. ramen.jpg") == ["beef stew", "curry", "ramen"]


def test_a_folder_names_the_photographs_that_have_no_name() -> None:
    assert named("beef stew/1.jpg", "soups/beef stew/originals/IMG_2.jpg") == ["beef stew"] * 2
    assert named("ramen/ramen.jpg", "ramen/IMG_1.jpg", "01_curry/x.jpg") == ["ramen", "ramen", "curry"]
    assert named("lunch/ramen.jpg", "lunch/IMG_1.jpg") == ["ramen", ""]  # lunch is not what is on the other
    places = ("", "DCIM/100APPLE/", "2024-01/", "Photos from 2023/", "新しいフォルダー/")
    assert named(*(f"{place}1.jpg" for place in places)) == [""] * 5


def test_names_of_one_dish_are_spelt_alike() -> None:
    assert spelling("Beef-Stew 2") == spelling("beef stew") != spelling("beef soup")
    assert spelling("ﾗｰﾒﾝ") == spelling("ラーメン")
    assert spelling("12") == "12"


def test_every_word_for_what_is_eaten_is_a_name() -> None:
    eaten = [word for role in ("ingredient", "form") for word in words(role)]
    names = {name for word in eaten for name in (word.en, *word.ja)}
    assert {name for name in names if not has_words(name)} <= {"stock", "roll"}  # which are of photographs, too


def test_shared_names_are_names() -> None:
    with case("names.tsv").open(encoding="utf-8", newline="") as file:
        for written, meant, *_ in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            assert has_words(written)
            if meant.isascii():
                assert read(f"{written}.jpg") == meant
