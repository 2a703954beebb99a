"""The depth of field: what is in focus and what is not, how it is learned, and how a checkpoint gets one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from model import checkpoint, focus
from model.depth_of_field import CELLS, DepthOfField
from model.pack import pack
from model.pipeline import Pipeline
from model.training import focusing
from tests.test_vessels import plate

SIZE = 256
NEAR = slice(96, 160)  # rows and columns well within the disc
CORNER = slice(0, 40)
FEW = ("--pictures", 32, "--steps", 2)


def distance(side: int) -> Tensor:
    """(side, side): how far each pixel is from the middle; 1 is at the middle of an edge."""
    across = (torch.arange(side) + 0.5) * 2 / side - 1
    return (across.square() + across[:, None].square()).sqrt()


class Disc(DepthOfField):
    """Has a disc in the middle in focus, whatever the sketch."""

    def find(self, sketches: Tensor) -> Tensor:
        return (40 * (0.6 - distance(CELLS))).expand(len(sketches), 1, -1, -1)


def focused(pictures: Tensor) -> Tensor:
    return Disc()(pictures, torch.zeros(len(pictures), 3, 64, 64))


def test_the_surroundings_are_blurred_and_nothing_else() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    after = focused(pictures)
    assert after.shape == pictures.shape
    torch.testing.assert_close(after[:, :, NEAR, NEAR], pictures[:, :, NEAR, NEAR])
    assert after[:, :, CORNER, CORNER].std() < 0.1 * pictures[:, :, CORNER, CORNER].std()
    assert after.abs().max() <= 1


@pytest.mark.parametrize("level", [-1.0, 0.3, 1.0])
def test_even_pictures_stay_as_they_are_up_to_their_borders(level: float) -> None:
    pictures = torch.full((1, 3, SIZE, SIZE), level)
    torch.testing.assert_close(focused(pictures), pictures)


def test_a_bright_dish_does_not_shine_on_a_dark_table() -> None:
    far = distance(SIZE)
    pictures = ((far < 0.6) * 2.0 - 1).expand(1, 3, -1, -1)
    assert focused(pictures)[0, :, far > 0.75].max() < -0.9


def test_a_new_one_can_learn_where_plates_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """From plates of three sizes, to one of a fourth."""
    monkeypatch.setattr(focusing, "BATCH", 16)
    sizes = (0.5, 0.6, 0.7, 0.65)
    photographs = [plate((0.5 - size / 2, 0.5 - size / 2, 0.5 + size / 2, 0.5 + size / 2)) for size in sizes]
    scaled = F.interpolate(torch.tensor(np.stack(photographs)).permute(0, 3, 1, 2) / 127.5 - 1, (64, 64), mode="area")
    inside = (distance(64) < torch.tensor(sizes)[:, None, None]).float()[:, None]
    masks = F.avg_pool2d(inside, 64 // CELLS)
    examples = focusing.Examples(scaled[:3].repeat(16, 1, 1, 1), masks[:3].repeat(16, 1, 1, 1))
    network, errors = focusing.fit(examples, examples, steps=80)
    with torch.no_grad():
        found = network.find(scaled[3:]).sigmoid()
    assert max(errors) < 0.08
    assert (found - masks[3:]).abs().mean() < 0.08


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(40):
        edge = 0.04 + 0.004 * i
        Image.fromarray(plate((edge, edge, 1 - edge, 1 - edge), 160)).save(folder / f"soup {i}.png")
    return folder


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(focus.main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_a_checkpoint_is_given_one_and_then_another(photographs: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    once, twice = tmp_path / "once", tmp_path / "twice"
    code, output = run("--data", photographs, "--from", tiny_checkpoint, "--out", once, *FEW)
    assert code == 0 and "40 photographs and 32 pictures" in output, output
    code, output = run("--data", photographs, "--from", once, "--out", twice, *FEW, "--seed", 1)
    assert code == 0, output
    pipelines = [Pipeline.load(folder, "cpu") for folder in (tiny_checkpoint, once, twice)]
    assert len({pipeline.version for pipeline in pipelines}) == 3
    sketches = [pipeline.generate(["tea"], [1], 64) for pipeline in pipelines]
    assert all(np.array_equal(sketch, sketches[0]) for sketch in sketches)
    pictures = [pipeline.generate(["tea"], [1]) for pipeline in pipelines]
    assert not np.array_equal(pictures[0], pictures[1])


@pytest.fixture
def with_focus(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "focused"
    shutil.copytree(tiny_checkpoint, folder)
    checkpoint.save_weights(folder, checkpoint.FOCUS, DepthOfField(width=8))
    checkpoint.save_config(folder, **{checkpoint.FOCUS: {"width": 8}})
    return folder


def test_pictures_do_not_depend_on_what_they_are_made_with(with_focus: Path) -> None:
    pipeline = Pipeline.load(with_focus, "cpu")
    together = pipeline.generate(["tea", "pea soup", "tea"], [1, 2, 3])
    for name, seed, picture in zip(("tea", "pea soup", "tea"), (1, 2, 3), together, strict=True):
        assert np.array_equal(pipeline.generate([name], [seed])[0], picture)


def test_a_broken_one_is_named(with_focus: Path) -> None:
    checkpoint.weights_path(with_focus, checkpoint.FOCUS).write_bytes(b"no")
    with pytest.raises(checkpoint.CheckpointError, match=r"depth-of-field\.safetensors"):
        Pipeline.load(with_focus, "cpu")


def test_packing_keeps_it(with_focus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.pack.SHIPPED", ("text", "stage1", "stage2"))
    pack((with_focus,), tmp_path / "packed")
    assert Pipeline.load(tmp_path / "packed", "cpu").version == Pipeline.load(with_focus, "cpu").version


def test_too_few_photographs_are_refused(photographs: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    for file in list(photographs.iterdir())[5:]:
        file.unlink()
    code, output = run("--data", photographs, "--from", tiny_checkpoint, "--out", tmp_path / "out")
    assert code == 1 and "5 photographs" in output and not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    code, output = run("--data", tmp_path / "nothing", "--from", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 1 and "none" in output and "nothing" not in output
