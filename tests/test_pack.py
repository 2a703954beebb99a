"""One checkpoint folder from the parts of several runs."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from model import checkpoint, pack
from model.features.matching import MatchingHead
from model.generators import Stage1Generator
from model.nearest import NamesIndex
from model.pipeline import Pipeline
from model.training import recipe
from model.training.discriminator import Heads, PixelDiscriminator
from model.training.stage1 import LatentEncoder


@pytest.fixture
def parts(tiny_checkpoint: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs' folders on one text encoder: the second has trained stage 1 for longer."""
    config = checkpoint.read_config(tiny_checkpoint)
    extras: dict[str, MatchingHead | Heads | LatentEncoder | PixelDiscriminator] = {
        "matching-64": MatchingHead(features=8, embedding_dim=8, hidden=8),
        "stage1-heads": Heads(channels=(4, 4, 4, 4), embedding_dim=8, width=4),
        "stage1-encoder": LatentEncoder(z_dim=4),
        "stage1-pixels": PixelDiscriminator(width=4),
        "stage2-pixels": PixelDiscriminator(width=4),
        "stage2-heads": Heads(channels=(4, 4, 4, 4), embedding_dim=8, width=4),
        "stage2-window-heads": Heads(channels=(4, 4, 4, 4), embedding_dim=8, width=4),
    }
    folders = tmp_path / "early", tmp_path / "late"
    for folder, kimg in zip(folders, (5.0, 9.0), strict=True):
        shutil.copytree(tiny_checkpoint, folder)
        checkpoint.save_weights(folder, "stage1", Stage1Generator(**config["stage1"]))
        for name, module in extras.items():
            checkpoint.save_weights(folder, name, module)
        sections = {name: module.config for name, module in extras.items()}
        checkpoint.save_config(folder, **sections, training={"stage1": {"kimg": kimg}, "stage2": {"kimg": 14 - kimg}})
    return folders


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(pack.main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_each_network_comes_from_the_run_that_trained_it_longest(parts: tuple[Path, Path], tmp_path: Path) -> None:
    early, late = parts
    code, output = run("--part", early, "--part", late, "--out", tmp_path / "out")
    assert code == 0 and Pipeline.load(tmp_path / "out", "cpu").version in output
    for name, source in (("stage1", late), ("stage1-heads", late), ("stage2", early), ("stage2-heads", early)):
        file = f"{name}.safetensors"
        assert (tmp_path / "out" / file).read_bytes() == (source / file).read_bytes()
    assert checkpoint.read_config(tmp_path / "out")["training"] == {"stage1": {"kimg": 9.0}, "stage2": {"kimg": 9.0}}


def test_parts_on_other_text_encoders_do_not_fit(parts: tuple[Path, Path], tmp_path: Path) -> None:
    early, late = parts
    shutil.copyfile(late / "stage1.safetensors", late / "text.safetensors")
    code, output = run("--part", early, "--part", late, "--out", tmp_path / "out")
    assert code == 1 and str(late) in output and "text encoder" in output
    assert not (tmp_path / "out").exists()


def test_a_part_that_is_missing_is_named(parts: tuple[Path, Path], tmp_path: Path) -> None:
    early, _ = parts
    (early / "stage2-heads.safetensors").unlink()
    code, output = run("--part", early, "--out", tmp_path / "out")
    assert code == 1 and "stage2-heads.safetensors" in output
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_too_large_for_the_history_is_refused(
    parts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MAX_BYTES", 1000)
    code, output = run("--part", parts[0], "--out", tmp_path / "out")
    assert code == 1 and "MiB" in output
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(parts: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, output = run("--part", parts[0], "--out", tmp_path / "file" / "out")
    assert code == 1 and str(tmp_path / "file") in output


def test_the_index_knows_the_names_of_the_photographs(parts: tuple[Path, Path], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("pea soup", "lemon tart", "親子丼"):
        Image.new("RGB", (80, 80), "green").save(photos / f"{name}.png")
    code, output = run("--part", parts[0], "--data", photos, "--out", tmp_path / "out")
    assert code == 0 and "3 names" in output
    pipeline = Pipeline.load(tmp_path / "out", "cpu")
    index = NamesIndex.load(tmp_path / "out", pipeline.text.embedding_dim)
    assert index is not None
    assert index.nearest(pipeline.embed(["pea soup"])[0], "pea soup").names[0][0] == "pea soup"
    # Packed anew without photographs it knows nothing, rather than where another model would put these.
    assert run("--part", parts[1], "--out", tmp_path / "out")[0] == 0
    assert Pipeline.load(tmp_path / "out", "cpu").names_index is None


def test_the_model_card_tells_every_run() -> None:
    training = checkpoint.read_config(checkpoint.CHECKPOINT)["training"]
    for stage in ("stage1", "stage2"):
        assert sum(run["kimg"] for run in training[stage]["runs"]) == pytest.approx(training[stage]["kimg"], abs=0.01)
    assert recipe.table({"training": training}) in (checkpoint.CHECKPOINT / "README.md").read_text("utf-8")
