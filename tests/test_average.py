"""The average of several checkpoints' generators."""

import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from model import average, checkpoint
from model.generators import Stage1Generator, Stage2Generator
from model.pipeline import Pipeline
from model.training.widen import add_forms


@pytest.fixture
def parts(tiny_checkpoint: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint, and one that was trained on from it and got spatial forms on the way."""
    early, late = tmp_path / "early", tmp_path / "late"
    for folder in (early, late):
        shutil.copytree(tiny_checkpoint, folder)
    generator = add_forms(checkpoint.load_network(early, "stage1", Stage1Generator), 4)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    checkpoint.save_weights(late, "stage1", generator)
    checkpoint.save_config(late, stage1=generator.config)
    return early, late


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(average.main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_weights_are_averaged_by_their_shares_and_new_forms_grow_from_nothing(
    parts: tuple[Path, Path], tmp_path: Path
) -> None:
    early, late = parts
    code, output = run("--part", early, 1, "--part", late, 3, "--out", tmp_path / "out")
    assert code == 0 and Pipeline.load(tmp_path / "out", "cpu").version in output
    a, b, mean = (
        checkpoint.load_network(folder, "stage1", Stage1Generator).state_dict()
        for folder in (early, late, tmp_path / "out")
    )
    for name, value in mean.items():
        if name.endswith("add.weight"):
            expected = 0.75 * b[name]
        elif name.startswith("forms."):
            expected = b[name]
        else:
            expected = 0.25 * a[name] + 0.75 * b[name]
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-3)
    same = checkpoint.load_network(tmp_path / "out", "stage2", Stage2Generator).state_dict()
    for name, value in checkpoint.load_network(early, "stage2", Stage2Generator).state_dict().items():
        torch.testing.assert_close(same[name], value, rtol=1e-3, atol=1e-3)
    assert "smooth_colour" not in checkpoint.read_config(tmp_path / "out")["stage1"]


def test_colours_can_be_smooth_from_then_on(parts: tuple[Path, Path], tmp_path: Path) -> None:
    early, _ = parts
    assert run("--part", early, 1, "--smooth-colour", "--levels", "--out", tmp_path / "out")[0] == 0
    made = checkpoint.load_network(tmp_path / "out", "stage1", Stage1Generator)
    assert made.smooth_colour and made.levels
    before, after = Pipeline.load(early, "cpu"), Pipeline.load(tmp_path / "out", "cpu")
    assert before.version != after.version
    assert (before.generate(["pea soup"], [0], 64) != after.generate(["pea soup"], [0], 64)).any()


def test_detail_can_be_crisp_from_then_on(parts: tuple[Path, Path], tmp_path: Path) -> None:
    early, _ = parts
    assert run("--part", early, 1, "--crisp", "--out", tmp_path / "out")[0] == 0
    assert checkpoint.load_network(tmp_path / "out", "stage2", Stage2Generator).crisp
    assert Pipeline.load(early, "cpu").version != Pipeline.load(tmp_path / "out", "cpu").version


def test_generators_that_do_not_average_are_named(parts: tuple[Path, Path], tmp_path: Path) -> None:
    early, late = parts
    config = checkpoint.read_config(early)["stage1"]
    wider = Stage1Generator(**{**config, "channels": (16, 32, 16, 16, 16)})
    checkpoint.save_weights(early, "stage1", wider)
    checkpoint.save_config(early, stage1=wider.config)
    code, output = run("--part", early, 1, "--part", late, 1, "--out", tmp_path / "out")
    assert code == 1 and str(early) in output and not (tmp_path / "out").exists()
    code, output = run("--part", late, 1, "--out", late)
    assert code == 1 and "another --out" in output
