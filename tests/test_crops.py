"""Photographs cut by a table of crops."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.data.crops import Crop, cut, load_crops, read_crops, write_crops
from model.data.layouts import DataError

HEAD = "file\trow\tx\ty\thalf\n"


def ramp(side: int = 64) -> np.ndarray:
    """Red grows to the right, green downwards."""
    grey = np.linspace(0, 255, side).round().astype(np.uint8)
    return np.stack([np.tile(grey, (side, 1)), np.tile(grey[:, None], (1, side)), np.zeros((side, side), np.uint8)], -1)


def test_the_whole_frame_is_the_picture_itself() -> None:
    assert np.array_equal(cut(ramp(), Crop(0.5, 0.5, 0.5), 64), ramp())


def test_a_crop_is_centred_where_it_says() -> None:
    quarter = cut(ramp(), Crop(0.75, 0.25, 0.25), 32)
    assert np.array_equal(quarter, ramp()[:32, 32:])


def test_what_lies_beyond_the_frame_is_mirrored() -> None:
    picture = ramp()
    wide = cut(picture, Crop(0.5, 0.5, 0.75), 96)  # 16 px more on every side
    assert np.array_equal(wide[16:-16, 16:-16], picture)
    assert np.array_equal(wide[16:-16, :16], picture[:, :16][:, ::-1])
    assert np.array_equal(wide[-16:, 16:-16], picture[-16:][::-1])
    assert cut(picture, Crop(0.0, 1.0, 1.0), 20).shape == (20, 20, 3)


def photographs(folder: Path) -> Path:
    rows = []
    for i in range(4):
        file = io.BytesIO()
        Image.fromarray(np.roll(ramp(), i, 2)).save(file, "PNG")
        rows.append({"image": {"bytes": file.getvalue(), "path": ""}, "name": f"soup {i}", "kind": "free"})
    pq.write_table(pa.Table.from_pylist(rows), folder / "validation-0.parquet")
    return folder


def test_only_photographs_with_a_crop_are_read(tmp_path: Path) -> None:
    table = tmp_path / "crops.tsv"
    lines = ["validation-0.parquet\t2\t0.5\t0.5\t0.25", "validation-0.parquet\t1\t.5\t.5\t.5", "other\t0\t.5\t.5\t.5"]
    table.write_text(HEAD + "\n".join(lines) + "\n")
    photos = load_crops(photographs(tmp_path), read_crops(table), 32)
    assert photos.names == ["soup 1", "soup 2"]
    assert photos.images.shape == (2, 32, 32, 3)
    inner = np.roll(ramp(), 2, 2)[16:48, 16:48]
    assert np.abs(photos.images[1].astype(int) - inner).max() <= 6


def test_photographs_of_their_own_files_have_no_row(tmp_path: Path) -> None:
    (tmp_path / "validation").mkdir()
    Image.fromarray(ramp()).save(tmp_path / "validation" / "pea_soup.png")
    (tmp_path / "crops.tsv").write_text(HEAD + "pea_soup.png\t\t0.5\t0.5\t0.4\n")
    assert load_crops(tmp_path, read_crops(tmp_path / "crops.tsv"), 16).names == ["pea soup"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\trow\tx\n", "no column half and no column y"),
        (HEAD + "a\t1\t0.5\t0.5\tx\n", "line 2"),
        (HEAD + "a\t1\t0.5\t0.5\t0.4\na\t2\t0.5\t1.5\t0.4\n", "line 3"),
        (HEAD + "a\t1\t0.5\n", "line 2"),
        (HEAD + "a\t1\t0.5\tnan\t0.5\n", "line 2"),
    ],
)
def test_a_table_that_is_none_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "crops.tsv").write_text(text)
    with pytest.raises(DataError, match=rf"crops.tsv.*{message}"):
        read_crops(tmp_path / "crops.tsv")


def test_a_table_that_is_not_there_or_fits_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere.tsv"):
        read_crops(tmp_path / "nowhere.tsv")
    with pytest.raises(DataError, match="none of the 4 validation photographs"):
        load_crops(photographs(tmp_path), {"other.parquet row 0": Crop(0.5, 0.5, 0.5)}, 16)


def test_a_table_is_written_as_it_is_read(tmp_path: Path) -> None:
    table = tmp_path / "new" / "crops.tsv"
    crops = {"validation-0.parquet row 12": Crop(0.5, 0.25, 0.4), "soups/豆のスープ.jpg": Crop(0.125, 1.0, 0.6)}
    write_crops(table, crops)
    assert read_crops(table) == crops


def test_a_name_that_would_break_the_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pea\\tsoup.jpg.*rename"):
        write_crops(tmp_path / "crops.tsv", {"pea\tsoup.jpg": Crop(0.5, 0.5, 0.5)})
