"""The latent refiner, and the ratings that it is trained on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

from model import checkpoint, refine
from model.data.layouts import DataError
from model.data.ratings import Rating, read_ratings
from model.features.backbone import Backbone
from model.features.matching import MatchingHead
from model.generators import LatentRefiner, Stage1Generator
from model.pipeline import Pipeline
from model.training import mirrors, refining
from model.training.run_folder import save_networks

SIZES: dict[str, Any] = {
    "embedding_dim": 6, "z_dim": 8, "condition_dim": 4, "style_dim": 8, "channels": (16,) * 5, "reach": 0.4,
}  # fmt: skip


def made(refiner: int = 0) -> Stage1Generator:
    torch.manual_seed(0)
    return Stage1Generator(**SIZES, refiner=refiner)


def test_a_generator_without_a_refiner_is_that_of_earlier_versions() -> None:
    generator = made()
    assert "refiner" not in generator.config
    assert not any(name.startswith("refiner") for name in generator.state_dict())


def test_a_new_refiner_moves_nothing() -> None:
    embedding, latent = torch.randn(5, 6), torch.randn(5, 12)
    before, after = made(), made(refiner=4)
    after.load_state_dict(before.state_dict(), strict=False)
    torch.testing.assert_close(after(embedding, latent), before(embedding, latent))


def test_a_refiner_moves_every_number_by_little_and_z_keeps_its_length() -> None:
    torch.manual_seed(0)
    refiner = LatentRefiner(12, 8, 16, 0.3)
    refiner.layers[2].load_state_dict({"weight": 100 * torch.randn(12, 16), "bias": torch.zeros(12)})
    condition = torch.randn(64, 12)
    moved = refiner(condition)
    torch.testing.assert_close(moved[:, :8].norm(dim=1), condition[:, :8].norm(dim=1))
    shift = (moved - condition)[:, 8:].abs()
    assert shift.mean() > 0.5 * refiner.reach and shift.max() <= refiner.reach + 1e-6
    assert refiner(torch.zeros(1, 12)).isfinite().all()


def embeddings(count: int) -> Tensor:
    return F.normalize(torch.randn(count, 64), dim=1) * 8


def test_a_reward_predicts_the_ratings_of_other_pictures() -> None:
    torch.manual_seed(0)
    features, direction = 3 * torch.randn(300, 20) + 5, torch.randn(20)
    ratings, names = features @ direction, embeddings(300)
    reward = refining.fit_reward(features[:200], names[:200], ratings[:200])
    assert reward.correlation > 0.9
    assert torch.corrcoef(torch.stack([reward(features[200:]), ratings[200:]]))[0, 1] > 0.9
    assert refining.fit_reward(features, names, torch.randn(300)).correlation < 0.3


def test_a_reward_does_not_prefer_the_names_that_are_rated_higher() -> None:
    torch.manual_seed(0)
    names = embeddings(10).repeat_interleave(30, 0)
    by_name = torch.randn(10).repeat_interleave(30)
    features = torch.randn(300, 20)
    features[:, 0], features[:, 1] = by_name + 0.1 * features[:, 0], features[:, 1] + by_name
    reward = refining.fit_reward(features, names, 5 * by_name + features[:, 2])
    scaled = reward.weights.abs()
    assert scaled[2] > 3 * scaled[0] and scaled[2] > 3 * scaled[1]


def test_refining_raises_the_reward_and_changes_no_weight_of_the_generator() -> None:
    backbone, generator = Backbone(), made(refiner=16)
    matching = MatchingHead(features=backbone.features, embedding_dim=6, hidden=8)
    names = torch.randn(40, 6)
    with torch.no_grad():
        for block in generator.blocks:  # so that pictures differ by their latents
            block.affine1.style.weight.mul_(20)  # type: ignore[union-attr, operator]
        pictures = generator(names[:32], torch.randn(32, 12))
    reward = refining.fit_reward(mirrors.look(backbone, pictures), names[:32], pictures.mean((1, 2, 3)))
    weights = {name: value.clone() for name, value in generator.state_dict().items()}
    found = refining.refine(generator, reward, backbone, matching, names, steps=12)
    assert found.after > found.before
    changed = {name for name, value in generator.state_dict().items() if not value.equal(weights[name])}
    assert changed and all(name.startswith("refiner.") for name in changed)
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_a_generator_without_a_refiner_is_not_refined() -> None:
    reward = refining.Reward(torch.zeros(3), torch.zeros(3), 0.0)
    with pytest.raises(ValueError, match="no refiner"):
        refining.refine(made(), reward, Backbone(), MatchingHead(features=3, embedding_dim=6), torch.randn(2, 6))


def table(path: Path, rows: list[tuple[object, object, object]]) -> Path:
    lines = ["name\tseed\trating", *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_ratings_are_read(tmp_path: Path) -> None:
    path = table(tmp_path / "mine.tsv", [("カレー", 3, 0.5), ('"tea"', 0, -2)])
    assert read_ratings(path) == [Rating("カレー", 3, 0.5), Rating('"tea"', 0, -2.0)]


@pytest.mark.parametrize("row", [("tea", "x", 1), ("tea", 1, "good"), ("tea", 1, "nan"), ("tea", -1, 1), ("", 1, 1)])
def test_a_bad_rating_is_named(tmp_path: Path, row: tuple[object, object, object]) -> None:
    path = table(tmp_path / "mine.tsv", [("tea", 1, 1), row])
    with pytest.raises(DataError, match=r"mine\.tsv: line 3"):
        read_ratings(path)


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_ratings(tmp_path / "none.tsv")
    (tmp_path / "other.tsv").write_text("name\tseed\nA\t1\n")
    with pytest.raises(DataError, match="no column rating"):
        read_ratings(tmp_path / "other.tsv")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(refine.main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.fixture
def source(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint with a matching head."""
    folder = tmp_path / "source"
    shutil.copytree(tiny_checkpoint, folder)
    save_networks(folder, {checkpoint.MATCHING: MatchingHead(features=Backbone().features, embedding_dim=32, hidden=8)})
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "stage1.safetensors")


def test_each_call_puts_one_refiner_before_the_same_generator(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refine, "NAMES", 8)
    ratings = table(tmp_path / "mine.tsv", [(f"dish {i % 7}", i, i % 5) for i in range(40)])
    once, twice = tmp_path / "once", tmp_path / "twice"
    code, output = run("--from", source, "--out", once, "--ratings", ratings, "--steps", 3)
    assert code == 0 and "40 ratings" in output, output
    code, output = run("--from", once, "--out", twice, "--ratings", ratings, "--steps", 3)
    assert code == 0, output
    assert {k: v for k, v in weights(once).items() if "refiner" not in k}.keys() == weights(source).keys()
    for name, value in weights(source).items():
        assert weights(once)[name].equal(value)
    assert all(value.equal(weights(once)[name]) for name, value in weights(twice).items())
    assert checkpoint.load_network(once, "stage1", Stage1Generator).refiner is not None
    before, after = (Pipeline.load(folder, "cpu") for folder in (source, once))
    assert before.version != after.version
    assert not np.array_equal(before.generate(["tea"], [1]), after.generate(["tea"], [1]))


def test_too_few_ratings_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    few = table(tmp_path / "few.tsv", [("tea", i, i) for i in range(5)])
    code, output = run("--from", tiny_checkpoint, "--out", tmp_path / "out", "--ratings", few)
    assert code == 1 and "5 ratings" in output and not (tmp_path / "out").exists()
    same = table(tmp_path / "same.tsv", [("tea", i, 1) for i in range(50)])
    code, output = run("--from", tiny_checkpoint, "--out", tmp_path / "out", "--ratings", same)
    assert code == 1 and "not all the same" in output


def test_a_checkpoint_is_not_written_over_itself(tiny_checkpoint: Path) -> None:
    code, output = run("--from", tiny_checkpoint, "--out", tiny_checkpoint)
    assert code == 1 and "name another --out" in output


def test_the_ratings_of_the_shipped_checkpoint_can_be_read() -> None:
    ratings = read_ratings(refine.RATINGS)
    assert len(ratings) >= refine.LEAST and len({one.rating for one in ratings}) > 10
