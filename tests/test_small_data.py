"""The comparison of recipes for few photographs, rehearsed on a handful with tiny networks."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import results, small_data
from model.adaptation import validation
from model.adaptation.regularization import AdaptationPlan
from model.adaptation.run import AdaptationConfig
from model.data import inspection
from model.evaluation import evaluator
from model.features.backbone import Backbone
from model.training import name_sampler, presets
from tests.conftest import make_checkpoint
from tests.training import add_networks, backbone, hurry

pytest.importorskip("efficientnet_lite_pytorch")

SLOW = "DCGAN, hinge, DiffAugment"
EXAMPLE = Path(__file__).parent.parent / "examples" / "cafeteria"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_sampler, "COMPOSED", 40)
    monkeypatch.setattr(os, "fsync", os.fsync)
    hurry()
    monkeypatch.setattr(presets, "Backbone", lambda _variant: backbone())
    cached = functools.cache(Backbone)
    for module in (validation, evaluator):
        monkeypatch.setattr(module, "Backbone", cached)
        monkeypatch.setattr(module, "RESOLUTIONS", {64: 32, 256: 32})
    monkeypatch.setattr(inspection, "FEWEST", 10)
    plan = AdaptationPlan("little", 10, ("adaptor",), (0.016, 0.008))
    quick = AdaptationConfig(plans=(plan,), checks=1, latents=1, report=False, pictures={64: 4, 256: 2}, composed=40)
    monkeypatch.setattr(small_data, "ADAPTATION", quick)
    for name, value in {"PICTURES": {64: 6, 256: 4}, "STEPS": 2, "RECOMBINED": 6, "AMONG": 5}.items():
        monkeypatch.setattr(small_data, name, value)
    few = ("DCGAN", "StackGAN from scratch, hinge, DiffAugment")
    recipes = {name: replace(small_data.RECIPES[name], batch=4) for name in few}
    monkeypatch.setattr(small_data, "RECIPES", recipes)
    monkeypatch.setattr(small_data, "SLOW", {SLOW: replace(small_data.SLOW[SLOW], batch=4)})


def test_table_figure_and_goals_come_of_one_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, page = add_networks(make_checkpoint(tmp_path / "source"), 800.0), tmp_path / "docs" / "small-data.md"
    out = tmp_path / "out"
    page.parent.mkdir()
    page.write_text(f"before\n{results.MARKS[0]}of yore\n{results.MARKS[1]}after\n", "utf-8")
    options = {"data": EXAMPLE, "judge": EXAMPLE, "from": source, "out": out, "page": page,
               "folds": 2, "minutes": 0.005, "device": "cpu"}  # fmt: skip
    arguments = [f"--{name}={value}" for name, value in options.items()]
    result = CliRunner().invoke(small_data.main, [*arguments, "--fold=1"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert [folder.name for folder in out.iterdir()] == ["fold1"]
    assert "of yore" in page.read_text("utf-8")
    result = CliRunner().invoke(small_data.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = page.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "of yore" not in text
    for row in ("64 | DCGAN", "64 | StackGAN from scratch, hinge, DiffAugment", "64 | shipped, not adapted",
                "64 | adapted", "256 | adapted", "64 | photographs"):  # fmt: skip
        assert f"| {row} | " in text
    assert text.count("reached") == 4 and SLOW not in text
    assert (page.parent / "pictures" / "small-data.jpg").stat().st_size > 10_000
    slow = CliRunner().invoke(small_data.main, [*arguments, "--fold=1", f"--recipe={SLOW}"], catch_exceptions=False)
    assert slow.exit_code == 0, slow.output
    CliRunner().invoke(small_data.main, arguments, catch_exceptions=False)
    text = page.read_text("utf-8")
    assert f"| 64 | {SLOW} (1 fold) | " in text
    page.write_text(text.replace("| 64 | adapted | ", "| 64 | forgotten | "), "utf-8")
    monkeypatch.setattr(small_data, "Fold", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(small_data, "fit_evaluator", lambda *_: pytest.fail("fit an evaluator for nothing"))
    CliRunner().invoke(small_data.main, arguments, catch_exceptions=False)
    assert page.read_text("utf-8") == text
    refused = CliRunner().invoke(small_data.main, [*arguments, f"--recipe={SLOW}"])
    assert refused.exit_code == 2 and "name it with --fold" in refused.output
    refused = CliRunner().invoke(small_data.main, [*arguments, "--fold=3"])
    assert refused.exit_code == 2 and "3 is none of 2 folds" in refused.output


def test_every_photograph_is_left_out_once_and_groups_are_not_parted() -> None:
    groups = [0, 0, 0, *range(1, 20)]
    parts = small_data.split(groups)
    assert set(parts.tolist()) == {0, 1, 2, 3, 4}
    assert len(set(parts[:3].tolist())) == 1
    assert all(2 <= (parts == part).sum() <= 6 for part in range(5))
