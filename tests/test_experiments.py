"""The experiments: what an option takes away is gone, and a table is made of what was run."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("efficientnet_lite_pytorch")

from benchmarks import ablations, experiments, small_data
from model import train
from model.adaptation import validation
from model.checkpoint import load_network, save_config
from model.data import inspection
from model.data.photos import load
from model.evaluation import evaluator
from model.features import text_reader, text_teacher
from model.features.matching import MatchingHead
from model.generators import Stage1Generator
from model.training import baselines, name_sampler, presets, stage1, text_stage
from model.training.stage import Stage
from tests.conftest import make_checkpoint
from tests.test_text_stage import HELD_OUT, TRAIN, FakeE5, folder_of
from tests.training import CPU, QUICK, add_networks, backbone, make_photos


def test_every_row_differs_from_ours_or_from_its_baseline() -> None:
    plans = set()
    for row in experiments.ROWS.values():
        given = dict(zip(row.options[::2], row.options[1::2], strict=True))
        augment = float(given["--augment"]) if "--augment" in given else None
        plan = presets.find(given.get("--preset", "cpu"), "1", given.get("--loss"), augment)
        plans.add((str(plan.config), row.without, row.text))
        assert row.without is None or row.without in ablations.STAGE_1
    assert len(plans) == len(experiments.ROWS)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that training goes on from."""
    monkeypatch.setattr(presets, "Backbone", lambda _variant: backbone())
    return add_networks(make_checkpoint(tmp_path / "source"), 1.0)


def built(what: str, source: Path, preset: str = "cpu", stage: str = "1") -> Stage:
    return ablations.STAGE_1[what].build(stage, presets.find(preset, stage), source, CPU, False)[0]


def test_what_is_taken_away_is_gone(source: Path) -> None:
    config = {what: built(what, source).config for what in ablations.LESSER}  # type: ignore[attr-defined]
    assert config["mismatched"].discriminator.mismatched == 0
    assert not config["bent"].bent
    assert config["ramp"].discriminator.ramp == (0.0, 0.0)
    assert config["match"].match == 0
    assert config["reconstruction"].reconstruction == config["reconstruction"].colour == 0
    unprojected = built("projection", source)
    assert isinstance(unprojected, baselines.Baseline) and unprojected.config.loss == "hinge"
    assert isinstance(unprojected.generator, Stage1Generator) and unprojected.name == "stage1"
    made = built("blocks", source)
    assert isinstance(made, stage1.Stage1)
    for generator in (made.generator, made.average):  # deaf to the name, but for the bottom
        assert not generator.get_parameter("style.0.weight")[:, generator.z_dim :].any()


def test_without_made_up_dishes_names_are_those_of_photographs(source: Path, tmp_path: Path) -> None:
    photos = load(make_photos(tmp_path / "photos"), 64, cache=tmp_path / "cache")
    sampler = ablations.STAGE_1["imagined"].name_sampler(photos, source, CPU, 0, 10)
    names = sampler.names(torch.tensor([3, 1, 2, 0]))
    assert torch.equal(sampler.imagined(2), names[2:])


@pytest.mark.parametrize(("preset", "stage"), [("stackgan-v1", "1"), ("cpu", "2")])
def test_only_our_stage_1_can_be_taken_apart(preset: str, stage: str, source: Path) -> None:
    with pytest.raises(ValueError, match="ramp can be left out of our own stage 1 alone"):
        built("ramp", source, preset, stage)


def test_a_run_without_a_part_goes_on_without_it_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ablations.STAGE_1["blocks"]
    quick = replace(QUICK, experiment=whole.experiment, build=whole.build)
    monkeypatch.setitem(ablations.STAGE_1, "blocks", quick)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, out = make_photos(tmp_path / "photos"), tmp_path / "run"
    given = ["--stage", "1", "--data", str(data), "--out", str(out), "--batch", "4"]
    begin, resume = [*given, "--from", str(source), "--kimg", "0.004"], [*given, "--kimg", "0.008", "--resume"]

    def call(command: click.Command, *arguments: str, **options: Any) -> str:
        return " ".join(CliRunner().invoke(command, arguments, **options).output.split())

    assert "is left out of --stage text" in call(ablations.main, "order", *begin)
    assert not out.exists()
    assert "Error" not in call(ablations.main, "blocks", *begin)
    assert "was begun as experiment blocks" in call(train.main, *resume, obj=QUICK)
    assert "was begun as experiment blocks" in call(ablations.main, "ramp", *resume)
    assert "Error" not in call(ablations.main, "blocks", *resume)
    generator = load_network(out / "checkpoint", "stage1", Stage1Generator)
    assert not generator.get_parameter("style.0.weight")[:, generator.z_dim :].any()


def test_a_name_at_the_bottom_only_stays_there() -> None:
    torch.manual_seed(0)
    generator = Stage1Generator(embedding_dim=16, z_dim=8, condition_dim=8, style_dim=16, channels=(16,) * 5)
    ablations.condition_at_the_bottom(generator)
    optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
    embedding, latent = torch.randn(2, 16), torch.zeros(2, 16)
    for _ in range(3):
        optimizer.zero_grad()
        generator(embedding, latent).square().sum().backward()
        optimizer.step()
    condition = generator.condition(embedding, latent)[0]
    styles = generator.style(condition)
    assert not torch.equal(condition[0], condition[1])
    torch.testing.assert_close(styles[0], styles[1])  # whatever was learnt, every affine is deaf to the name
    pictures = generator(embedding, latent)
    assert not torch.equal(pictures[0], pictures[1])  # and the bottom is not


def figures(kid: float) -> dict[str, object]:
    who = {"generated": {"value": 0.125}, "photographs": {"value": 0.25}}
    return {
        "training": {"text": {"steps": 1}, "stage1": {"kimg": 31.5}},
        "sizes": {
            "64": {
                "realism": [
                    {"kind": kind, "who": name, "kid": value}
                    for kind in ("free", "class")
                    for name, value in (("generated", kid), ("photographs", 0.001))
                ],
                "faithfulness": {"kinds": {"all": who}},
                "diversity": {"free-form names, generated": {"distance": 30.0}},
                "novelty": {"generated": {"value": 0.0}, "photographs": {"value": 0.01}},
            }
        },
    }


FEW = {
    "generated": {"kid": 0.5, "given": 0.5, "recombined": 0.25, "copies": 0.75},
    "photographs": {"kid": 0.002, "given": 0.875},
}


def leave_run(folder: Path, found: Mapping[str, object], fake: float | None = None) -> None:
    """What a row leaves for the page; `fake` is the mean logit of its fakes."""
    (folder / "run").mkdir(parents=True)
    (folder / "figures.json").write_text(json.dumps(found))
    Image.new("RGB", (64 * len(experiments.SHOWN) * experiments.SEEDS, 64), "green").save(folder / "strip.png")
    if fake is not None:
        rows = ["kimg,d_loss,g_loss,real,fake,spread", f"1,1,2,3,{fake},0.25", f"2,0.5,2,3,{fake},0.375"]
        (folder / "run" / "log.csv").write_text("\n".join(rows))


def make_page(out: Path, docs: Path) -> str:
    docs.mkdir(exist_ok=True)
    source = Path(__file__).parents[1] / "docs" / "experiments.md"
    (docs / "experiments.md").write_bytes(source.read_bytes())
    for _ in range(2):  # a second time over what the first has written
        done = CliRunner().invoke(experiments.main, ["page", "--out", str(out), "--docs", str(docs)])
        assert done.exit_code == 0, done.output
    return (docs / "experiments.md").read_text("utf-8")


def test_the_page_tells_what_was_run(tmp_path: Path) -> None:
    out, docs = tmp_path / "runs", tmp_path / "docs"
    leave_run(out / "dcgan", figures(0.25))
    leave_run(out / "ours", figures(0.0625))
    text = make_page(out, docs)
    assert text.count("| DCGAN, BCE | `--preset dcgan` | 32 | 250 · 250 | 12.5% | 30.0 | 0.0% |") == 1
    assert "| ours |  | 32 | 62 · 62 |" in text and "few: KID" not in text
    assert "| photographs |  |  | 1 · 1 | 25.0% |  | 1.0% |" in text
    with Image.open(docs / "experiments.png") as figure:
        assert figure.height == experiments.HEAD + 2 * 64
        width = figure.width

    leave_run(out / "few" / "dcgan", FEW)
    leave_run(out / "few" / "v1", FEW)
    text = make_page(out, docs)
    few = "500 | 50.0% · 25.0% | 75.0% |"
    assert f"| DCGAN, BCE | `--preset dcgan` | 32 | 250 · 250 | 12.5% | 30.0 | 0.0% | {few}" in text
    assert f"| StackGAN v1, BCE | `--preset stackgan-v1` |  |  |  |  |  | {few}" in text
    assert "| photographs |  |  | 1 · 1 | 25.0% |  | 1.0% | 2 | 87.5% |  |" in text
    lines = [line for line in text[text.index("| recipe |") :].splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    with Image.open(docs / "experiments.png") as figure:
        assert figure.height == experiments.HEAD + 3 * 64 and figure.width > 1.5 * width

    done = CliRunner().invoke(experiments.main, ["page", "--out", str(tmp_path), "--docs", str(docs)])
    assert done.exit_code == 1 and "no figures.json" in done.output


@pytest.mark.parametrize(
    ("fake", "pull", "verdict"),
    [(-2.0, "0.88 | 0.12", "does not saturate"), (2.0, "0.12 | 0.88", "the gradient saturates")],
)
def test_the_page_says_whether_the_gradient_saturates(tmp_path: Path, fake: float, pull: str, verdict: str) -> None:
    out = tmp_path / "runs"
    leave_run(out / "dcgan", figures(0.25), fake)
    leave_run(out / "dcgan-hinge", figures(0.125), fake)
    leave_run(out / "ours", figures(0.0625), fake)
    text = make_page(out, tmp_path / "docs")
    assert f"| DCGAN, BCE | {pull} | 54% | {3 - fake:.1f} | 0.25 · 0.38 |" in text
    assert f"| DCGAN, hinge | 1.00 |  | 38% | {3 - fake:.1f} | 0.25 · 0.38 |" in text
    assert "DCGAN, BCE → hinge: KID 250 · 250 → 125 · 125." in text and verdict in text


# ---- few photographs ----------------------------------------------------------------------------------------


def here(name: str, *arguments: str) -> int:
    """Runs a module's command in this process."""
    result = CliRunner().invoke(importlib.import_module(name).main, arguments, obj=QUICK)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code


def test_a_row_is_trained_on_few_photographs_and_evaluated_by_those_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments, "module", here)
    monkeypatch.setattr(presets, "Backbone", lambda _variant: backbone())
    for module in (validation, evaluator):
        monkeypatch.setattr(module, "RESOLUTIONS", {64: 32, 256: 32})
    monkeypatch.setattr(inspection, "FEWEST", 10)
    monkeypatch.setattr(experiments, "STEPS", 2)
    for name, value in {"PICTURES": {64: 6}, "RECOMBINED": 6, "AMONG": 5}.items():
        monkeypatch.setattr(small_data, name, value)
    example, out = Path(__file__).parent.parent / "examples" / "cafeteria", tmp_path / "out"
    source = add_networks(make_checkpoint(tmp_path / "source"), 800.0)
    options = {"few": example, "data": example, "text": source, "out": out, "minutes": 0.001}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    result = CliRunner().invoke(experiments.main, ["run", "dcgan", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output

    found = json.loads((out / "few" / "dcgan" / "figures.json").read_text())
    assert set(found["generated"]) == {"kid", "copies", "given", "recombined"}
    assert found["training"]["baseline"]["kimg"] > 0
    shown = [np.asarray(Image.open(file)) for file in (out / "few" / "dcgan" / "photos").glob("*.png")]
    assert 0.7 < len(shown) / len(list(example.glob("*.jpg"))) < 0.9
    tiles = np.split(np.asarray(Image.open(out / "few" / "dcgan" / "strip.png")), len(experiments.SHOWN) * 3, 1)
    small = [np.asarray(Image.fromarray(photo).resize((64, 64), Image.Resampling.LANCZOS)) for photo in shown]
    for tile in tiles[2::3]:  # of every three the nearest photograph
        assert any(np.array_equal(tile, photo) for photo in small)
    monkeypatch.setattr(experiments, "FEW", ("dcgan",))
    monkeypatch.setattr(experiments, "one", lambda *_: pytest.fail("run again"))
    result = CliRunner().invoke(experiments.main, ["run-all", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


# ---- what reads the names -----------------------------------------------------------------------------------


def setting(tmp_path: Path, **options: Any) -> experiments.Setting:
    given = {"data": tmp_path / "data", "out": tmp_path / "out", "minutes": 1.0, "text": tmp_path / "source"}
    return experiments.Setting(**{**given, "few": None, "teacher": tmp_path / "teacher", **options})


def test_a_reader_of_names_is_trained_once_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def module(*arguments: str) -> int:
        calls.append(arguments)
        return 0

    monkeypatch.setattr(experiments, "module", module)
    for row, without in (("text-bag", "order"), ("text-unmatched", "pictures")):
        calls.clear()
        bare = experiments.leave_text(experiments.ROWS[row].text, setting(tmp_path))
        assert calls[0][:2] == ("benchmarks.ablations", without) and "--resume" not in calls[0]
        assert calls[0][calls[0].index("--out") + 1] == str(bare) != str(tmp_path / "out" / row)
        bare.mkdir(parents=True)
        (bare / "text-state.pt").touch()
        save_config(bare, text={"a": 1})  # as in the middle of it
        experiments.leave_text(experiments.ROWS[row].text, setting(tmp_path))
        assert "--resume" in calls[1]
        save_config(bare, **{"matching-64": {"b": 2}})
        (bare / "matching-64.safetensors").touch()
        assert experiments.leave_text(experiments.ROWS[row].text, setting(tmp_path)) == bare
        assert len(calls) == 2


def test_the_teacher_reads_names_with_a_matching_head_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_teacher, "_load", lambda _threads: FakeE5())
    align = lambda english, japanese, dimensions=256, **_: torch.eye(384)[:, :dimensions]  # noqa: E731
    monkeypatch.setattr(text_teacher, "align", align)
    monkeypatch.setattr(text_stage, "COMPOSED", 10)
    monkeypatch.setattr(text_stage, "MATCHING_STEPS", 2)
    train_tokenizer = text_stage.train_tokenizer
    monkeypatch.setattr(text_stage, "train_tokenizer", lambda names: train_tokenizer(names, 2000))
    monkeypatch.setattr(name_sampler, "COMPOSED", 20)
    folder_of(tmp_path / "data" / "train", TRAIN)
    folder_of(tmp_path / "data" / "validation", HELD_OUT)
    bare = experiments.leave_text("teacher", setting(tmp_path))
    assert load_network(bare, "matching-64", MatchingHead).config["embedding_dim"] == 256
    asked = len(FakeE5.asked)
    names = [name for pair in HELD_OUT for name in pair] + name_sampler.composed(0) + list(experiments.SHOWN)
    embeddings = text_reader.embed(names, bare, CPU)
    assert len(FakeE5.asked) == asked  # all were asked about beforehand
    assert embeddings.shape == (len(names), 256) and len(embeddings.unique(dim=0)) == len(set(names))
    assert experiments.leave_text("teacher", setting(tmp_path, teacher=tmp_path / "absent")) == bare


def test_the_text_encoder_is_left_and_nothing_to_paint_with(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "out" / "text"
    source.mkdir()
    for file in ("tokenizer.model", "text.safetensors", "matching-64.safetensors", "stage1.safetensors"):
        (source / file).write_bytes(file.encode())
    save_config(source, text={"a": 1}, stage1={"b": 2}, features={}, training={}, **{"matching-64": {"c": 3}})
    assert experiments.leave_text("shipped", setting(tmp_path)) == target
    assert sorted(file.name for file in target.iterdir()) == [
        "config.json", "matching-64.safetensors", "text.safetensors", "tokenizer.model"
    ]  # fmt: skip
    config = json.loads((target / "config.json").read_text())
    assert set(config) == {"format", "text", "matching-64"}
