"""What a folder of photographs holds besides, and what is a picture."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from model.data.folder_contents import contents, label


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 30, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def put(root: Path, *names: str, content: bytes | None = None) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg() if content is None else content)


def photos(root: Path) -> list[str]:
    return [label(path, root) for path in contents(root, set()).photos]


@pytest.mark.parametrize("left", [
    # NAS systems, file managers and operating systems
    "@eaDir/ramen.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/ramen.jpg", "@Recycle/ramen.jpg",
    ".@__thumb/s800ramen.jpg",
    "@Recently-Snapshot/GMT+09_2024-01-01/ramen.jpg", "$RECYCLE.BIN/S-1-5-21/$RABC123.jpg",
    ".Trash-1000/files/ramen.jpg",
    "System Volume Information/x.jpg", "lost+found/x.jpg", "LOST.DIR/1234.jpg", "__MACOSX/._ramen.jpg", "._ramen.jpg",
    ".thumbnails/1234.jpg", "Thumbnails/ramen.jpg", ".trashed-1700000000-ramen.jpg", "Network Trash Folder/ramen.jpg",
    # sync tools
    "ramen.sync-conflict-20240101-120000-ABCDEFG.jpg", "ramen (conflicted copy 2024-01-01 120000).jpg",
    "ramen (Alice's conflicted copy 2024-01-01).jpg", "ramen_conflict-20240101-120000.jpg",
    "ramen_DESKTOP-ABC_Jan-01-120000-2024_Conflict.jpg", "ramen (SFConflict a@b.c 2024-01-01-12-00-00).jpg",
    ".stversions/ramen~20240101-120000.jpg", ".sync/Archive/ramen.jpg", ".dropbox.cache/2024-01-01/ramen.jpg",
    "~syncthing~ramen.jpg.tmp", "appdata_oc1a2b3c/preview/1/2/256-256-crop.jpg",
    # photo libraries, editors and downloads
    ".picasaoriginals/ramen.jpg", "Lightroom Catalog Previews.lrdata/0/00AB/1.jpg",
    "Photos.photoslibrary/originals/0/A.jpeg", "iPod Photo Cache/F00/T1.jpg",
    "CaptureOne/Cache/Thumbnails/ramen.jpg.cot", "ramen.jpg_original", "ramen.jpg~", "ramen.jpg.bak",
    "ramen.jpg.crdownload", "ramen.jpg.part", "MVI_0001.THM", "AlbumArtSmall.jpg", "SYNOFILE_THUMB_M.jpg",
    "Thumbs.db", ".DS_Store", "desktop.ini",
])  # fmt: skip
def test_what_other_programs_keep_there_is_passed_over_and_counted(left: str, tmp_path: Path) -> None:
    put(tmp_path, "smoky_ramen.jpg", left)
    found = contents(tmp_path, set())
    assert [path.name for path in found.photos] == ["smoky_ramen.jpg"]
    assert sum(found.passed.values()) == 1
    assert found.unread == []


def test_a_folder_that_is_passed_over_counts_with_all_that_is_in_it(tmp_path: Path) -> None:
    put(tmp_path, "ramen.jpg", "@eaDir/ramen.jpg/1.jpg", "@eaDir/ramen.jpg/2.jpg", "more/@eaDir/soup.jpg/1.jpg")
    assert contents(tmp_path, set()).passed == {"@eaDir": 3}


@pytest.mark.parametrize("name", [
    "tomato_tart.jpg?w=640", "leek_pie.jpg_large", "onion_rings", "quince_jelly.jxl", "leek_pie.jpg.1",
    "leek_pie.jpg!d", "leek_pie.dat", "mt. fuji curry", "leek pie (2024", "LEEK_PIE.JPG", "cheese.photo",
])  # fmt: skip
def test_content_decides_what_is_a_picture(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    assert photos(tmp_path) == [name]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_every_format_is_known_by_its_content(form: str, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "ramen", form)
    assert photos(tmp_path) == ["ramen"]


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("quince_jelly.jxl", b"\xff\n", "not a format that is read; export it as JPEG"),
    ("ramen", b"\0\0\0\x0cJXL \r\n\x87\n", "not a format that is read; export it as JPEG"),
    ("menu.pdf", b"%PDF-1.7", "not a format that is read; export it as JPEG"),
    ("ramen.psd", b"8BPS", "not a format that is read; export it as JPEG"),
    ("ramen.NEF", b"MM\0*", "a camera's raw file; export it as JPEG"),
    ("ramen.cr3", b"\0\0\0\x18ftypcrx ", "a camera's raw file; export it as JPEG"),
    ("dishes.zip", b"PK\3\4", "an archive; unpack it"),
    ("dishes", b"PK\3\4", "an archive; unpack it"),
    ("more.lnk", b"L\0\0\0", "a shortcut; put what it leads to here"),
    (".ramen.jpg.icloud", b"bplist00", "still in iCloud; download it"),
    ("captions.csv", b"file_name,name\n", "not read; a table of names is called metadata.csv"),
    ("more/metadata.csv", b"file_name,name\n", "not read; save it as metadata.csv beside the photographs"),
    ("metadata.xlsx", b"PK\3\4", "not read; save it as metadata.csv beside the photographs"),
])  # fmt: skip
def test_what_might_be_missed_is_named(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    put(tmp_path, "soup.jpg")
    put(tmp_path, name, content=content)
    found = contents(tmp_path, set())
    assert found.unread == [f"{name}: {reason}"]
    assert [path.name for path in found.photos] == ["soup.jpg"]


def test_texts_are_no_pictures_and_captions_beside_photographs_are_named(tmp_path: Path) -> None:
    put(tmp_path, "soup.jpg", "ramen.jpg")
    put(tmp_path, "README.md", "notes.txt", "BM list", "print-subscriptions.json", content=b"BM of the week")
    assert contents(tmp_path, set()).unread == []
    put(tmp_path, "soup.txt", "ramen.txt", content=b"a caption")
    said = "2 captions in .txt files (ramen.txt…): not read; put them into a metadata.csv"
    assert contents(tmp_path, set()).unread == [said]
    put(tmp_path, "soup.mov", content=b"\0\0\0\x14ftypqt  ")
    assert contents(tmp_path, set()).passed == {"videos": 1}


@pytest.mark.parametrize("name", ["metadata.csv", "Metadata.csv", "METADATA.CSV", "metadata.tsv", "metadata.ndjson"])
def test_a_table_is_found_however_its_name_is_written(name: str, tmp_path: Path) -> None:
    put(tmp_path, name, content=b"")
    assert [path.name for path in contents(tmp_path, set()).tables] == [name]


def test_linked_folders_are_read_and_links_in_a_circle_end(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "soup.jpg", "sweet/tart.jpg")
    put(tmp_path / "here", "ramen.jpg")
    here = tmp_path / "here"
    (here / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (here / "stew.jpg").symlink_to(tmp_path / "elsewhere" / "soup.jpg")
    assert photos(here) == ["more/soup.jpg", "more/sweet/tart.jpg", "ramen.jpg", "stew.jpg"]
    (tmp_path / "elsewhere" / "back").symlink_to(here, target_is_directory=True)
    (here / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = contents(here, set())
    assert found.unread == ["gone.jpg: a link to nothing", "more/back: a link to a folder that is here already"]
    assert len(found.photos) == 4
