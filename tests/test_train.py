"""The command that trains both GAN stages: what it writes, how it stops, and how it goes on."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor

from model import checkpoint, nearest, pack, train
from model.checkpoint import load_network, read_config, weights_path
from model.features.matching import MatchingHead
from model.generators import Stage1Generator, Stage2Generator
from model.pipeline import Pipeline
from model.text_encoder import TextEncoder
from model.training import distributed, gan_loop, presets, recipe, run_folder, text_stage
from model.training.discriminator import Heads, PixelDiscriminator
from model.training.gan_loop import LoopConfig
from model.training.presets import PRESETS
from model.training.stage1 import LatentEncoder, Stage1
from model.training.widen import add_forms
from tests.conftest import make_checkpoint
from tests.training import QUICK, ROOT, add_networks, backbone, hurry, make_photos

pytest.importorskip("efficientnet_lite_pytorch")

KIMG = 800.0  # behind the checkpoint that these runs start from


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_networks(make_checkpoint(tmp_path_factory.mktemp("source")), KIMG)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos") / "dishes")


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fsync)  # put back behind these tests
        hurry()
        patch.setattr(presets, "Backbone", lambda _variant: backbone())  # frozen: one is enough for all runs
        yield


Run = Callable[..., Result]


def arguments(data: Path, source: Path, out: Path, **options: Any) -> list[str]:
    values = {"stage": 1, "data": data, "from": source, "out": out, "batch": 4, **options}
    if values.get("resume"):
        del values["from"]
    flags = [f"--{name.replace('_', '-')}" for name, value in values.items() if value is True]
    return flags + [
        part
        for name, value in values.items()
        if value is not True and value is not None
        for part in (f"--{name}", str(value))
    ]


@pytest.fixture
def run(data: Path, source: Path, tmp_path: Path) -> Run:
    """Runs the command in this process, in batches of four from `source` into tmp_path/run unless told otherwise."""

    def invoke(expect: int = 0, config: LoopConfig = QUICK, **options: Any) -> Result:
        values = {"data": data, "source": source, "out": tmp_path / "run", **options}
        if "from" in values:
            values["source"] = values.pop("from")
        of_loop = None if values.get("stage") == "text" else config
        result = CliRunner().invoke(train.main, arguments(**values), obj=of_loop)
        assert result.exit_code == expect, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


def content(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(out / "state.pt", weights_only=True)
    return loaded


def state(out: Path) -> dict[str, Any]:
    """What a run's state file has, with how far it is on the same level."""
    loaded = content(out)
    return {**loaded.pop("state"), **loaded}


def log(out: Path) -> list[dict[str, float]]:
    with (out / "log.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor and number in a nested state, with its path."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, int | float):
        yield path, torch.tensor(float(value))
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from tensors(part, f"{path}/{name}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from tensors(part, f"{path}/{i}")


def same_training(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Everything but the time that it took."""
    left, right = (dict(tensors({k: v for k, v in s.items() if k != "seconds"})) for s in (a, b))
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def at_step(monkeypatch: pytest.MonkeyPatch, when: int, act: Callable[[Stage1, dict[str, Tensor]], None]) -> None:
    """Has `act` happen to the stage and its numbers at the end of that step and of every later one."""
    step, count = Stage1.step, 0

    def stepped(self: Stage1, *args: Any) -> dict[str, Tensor]:
        nonlocal count
        count += 1
        stats = step(self, *args)
        if count >= when:
            act(self, stats)
        return stats

    monkeypatch.setattr(Stage1, "step", stepped)


# ---- what a run writes ------------------------------------------------------------------------------------


def test_stage1_leaves_a_log_a_grid_and_a_checkpoint_that_serves(run: Run, tmp_path: Path, source: Path) -> None:
    result = run(kimg=0.012, batch=4)
    out = tmp_path / "run"
    assert "6 photographs" in result.output and f"{KIMG:.1f} kimg" in result.output
    for part in ("100%", "12.0/12.0", "img/s", "spread"):  # the bar, with its speed
        assert part in result.output
    [row] = log(out)
    assert row["kimg"] == pytest.approx(KIMG + 0.012) and row["steps"] == 3
    assert {"d_loss", "g_loss", "real", "fake", "real_match", "fake_match", "spread", "seconds"} <= row.keys()
    [grid] = (out / "samples").iterdir()
    assert grid.name == "000800.png"
    with Image.open(grid) as sheet:
        assert min(sheet.size) > 4 * 96

    pipeline = Pipeline.load(out / "checkpoint", "cpu")
    assert pipeline.generate(["ピリ辛サーモン丼"], [0]).shape == (1, 256, 256, 3)
    trained = state(out)["modules"]
    for name, kind, part in (("stage1", Stage1Generator, "average"), ("stage1-heads", Heads, "heads"),
                             ("stage1-encoder", LatentEncoder, "encoder")):  # fmt: skip
        for key, value in load_network(out / "checkpoint", name, kind).state_dict().items():
            assert torch.equal(value, trained[part][key].half().float())
    for file in ("text.safetensors", "tokenizer.model", "stage2.safetensors", "matching-64.safetensors"):
        assert (out / "checkpoint" / file).read_bytes() == (source / file).read_bytes()
    training = read_config(out / "checkpoint")["training"]["stage1"]
    assert training["kimg"] == pytest.approx(KIMG + 0.012)
    assert training["hours"] == pytest.approx(7.0, abs=0.1)


def test_stage2_trains_and_goes_on(run: Run, tmp_path: Path, source: Path) -> None:
    run(stage=2, kimg=0.008, every=0)
    run(stage=2, kimg=0.012, every=0, resume=True)
    out = tmp_path / "run"
    assert state(out)["shown"] == 12
    assert [row["kimg"] for row in log(out)] == pytest.approx([0.008, 0.012])  # it has none behind it
    config = read_config(out / "checkpoint")
    assert config["training"]["stage2"]["kimg"] == pytest.approx(0.012)
    assert config["training"]["stage1"]["kimg"] == KIMG
    assert Pipeline.load(out / "checkpoint", "cpu").generate(["pea soup"], [0]).shape == (1, 256, 256, 3)
    assert weights_path(out / "checkpoint", "stage2").read_bytes() != weights_path(source, "stage2").read_bytes()


@pytest.mark.parametrize("preset", ["stackgan-v1", "dcgan"])
def test_the_original_recipes_train_and_go_on(run: Run, tmp_path: Path, preset: str) -> None:
    run(preset=preset, kimg=0.004)
    run(preset=preset, kimg=0.008, resume=True)
    out = tmp_path / "run"
    assert [row["kimg"] for row in log(out)] == pytest.approx([0.004, 0.008])  # always from nothing
    config = read_config(out / "checkpoint")
    assert config["baseline"]["conditional"] is (preset == "stackgan-v1")
    assert config["training"]["baseline"]["kimg"] == pytest.approx(0.008)
    assert config["training"]["stage1"]["kimg"] == KIMG  # a baseline is not our stage 1


def test_networks_that_the_source_lacks_start_at_the_presets_widths(run: Run, tmp_path: Path) -> None:
    bare = add_networks(make_checkpoint(tmp_path / "bare"), KIMG)
    forget(bare, "stage1", "stage1-heads", "stage1-encoder", "stage2")
    result = run(**{"from": bare, "kimg": 0.004, "dry_run": True})
    narrow = int(figure(result.output, "generator"))
    own = Stage1Generator(embedding_dim=32, **PRESETS["cpu"]["1"].generator)
    assert narrow == sum(p.numel() for p in own.parameters())
    assert "nothing of this stage" in result.output
    wide = run(**{"from": bare, "kimg": 0.004, "dry_run": True, "preset": "gpu", "batch": None})
    assert int(figure(wide.output, "generator")) > narrow
    assert "batch 128" in wide.output


@pytest.mark.parametrize("preset", [name for name, stages in PRESETS.items() if "2" in stages])
def test_what_a_preset_trains_can_be_packed(preset: str) -> None:
    stages = PRESETS[preset]
    networks = [
        TextEncoder(vocabulary=text_stage.VOCABULARY), MatchingHead(features=backbone().features),
        Stage1Generator(**stages["1"].generator), Stage2Generator(**stages["2"].generator), LatentEncoder(),
        Heads(), Heads(), Heads(), PixelDiscriminator(), PixelDiscriminator(),
    ]  # fmt: skip
    sizes = [2 * sum(value.numel() for value in network.state_dict().values()) for network in networks]
    assert max(sizes) < checkpoint.MAX_FILE_BYTES
    tokenizer = 500_000
    assert sum(sizes) + tokenizer + nearest.MAX_BYTES < pack.MAX_BYTES


def forget(folder: Path, *names: str) -> None:
    """Removes networks from a checkpoint folder."""
    config = read_config(folder)
    for name in names:
        weights_path(folder, name).unlink()
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))


def figure(output: str, name: str) -> str:
    [line] = [line for line in output.splitlines() if line.startswith(f"{name}: ")]
    return line.removeprefix(f"{name}: ").split()[0].replace(",", "")


def test_a_dry_run_tells_the_plan_and_writes_nothing(run: Run, tmp_path: Path, data: Path, source: Path) -> None:
    result = run(kimg=2, minutes=30, dry_run=True)
    for part in ("stage 1", "6 photographs", "batch 4 × 1", "cpu", "5 photographs with a Japanese", str(data),
                 str(source), "at 800 kimg", "2 kimg or 30 minutes"):  # fmt: skip
        assert part in result.output
    generator = add_forms(load_network(source, "stage1", Stage1Generator), 16)
    for name, network in (("generator", generator), ("heads", load_network(source, "stage1-heads", Heads))):
        assert int(figure(result.output, name)) == sum(p.numel() for p in network.parameters())
    text = run(stage="text", minutes=3, dry_run=True)
    assert "6 photographs" in text.output and "3 minutes" in text.output
    assert not (tmp_path / "run").exists()


def test_help_explains_every_option() -> None:
    result = CliRunner().invoke(train.main, ["--help"], terminal_width=200)
    assert result.exit_code == 0
    for option in train.main.params:
        assert option.help and len(option.help) > 10
        assert f"--{option.name}".replace("_", "-") in result.output
    for name in ("data", "stage", "preset", "out", "resume", "minutes", "kimg", "from", "device", "seed", "dry-run"):
        assert f"--{name}" in result.output


# ---- stopping and going on --------------------------------------------------------------------------------


def test_an_interrupted_run_is_the_run_it_would_have_been(run: Run, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(out=whole, kimg=0.024, every=0)  # saves at every step, as the others do
    run(out=parts, kimg=0.008, every=0)
    halfway = state(parts)
    run(out=parts, kimg=0.024, every=0, resume=True)
    assert not same_training(halfway, state(parts))
    assert same_training(state(whole), state(parts))
    assert [row["kimg"] for row in log(parts)] == pytest.approx([KIMG + 0.008, KIMG + 0.024])


def test_either_loss_can_be_asked_for(run: Run, tmp_path: Path) -> None:
    for preset, losses in (("cpu", ("hinge", "bce")), ("dcgan", ("bce", "hinge"))):
        for loss in (None, *losses):
            run(out=tmp_path / f"{preset}-{loss}", preset=preset, kimg=0.004, loss=loss)
        usual, same, other = (log(tmp_path / f"{preset}-{loss}")[0]["d_loss"] for loss in (None, *losses))
        assert usual == same != other


def test_the_seed_decides_and_nothing_else(run: Run, tmp_path: Path) -> None:
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(out=tmp_path / out, kimg=0.008, seed=seed)
    a, b, c = (state(tmp_path / out) for out in "abc")
    assert same_training(a, b)
    assert not same_training(a, c)


def test_a_run_goes_on_from_a_checkpoint_heads_and_averages_included(
    run: Run, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = {"spread": torch.tensor(0.5), "d_loss": torch.tensor(1.0)}
    with monkeypatch.context() as patch:
        patch.setattr(Stage1, "step", lambda *_: stats)  # so that what it started from is what it saves
        run(kimg=0.004)
    started = state(tmp_path / "run")["modules"]
    kinds: dict[str, type[Stage1Generator | Heads | LatentEncoder]] = {
        "stage1": Stage1Generator,
        "stage1-heads": Heads,
        "stage1-encoder": LatentEncoder,
    }
    for part, name in (("generator", "stage1"), ("average", "stage1"), ("heads", "stage1-heads"),
                       ("encoder", "stage1-encoder")):  # fmt: skip
        for key, value in load_network(source, name, kinds[name]).state_dict().items():
            assert torch.equal(started[part][key], value), (part, key)

    # And from what a run packed; kimg go on counting.
    run(**{"from": tmp_path / "run" / "checkpoint", "out": tmp_path / "more", "kimg": 0.008})
    assert read_config(tmp_path / "more" / "checkpoint")["training"]["stage1"]["kimg"] == pytest.approx(KIMG + 0.012)
    assert log(tmp_path / "more")[-1]["kimg"] == pytest.approx(KIMG + 0.012)

    # The checkpoint tells both runs, also after a resume and when another stage is trained on it.
    run(out=tmp_path / "more", kimg=0.012, resume=True)
    run(**{"stage": 2, "from": tmp_path / "more" / "checkpoint", "out": tmp_path / "second", "kimg": 0.004})
    training = read_config(tmp_path / "second" / "checkpoint")["training"]
    assert [entry["kimg"] for entry in training["stage1"]["runs"]] == pytest.approx([0.004, 0.012])
    assert all(entry["preset"] == "cpu" for entry in training["stage1"]["runs"])
    rows = recipe.table({"training": training}).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| stage1", "| stage1", "| stage2"]
    assert str(tmp_path) not in str(training)  # it ships


def test_a_resumed_run_needs_nothing_but_its_own_folder(run: Run, tmp_path: Path, source: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    run(**{"from": copy, "kimg": 0.004})
    shutil.rmtree(copy)
    run(kimg=0.008, resume=True)
    assert log(tmp_path / "run")[-1]["kimg"] == pytest.approx(KIMG + 0.008)
    assert read_config(tmp_path / "run" / "checkpoint")["training"]["stage1"]["kimg"] == pytest.approx(KIMG + 0.008)


def test_minutes_end_a_run_and_count_its_earlier_parts(run: Run, tmp_path: Path) -> None:
    began = time.monotonic()
    run(minutes=0.01)
    assert time.monotonic() - began >= 0.6
    seconds = state(tmp_path / "run")["seconds"]
    assert 0.6 <= seconds < time.monotonic() - began
    before = state(tmp_path / "run")
    result = run(minutes=0.01, resume=True)
    assert "nothing is left to do" in result.output
    assert same_training(state(tmp_path / "run"), before)
    run(minutes=seconds / 60 + 0.005, resume=True)
    assert state(tmp_path / "run")["seconds"] >= seconds + 0.3


def test_it_saves_every_so_many_minutes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    def monotonic() -> float:
        return clock

    def minute_passes(*_: object) -> None:
        nonlocal clock
        clock += 60.0

    saves: list[int] = []
    write_state = run_folder.write_state

    def saving(*arguments: Any) -> None:
        saves.append(arguments[2].shown)
        write_state(*arguments)

    monkeypatch.setattr(gan_loop, "write_state", saving)
    monkeypatch.setattr(time, "monotonic", monotonic)
    at_step(monkeypatch, 1, minute_passes)
    run(kimg=0.032, every=3)
    assert saves == [12, 24, 32]  # photographs: at the third and the sixth minute, and at the end


def test_the_log_of_a_resumed_run_has_no_row_twice(run: Run, tmp_path: Path) -> None:
    out, config = tmp_path / "run", replace(QUICK, tick=0.004)
    run(kimg=0.012, every=0, config=config)
    saved = content(out)
    run(kimg=0.024, resume=True, config=config)
    torch.save(saved, out / "state.pt")  # as a kill after the first part's save would have left it
    run(kimg=0.016, resume=True, config=config)
    assert [row["kimg"] for row in log(out)] == pytest.approx([KIMG + n / 1000 for n in (4, 8, 12, 16)])


# ---- when it goes wrong -----------------------------------------------------------------------------------


def lose_a_weight(trained: Stage1, _stats: dict[str, Tensor]) -> None:
    with torch.no_grad():
        trained.generator.to_rgb.weight[0, 0, 0, 0] = torch.nan


def lose_a_loss(_stage: Stage1, stats: dict[str, Tensor]) -> None:
    stats["g_loss"] = torch.tensor(torch.inf)


@pytest.mark.parametrize("lose", [lose_a_weight, lose_a_loss])
def test_what_is_not_a_number_stops_the_run_and_keeps_what_was_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Stage1, dict[str, Tensor]], None]
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 3, lose)
        result = run(1, kimg=0.04, every=0, config=replace(QUICK, tick=0.004))
    assert "not a number any more at 800.0 kimg" in result.output and str(out) in result.output
    assert state(out)["shown"] == 8
    assert all(value.isfinite().all() for _, value in tensors(state(out)["modules"]))
    assert Pipeline.load(out / "checkpoint", "cpu")
    run(kimg=0.016, resume=True, seed=3)  # as it advised
    assert state(out)["shown"] == 16


def test_a_run_that_fails_before_its_first_save_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, 1, lose_a_loss)
    result = run(1, kimg=0.004)
    assert "nothing had been saved yet" in result.output
    assert not (tmp_path / "run" / "state.pt").exists()


def test_collapse_stops_the_run_and_keeps_what_was_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collapse(trained: Stage1, stats: dict[str, Tensor]) -> None:
        stats["spread"] = torch.tensor(0.01)

    at_step(monkeypatch, 4, collapse)
    result = run(1, kimg=1, every=0, config=replace(QUICK, tick=0.004, grace=0.0, patience=3))
    out = tmp_path / "run"
    assert "collapse at 800.0 kimg" in result.output and "0.010" in result.output
    assert state(out)["shown"] == 12  # the last step before it narrowed
    assert len(log(out)) == 6  # and it was given three rows to recover in
    assert read_config(out / "checkpoint")["training"]["stage1"]["kimg"] == pytest.approx(KIMG + 0.012)


def test_pictures_that_recover_are_no_collapse(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spreads = iter([0.3, 0.01, 0.3, 0.01, 0.3, 0.3])

    def waver(_stage: Stage1, stats: dict[str, Tensor]) -> None:
        stats["spread"] = torch.tensor(next(spreads))

    at_step(monkeypatch, 1, waver)
    run(kimg=0.024, every=0, config=replace(QUICK, tick=0.004, grace=0.0, patience=2))
    assert state(tmp_path / "run")["shown"] == 24


@pytest.mark.parametrize(("options", "code", "message"), [
    ({"kimg": None}, 2, "--kimg or --minutes"),
    ({"stage": "text"}, 2, "stops by --minutes"),
    ({"stage": 3}, 2, "'3' is not one of"),
    ({"batch": 1}, 2, "--batch"),
    ({"kimg": 0}, 2, "--kimg"),
    ({"data": Path("absent-photos")}, 1, "absent-photos: there is no such file or folder"),
    ({"data": Path(__file__).parent}, 1, "no photographs there"),
    ({"from": Path("absent-run")}, 1, "absent-run does not exist"),
    ({"preset": "dcgan", "stage": 2}, 1, "preset dcgan has no stage 2"),
    ({"resume": True}, 1, "nothing to resume"),
    ({"device": "tpu"}, 1, "'tpu' is none of auto, cpu, cuda"),
    ({"device": "cuda:63"}, 1, "CUDA GPUs"),
])  # fmt: skip
def test_a_mistake_is_named(run: Run, tmp_path: Path, options: dict[str, Any], code: int, message: str) -> None:
    result = run(code, **{"kimg": 0.004, **options})
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("stage", "missing"), [(1, "matching-64"), (1, "text"), (2, "stage1")])
def test_a_missing_part_of_the_source_is_named(
    run: Run, tmp_path: Path, source: Path, stage: int, missing: str
) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(source, lacking)
    weights_path(lacking, missing).unlink()
    result = run(1, **{"from": lacking, "stage": stage, "kimg": 0.004})
    assert str(weights_path(lacking, missing)) in result.output and "does not exist" in result.output
    forgotten = shutil.copytree(source, tmp_path / "forgotten")
    forget(forgotten, missing)
    result = run(1, **{"from": forgotten, "stage": stage, "kimg": 0.004})
    assert f"no section '{missing}'" in result.output


def test_a_folder_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in run(1, out=tmp_path / "file" / "run", kimg=0.004).output


def test_a_run_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    run(kimg=0.004)
    before = (tmp_path / "run" / "state.pt").read_bytes()
    result = run(1, kimg=0.004)
    assert "holds a run already: go on with --resume" in result.output
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


def test_a_state_that_is_damaged_or_of_another_run_is_named(run: Run, tmp_path: Path) -> None:
    run(kimg=0.004)
    file = tmp_path / "run" / "state.pt"
    whole = file.read_bytes()
    for damaged in (b"", b"not a state", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        assert f"{file} is not the state of such a run" in run(1, kimg=0.008, resume=True).output
    file.write_bytes(whole)
    assert file.read_bytes() == whole


@pytest.mark.parametrize(("other", "message"), [
    ({"stage": 2}, "--stage 2: the run in {out} was begun with --stage 1"),
    ({"preset": "gpu"}, "--preset gpu: the run in {out} was begun with --preset cpu"),
    ({"loss": "bce"}, "--loss bce: the run in {out} was begun without --loss"),
    ({"batch": 8}, "--batch 8: the run in {out} was begun with --batch 4"),
])  # fmt: skip
def test_options_that_contradict_a_run_are_refused(
    run: Run, tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    run(kimg=0.004)
    file = tmp_path / "run" / "state.pt"
    before = file.read_bytes()
    output = " ".join(run(1, kimg=0.008, resume=True, **other).output.split())
    assert message.format(out=tmp_path / "run") in output
    assert file.read_bytes() == before


def test_a_run_records_its_options_and_goes_on_with_them(run: Run, tmp_path: Path, data: Path, source: Path) -> None:
    out = tmp_path / "run"
    run(kimg=0.004, loss="bce", seed=5)
    record = json.loads((out / "options.json").read_text())
    assert record["given"]["from"] == str(source.resolve()) and record["given"]["loss"] == "bce"
    assert record["config"]["batch"] == 4 and record["config"]["config"]["discriminator"]["loss"] == "bce"
    assert record["data"] == {**record["data"], "path": str(data.resolve()), "photographs": 6}
    assert record["versions"]["torch"] == torch.__version__
    # Without a word of it, it goes on with the loss and the seed that it was begun with.
    run(kimg=0.008, batch=None, resume=True)
    whole = tmp_path / "whole"
    run(out=whole, kimg=0.008, loss="bce", seed=5, every=0)
    assert same_training(state(out), state(whole))
    again = json.loads((out / "options.json").read_text())
    assert again["config"] == record["config"] and again["given"]["seed"] == 5 and again["given"]["kimg"] == 0.008


def test_a_run_goes_on_with_its_photographs_wherever_they_are(run: Run, tmp_path: Path, data: Path) -> None:
    run(kimg=0.004)
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    run(kimg=0.008, resume=True, data=moved)
    (moved / "metadata.csv").write_text("file_name,name\n0.png,another dish\n")
    assert f"{moved} holds other photographs" in run(1, kimg=0.012, resume=True, data=moved).output


def test_runs_of_earlier_versions_go_on_unless_they_were_experiments() -> None:
    preset = presets.find("cpu", "1", loss="bce")
    earlier = {**presets.to_record(preset), "imagined": True, "everywhere": True}
    assert presets.from_record(earlier) == preset
    with pytest.raises(ValueError, match="of another version"):
        presets.from_record({**earlier, "everywhere": False})


def test_a_run_without_a_record_is_refused(run: Run, tmp_path: Path) -> None:
    run(kimg=0.004)
    file = tmp_path / "run" / "options.json"
    file.unlink()
    assert "options.json does not exist" in run(1, kimg=0.008, resume=True).output
    file.write_text("{}")
    assert "options.json is damaged" in run(1, kimg=0.008, resume=True).output


def test_a_batch_that_processes_cannot_share_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "start", lambda device: (device, 0, 3))
    for batch in (16, 6):  # not evenly, and not four each
        assert "shared evenly by 3 processes" in run(1, kimg=0.004, batch=batch).output


def test_the_text_stage_is_started_and_refused_alike(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(text_stage, "train", lambda data, out, **options: calls.append(options))
    run(stage="text", minutes=2, seed=7, teacher=tmp_path / "vectors", device="auto")
    assert calls[0]["minutes"] == 2 and calls[0]["seed"] == 7 and calls[0]["resume"] is False
    assert calls[0]["teacher_store"] == tmp_path / "vectors"
    assert isinstance(calls[0]["device"], torch.device)
    assert "nothing to resume" in run(1, stage="text", minutes=2, resume=True).output
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / text_stage.STATE).touch()
    assert "holds a run already" in run(1, stage="text", minutes=2).output

    def diverge(*_: object, **__: object) -> None:
        raise FloatingPointError("the loss is not finite after 2 steps")

    monkeypatch.setattr(text_stage, "train", diverge)
    assert "not finite" in run(1, stage="text", minutes=2, out=tmp_path / "diverged").output


# ---- real processes ---------------------------------------------------------------------------------------


@pytest.fixture
def start(data: Path, source: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command as a process of its own, behind `launcher` if there is one."""
    started: list[subprocess.Popen[str]] = []

    def popen(launcher: tuple[str, ...] = (), environment: dict[str, str] | None = None, **options: Any):  # type: ignore[no-untyped-def]
        values = {"data": data, "source": source, "out": tmp_path / "run", **options}
        command = [sys.executable, *launcher, str(ROOT / "tests" / "training.py"), *arguments(**values)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def until(happened: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_kill_loses_no_more_than_the_last_save(start: Any, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(kimg=1000, every=0)  # busy saving nearly all the time, so that is where the kill hits
    until(lambda: (out / "state.pt").exists(), process)
    first = (out / "state.pt").stat().st_ino
    until(lambda: (out / "state.pt").stat().st_ino != first, process)
    process.kill()
    process.communicate()
    saved = state(out)
    assert saved["shown"] >= 8
    run(kimg=(saved["shown"] + 8) / 1000, resume=True)
    assert state(out)["shown"] == saved["shown"] + 8
    assert log(out)[-1]["kimg"] == pytest.approx(KIMG + (saved["shown"] + 8) / 1000)
    assert Pipeline.load(out / "checkpoint", "cpu")


def test_sigterm_saves_and_ends_well(start: Any, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(kimg=1000, every=60)
    until(lambda: (out / "checkpoint" / "config.json").exists(), process)  # the loop begins
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    shown = state(out)["shown"]
    assert log(out)[-1]["kimg"] == pytest.approx(KIMG + shown / 1000)
    assert str(out / "checkpoint") in output
    run(kimg=(shown + 4) / 1000, resume=True)
    assert state(out)["shown"] == shown + 4


def test_two_processes_train_and_agree(start: Any, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(launcher, {"KEEP_WEIGHTS": str(weights)}, kimg=0.024, batch=8, every=0)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    out = tmp_path / "run"
    assert output.count("batch 4 × 2") == 1  # one of them speaks
    assert state(out)["shown"] == 24 and log(out)[-1]["steps"] == 3
    first, second = (torch.load(weights / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == {"generator", "average", "heads", "pixels", "encoder"}
    for (name, a), (_, b) in zip(tensors(first), tensors(second), strict=True):
        assert torch.equal(a, b), name
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(tensors(first), tensors(state(out)["modules"]), strict=True))


def test_photographs_may_be_cut_by_a_table_of_crops(run: Run, data: Path, tmp_path: Path) -> None:
    table = tmp_path / "plates.tsv"
    lines = [f"{n}.png\t\t0.5\t0.5\t0.4" for n in range(4)]
    table.write_text("\n".join(["file\trow\tx\ty\thalf", *lines]) + "\n")
    told = run(kimg=0.004, crops=table).output
    assert "4 photographs" in told
    run(kimg=0.008, crops=table, resume=True)
    other = tmp_path / "other.tsv"
    other.write_text(table.read_text())
    refused = run(expect=1, kimg=0.012, crops=other, resume=True).output
    assert "--crops" in refused and "goes on only as it was" in refused
    missing = run(expect=1, kimg=0.004, crops=tmp_path / "nowhere.tsv", out=tmp_path / "more").output
    assert "nowhere.tsv: crops cannot be read" in missing
