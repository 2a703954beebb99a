"""The experiments: what an option takes away is gone, and a table is made of what was run."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("efficientnet_lite_pytorch")

from benchmarks import experiments
from model import baselines, presets, stage1
from model.checkpoint import save_config
from model.networks import Stage1Generator


def recipe(**options: object) -> stage1.Recipe:
    found = presets.find("cpu", "1", **options).recipe  # type: ignore[arg-type]
    assert isinstance(found, stage1.Recipe)
    return found


def test_every_row_differs_from_ours_or_from_its_baseline() -> None:
    plans = set()
    for row in experiments.ROWS.values():
        given = dict(zip(row.options[::2], row.options[1::2], strict=True))
        augment = float(given["--augment"]) if "--augment" in given else None
        preset, loss, without = given.get("--preset", "cpu"), given.get("--loss"), given.get("--without")
        plan = presets.find(preset, "1", loss, augment, without)
        plans.add((str(plan.recipe), plan.imagined, plan.everywhere))
    assert len(plans) == len(experiments.ROWS)


def test_what_is_taken_away_is_gone() -> None:
    assert recipe(without="mismatched").rules.mismatched == 0
    assert recipe(without="ramp").rules.ramp == (0.0, 0.0)
    assert recipe(without="match").match == 0
    assert recipe(without="reconstruction").reconstruction == recipe(without="reconstruction").colour == 0
    assert recipe(augment=0.0).augment == 0
    assert not presets.find("cpu", "1", without="imagined").imagined
    unprojected = presets.find("cpu", "1", without="projection").recipe
    assert isinstance(unprojected, baselines.Recipe) and unprojected.ours and unprojected.loss == "hinge"


@pytest.mark.parametrize(("preset", "stage"), [("stackgan-v1", "1"), ("cpu", "2")])
def test_only_our_stage_1_can_be_taken_apart(preset: str, stage: str) -> None:
    with pytest.raises(ValueError, match="--without ramp"):
        presets.find(preset, stage, without="ramp")


def test_a_name_at_the_bottom_only_stays_there() -> None:
    torch.manual_seed(0)
    generator = Stage1Generator(embedding_dim=16, z_dim=8, condition_dim=8, style_dim=16, channels=(16,) * 5)
    presets._name_at_the_bottom(generator)
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
    generated = {"value": 0.125}
    return {
        "training": {"text": {"steps": 1}, "stage1": {"kimg": 31.5}},
        "sizes": {
            "64": {
                "realism": [{"kind": kind, "who": "generated", "kid": kid} for kind in ("free", "class")],
                "faithfulness": {"kinds": {"all": {"generated": generated}}},
                "diversity": {"free-form names, generated": {"distance": 30.0}},
                "novelty": {"generated": {"value": 0.0}},
            }
        },
    }


def test_the_page_tells_what_was_run(tmp_path: Path) -> None:
    out, docs = tmp_path / "runs", tmp_path / "docs"
    docs.mkdir()
    page = Path(__file__).parents[1] / "docs" / "experiments.md"
    (docs / "experiments.md").write_bytes(page.read_bytes())
    for name, kid in (("dcgan", 0.25), ("ours", 0.0625)):
        (out / name).mkdir(parents=True)
        (out / name / "figures.json").write_text(json.dumps(figures(kid)))
        Image.new("RGB", (64 * len(experiments.SHOWN) * experiments.SEEDS, 64), "green").save(out / name / "strip.png")
    arguments = ["page", "--out", str(out), "--docs", str(docs)]
    for _ in range(2):  # a second time over what the first has written
        done = CliRunner().invoke(experiments.main, arguments)
        assert done.exit_code == 0, done.output
    text = (docs / "experiments.md").read_text("utf-8")
    assert text.count("| DCGAN, BCE | `--preset dcgan` | 32 | 250 · 250 | 12.5% | 30.0 | 0.0% |") == 1
    assert "| ours |  | 32 | 62 · 62 |" in text
    with Image.open(docs / "experiments.png") as figure:
        assert figure.height == 2 * 64

    done = CliRunner().invoke(experiments.main, ["page", "--out", str(tmp_path), "--docs", str(docs)])
    assert done.exit_code == 1 and "no figures.json" in done.output


def test_the_text_encoder_is_left_and_nothing_to_paint_with(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for file in ("tokenizer.model", "text.safetensors", "matching-64.safetensors", "stage1.safetensors"):
        (source / file).write_bytes(file.encode())
    save_config(source, text={"a": 1}, stage1={"b": 2}, features={}, training={}, **{"matching-64": {"c": 3}})
    experiments.leave_text(source, target)
    assert sorted(file.name for file in target.iterdir()) == [
        "config.json", "matching-64.safetensors", "text.safetensors", "tokenizer.model"
    ]  # fmt: skip
    config = json.loads((target / "config.json").read_text())
    assert set(config) == {"format", "text", "matching-64", "features"}
