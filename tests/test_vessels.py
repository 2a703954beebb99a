"""Vessels in photographs: found by the head that ships, on pictures drawn here, and the crops that follow from them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFilter

from model import align
from model.checkpoint import CheckpointError
from model.data.crops import cut, load_crops, read_crops
from model.data.layouts import DataError
from model.features.vessel_training import read_labels
from model.features.vessels import (
    BEYOND,
    GRID,
    SMALLEST,
    SURE,
    TRIMMED,
    Found,
    VesselFinder,
    has_a_shape,
    regions,
)

pytest.importorskip("efficientnet_lite_pytorch")

LABELS = "file\trow\tleft\ttop\tright\tbottom\tshape\tkind"
TABLE, PLATE, RIM, FOOD = (96, 66, 44), (236, 234, 228), (206, 203, 196), (178, 84, 40)


def plate(box: tuple[float, float, float, float], side: int = 256) -> np.ndarray:
    """A plate of food on a table, (side, side, 3) uint8, that fills the box, in fractions of the side."""
    scale = 4 * side
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (scale // 8, scale // 8, 3)) + TABLE
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize((scale, scale), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = (scale * edge for edge in box)
    width, height = right - left, bottom - top

    def ellipse(inner: float, colour: tuple[int, int, int]) -> None:
        x, y = inner * width, inner * height
        draw.ellipse((left + x, top + y, right - x, bottom - y), colour)

    ellipse(0, PLATE)
    ellipse(0.12, RIM)
    ellipse(0.14, PLATE)
    for _ in range(60):
        angle, out = rng.uniform(0, 2 * np.pi), 0.26 * np.sqrt(rng.uniform())
        x, y = left + width * (0.5 + out * np.cos(angle)), top + height * (0.5 + out * np.sin(angle))
        size = 0.05 * scale * rng.uniform(0.6, 1.4)
        colour = tuple(int(c * rng.uniform(0.6, 1.3)) for c in FOOD)
        draw.ellipse((x - size, y - size, x + size, y + size), colour)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(3)).resize((side, side), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def finder() -> VesselFinder:
    return VesselFinder()


BOXES = [(0.05, 0.06, 0.95, 0.96), (0.1, 0.03, 0.97, 0.9), (0.03, 0.03, 0.92, 0.92)]


@pytest.mark.parametrize("side", [64, 256])
@pytest.mark.parametrize("box", BOXES)
def test_a_plate_is_found(finder: VesselFinder, box: tuple[float, float, float, float], side: int) -> None:
    vessel, _ = finder.look([plate(box, side)])[0]
    assert vessel.kind == "vessel"
    assert (vessel.left, vessel.top, vessel.right, vessel.bottom) == pytest.approx(box, abs=0.06)


def test_the_crop_of_a_plate_centres_it(finder: VesselFinder) -> None:
    pictures = [plate(box) for box in BOXES]
    for picture, crop in zip(pictures, finder.crops(pictures, [""] * 3), strict=True):
        assert crop is not None
        bright = cut(picture, crop, 64).min(-1) > 150
        across, down = np.flatnonzero(bright.any(0)), np.flatnonzero(bright.any(1))
        # The wider of both touches the frame, within what the head is exact to; either is in its middle.
        assert max(np.ptp(across), np.ptp(down)) >= 56
        assert (across[0] + across[-1]) / 2 == pytest.approx(31.5, abs=4)
        assert (down[0] + down[-1]) / 2 == pytest.approx(31.5, abs=4)


def test_a_photograph_finds_the_same_alone_and_among_others_of_any_size(finder: VesselFinder) -> None:
    pictures = [plate(box, side) for box, side in zip(BOXES, (256, 64, 150), strict=True)]
    together = finder.look(pictures)
    for picture, (vessel, dish) in zip(pictures, together, strict=True):
        alone = finder.look([picture])[0]
        assert vars(alone[0]) == pytest.approx(vars(vessel), abs=1e-4)
        assert vars(alone[1]) == pytest.approx(vars(dish), abs=1e-4)


def test_nothing_is_found_where_nothing_is(finder: VesselFinder) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert finder.crops([np.full((256, 256, 3), 128, np.uint8), noise], ["cake"] * 2) == [None, None]
    assert finder.crops([], []) == []


def found(left: float, top: float, right: float, bottom: float, score: float = 1.0) -> Found:
    return Found("vessel", left, top, right, bottom, score)


def test_the_longer_side_of_a_box_fills_the_crop() -> None:
    crop = found(0.1, 0.3, 0.9, 0.8).crop()
    assert crop is not None
    assert (crop.x, crop.y, crop.half) == pytest.approx((0.5, 0.55, 0.4))


def test_a_box_beyond_the_frame_is_cut_a_little_sooner_than_reflected() -> None:
    crop = found(-0.05, 0, 0.95, 1).crop()
    assert crop is not None
    assert 0.5 * (1 - TRIMMED) <= crop.half < 0.5


@pytest.mark.parametrize(
    "box",
    [
        (-BEYOND["vessel"] - 0.01, 0.1, 0.8, 0.9),
        (0.1, 0.1, 0.9, 1 + BEYOND["vessel"] + 0.01),
        (0.5 - 0.9 * SMALLEST, 0.2, 0.5 + 0.9 * SMALLEST, 0.6),
    ],
)
def test_what_is_not_whole_or_too_small_has_no_crop(box: tuple[float, float, float, float]) -> None:
    assert found(*box).crop() is None


def test_what_is_not_sure_has_no_crop() -> None:
    assert found(0.1, 0.1, 0.9, 0.9, SURE["vessel"] + 0.01).crop() is not None
    assert found(0.1, 0.1, 0.9, 0.9, SURE["vessel"] - 0.01).crop() is None


@pytest.mark.parametrize("name", ["Carrot cake", "cheeseburger", "抹茶ケーキ", "hot-dog", "doughnut", "りんごパイ"])
def test_what_has_a_shape(name: str) -> None:
    assert has_a_shape(name)


@pytest.mark.parametrize("name", ["pea soup", "beef pot pie", "burger soup", "カレー", "magpies", "スパイス炒め"])
def test_what_has_none(name: str) -> None:
    assert not has_a_shape(name)


def test_regions_are_shares_of_cells() -> None:
    box = torch.tensor([0.25, 0.25, 0.75, 0.75])
    assert regions(box, False).sum().item() == pytest.approx(GRID**2 / 4, rel=0.02)
    assert regions(box, True).sum().item() == pytest.approx(GRID**2 / 4 * np.pi / 4, rel=0.02)
    assert regions(torch.tensor([-1.0, -1.0, 2.0, 2.0]), False).eq(1).all()


def photographs(folder: Path) -> Path:
    folder.mkdir()
    for name, box in zip(("pea soup", "beef stew", "plain rice"), BOXES, strict=True):
        Image.fromarray(plate(box)).save(folder / f"{name}.png")
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(folder / "white rice.png")
    (folder / "fish pie.jpg").write_bytes(b"no picture")
    return folder


def run(*arguments: object, expect: int = 0) -> str:
    result = CliRunner().invoke(align.main, [*map(str, arguments)])
    assert result.exit_code == expect, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def test_a_table_of_what_is_sure(tmp_path: Path) -> None:
    data, table = photographs(tmp_path / "photos"), tmp_path / "crops.tsv"
    output = run("crops", data, "--out", table)
    assert "3 crops of 5 photographs" in output
    assert "1 left out (fish pie.jpg: " in output
    found = load_crops(data, read_crops(table), 64, "train")
    assert sorted(found.names) == ["beef stew", "pea soup", "plain rice"]
    for picture in found.images:
        bright = picture.min(-1) > 150
        assert max(np.ptp(np.flatnonzero(bright.any(axis))) for axis in (0, 1)) >= 56


def test_a_folder_in_which_nothing_is_sure_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(tmp_path / "white rice.png")
    output = run("crops", tmp_path, "--out", tmp_path / "crops.tsv", expect=1)
    assert f"{tmp_path}: no vessel and no dish" in output
    assert not (tmp_path / "crops.tsv").exists()


def test_weights_that_are_none_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "head.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=str(broken)):
        VesselFinder(broken)


def test_the_labels_that_ship_are_boxes_of_both_kinds() -> None:
    labels = [label for several in read_labels([align.BOXES]).values() for label in several]
    assert {label.kind for label in labels} == {0, 1}


def test_labels_of_several_tables_are_joined(tmp_path: Path) -> None:
    vessels, dishes = tmp_path / "vessels.tsv", tmp_path / "dishes.tsv"
    vessels.write_text("file\trow\tleft\ttop\tright\tbottom\tshape\na.parquet\t0\t-.1\t0\t1\t1\trect\n")
    dishes.write_text(f"{LABELS}\na.parquet\t0\t.1\t.2\t.9\t.8\tother\tdish\n")
    vessel, dish = read_labels([vessels, dishes])["a.parquet row 0"]
    assert (vessel.kind, vessel.rectangle, vessel.mask, vessel.edges) == (0, True, 1.0, (-0.1, 0, 1, 1))
    assert (dish.kind, dish.rectangle, dish.edges) == (1, False, (0.1, 0.2, 0.9, 0.8))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.parquet\t0\t0.1\t0.1\t0.9\tx\tround\tvessel", "line 2: left and top"),
        ("a.parquet\t0\t0.9\t0.1\t0.1\t0.9\tround\tvessel", "line 2: left and top"),
        ("a.parquet\t0\t0.1\t0.1\t0.9\t0.9\tround\tspoon", "line 2: kind is 'spoon'"),
        ("a.parquet\t0\t0.1", "line 2: left and top"),
        ("", "no column"),
    ],
)
def test_labels_that_are_none_are_named(line: str, message: str, tmp_path: Path) -> None:
    table = tmp_path / "labels.tsv"
    table.write_text(f"{LABELS if line else 'file'}\n{line}\n")
    with pytest.raises(DataError, match=rf"labels.tsv.*{message}"):
        read_labels([table])


def test_a_head_is_fit_to_labels_and_measured(tmp_path: Path) -> None:
    labels, rows = [LABELS], []
    for row, box in enumerate(BOXES[:2] * 2):
        file = io.BytesIO()
        Image.fromarray(plate(box, 96)).save(file, "PNG")
        rows.append({"image": {"bytes": file.getvalue(), "path": ""}, "name": f"soup {row}"})
        labels.append("\t".join(["train-0.parquet", str(row), *map(str, box), "round", ("vessel", "dish")[row % 2]]))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train-0.parquet")
    table, out = tmp_path / "labels.tsv", tmp_path / "head.safetensors"
    table.write_text("\n".join(labels) + "\n")
    output = run("fit", tmp_path, "--labels", table, "--out", out, "--steps", 15, "--folds", 2)
    assert "vessel, 2 photographs as they are: an edge is off by" in output
    assert "dish, 2 photographs at 64 px" in output
    # Fifteen steps on four plates are enough to know them roughly; at first all edges are in the middle.
    vessel, _ = VesselFinder(out).look([plate(BOXES[0])])[0]
    assert (vessel.left, vessel.top, vessel.right, vessel.bottom) == pytest.approx(BOXES[0], abs=0.2)


def test_a_head_is_not_fit_to_photographs_without_labels(tmp_path: Path) -> None:
    Image.fromarray(plate(BOXES[0])).save(tmp_path / "pea soup.png")
    output = run("fit", tmp_path, "--out", tmp_path / "head.safetensors", expect=1)
    assert f"{tmp_path}: none of the" in output
    assert "--out" in run("fit", tmp_path, "--out", tmp_path / "head.pt", expect=2)
