"""Adapting a checkpoint to a folder of photographs: what it keeps, how it stops, and how it goes on."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor

from model import adapt, checkpoint
from model.adaptation import regularization, validation
from model.adaptation import run as adaptation
from model.adaptation.loop import best, stop_reason
from model.adaptation.regularization import PLANS, AdaptationPlan, RegularizedStage, choose_plan, freeze
from model.adaptation.validation import Check
from model.checkpoint import load_network, read_config, weights_path
from model.data.inspection import SMALL, look
from model.data.photos import Photos
from model.evaluation.metrics import Measure
from model.features.backbone import Backbone
from model.generators import Stage1Generator, Stage2Generator
from model.nearest import NamesIndex
from model.pipeline import Pipeline
from model.text_encoder import Tokenizer
from model.training import presets
from model.training.discriminator import Heads
from tests.conftest import make_checkpoint
from tests.training import add_networks, backbone, hurry

pytest.importorskip("efficientnet_lite_pytorch")

EXAMPLE = Path(__file__).parent.parent / "examples" / "cafeteria"
STEPS = 2  # of each stage, with a check behind each
KIMG = 4 * STEPS / 1000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_networks(make_checkpoint(tmp_path_factory.mktemp("source")), 800.0)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fsync)
        hurry()
        patch.setattr(presets, "Backbone", lambda _variant: backbone())
        patch.setattr(validation, "Backbone", functools.cache(Backbone))
        patch.setattr(validation, "RESOLUTIONS", {64: 64, 256: 64})
        yield


def plans(kimg: float) -> tuple[AdaptationPlan, ...]:
    return tuple(replace(plan, kimg=(kimg, kimg)) for plan in PLANS)


# Two steps a stage, in batches of four, and a check after each.
QUICK = adaptation.AdaptationConfig(
    plans=plans(KIMG), batch=4, checks=STEPS, pictures={64: 6, 256: 4}, tick=1, grid=3, latents=1, recombined=3,
    report_names=3, composed=40,
)  # fmt: skip
NO_REPORT = replace(QUICK, report=False)


Run = Callable[..., Result]


def invoke(
    source: Path, out: Path, expect: int = 0, photos: Path = EXAMPLE, config: adaptation.AdaptationConfig = QUICK,
    **options: Any,
) -> Result:  # fmt: skip
    """The command in this process. Photographs are only aligned where that is asked for, since it takes a second."""
    begun = {"from": source} | ({} if "align" in options else {"no-align": True})
    values = {"out": out, **({} if options.get("resume") else begun), **options}
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items()]
    result = CliRunner().invoke(adapt.main, [str(photos), *flags], obj=config)
    assert result.exit_code == expect, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Run:
    """Adapts to the example, from `source` into tmp_path/mine unless told otherwise."""
    return functools.partial(invoke, source, tmp_path / "mine")


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole adaptation that got better from check to check, and what it printed."""
    out = tmp_path_factory.mktemp("finished") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        figures(patch, [0.9, 0.8, 0.7, 0.9, 0.8, 0.7], [0.0] * 6)
        return out, invoke(source, out, minutes=9, align=True).output


def figures(monkeypatch: pytest.MonkeyPatch, kids: list[float], copies: list[float]) -> None:
    """Has the checks find these, one after the other, and then the last again and again."""
    found = iter([*zip(kids, copies, strict=True)])
    last = (1.0, 0.0)

    def check(_self: validation.HeldOutValidator, _paint: object) -> Check:
        nonlocal last
        last = next(found, last)
        return Check(Measure(last[0], 0.1, 4), Measure(last[1], 0.1, 4))

    monkeypatch.setattr(validation.HeldOutValidator, "check", check)


def at_step(monkeypatch: pytest.MonkeyPatch, when: int, act: Callable[[RegularizedStage], None]) -> None:
    """Has `act` happen at the end of that step, of all stages counted together."""
    step, count = RegularizedStage.step, 0

    def stepped(self: RegularizedStage, *args: Any) -> dict[str, Tensor]:
        nonlocal count
        stats = step(self, *args)
        count += 1
        if count == when:
            act(self)
        return stats

    monkeypatch.setattr(RegularizedStage, "step", stepped)


def weights(folder: Path, name: str) -> bytes:
    return weights_path(folder, name).read_bytes()


def record(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "adaptation" / "run.json").read_text("utf-8"))
    return loaded


# ---- what comes of it --------------------------------------------------------------------------------------


def test_an_adapted_checkpoint_serves_and_tells_its_story(finished: tuple[Path, str], source: Path) -> None:
    out, output = finished
    for part in ("24 photographs of 24 dishes", "19 are trained on and 5 held back", "adaptor and affines", "9 minutes",
                 f"stage 1: {KIMG:g} kimg were shown", "left in all", f"make serve CHECKPOINT={out}"):  # fmt: skip
        assert part in output
    pipeline = Pipeline.load(out, "cpu")
    assert pipeline.generate(["borscht"], [0]).shape == (1, 256, 256, 3)
    for stage in ("stage1", "stage2"):
        assert weights(out, stage) != weights(source, stage)
        assert weights(out, f"{stage}-heads") != weights(source, f"{stage}-heads")
    for same in ("text", "matching-64"):
        assert weights(out, same) == weights(source, same)
    training = read_config(out)["training"]
    assert training["stage1"]["kimg"] == pytest.approx(800 + KIMG)
    assert training["adaptation"]["photographs"] == 24
    assert training["adaptation"]["from"] == Pipeline.load(source, "cpu").version
    index = NamesIndex.load(out, pipeline.text.embedding_dim)
    assert index is not None and "ティラミス" in index.names
    assert pipeline.version in (out / "README.md").read_text("utf-8")



def test_a_finished_run_leaves_grids_and_a_report_in_one_file(finished: tuple[Path, str]) -> None:
    out, _ = finished
    folder = out / "adaptation"
    assert len(list((folder / "samples").glob("stage1-*.png"))) == 3  # the start, halfway, the end
    assert not {"base", "photos.npz", "stage1.pt", "stage2.pt"} & {path.name for path in folder.iterdir()}
    html = (out / "report.html").read_text("utf-8")
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import', html)
    pairs = html.count('alt="photograph before"')
    assert pairs == html.count('alt="photograph after"') > 0
    assert html.count("data:image/jpeg;base64,") == 3 * 4 + 3 * 3 + 2 * pairs
    version = Pipeline.load(out, "cpu").version
    for part in ("24 photographs of 24 dishes", version, "copies", "d_loss", "700 → 700", "0 % → 0 %"):
        assert part in html
    shown_names = set(re.findall(r"<strong>(.*?)</strong>", html))
    photographed = {path.stem.replace("_", " ") for path in EXAMPLE.glob("*.jpg")}
    assert len(shown_names - photographed) == 3  # the recombined ones


def test_photographs_are_aligned_and_those_left_as_they_were_are_named(finished: tuple[Path, str]) -> None:
    out, output = finished
    html = (out / "report.html").read_text("utf-8")
    aligned = int(re.search(r"(\d+) aligned: cut so that the plate", output)[1])  # type: ignore[index]
    assert html.count('alt="photograph before"') == aligned < 24
    left = re.search(r"<summary>(\d+) were left as they were.*?</details>", html, re.DOTALL)
    assert left is not None and int(left[1]) == 24 - aligned == left[0].count("<li>")
    assert set(re.findall(r"<li>(.*?)</li>", left[0])) < {path.name for path in EXAMPLE.glob("*.jpg")}


def test_photographs_may_be_left_as_they_are(run: Run, source: Path, tmp_path: Path) -> None:
    assert "not aligned: the central square of every" in run(config=NO_REPORT, **{"no-align": True}).output
    with np.load(tmp_path / "mine" / "adaptation" / "photos.npz") as stored:
        squares = look(EXAMPLE, Tokenizer.load(source / checkpoint.TOKENIZER)).photos.images
        assert np.array_equal(stored["images"], squares)


def test_the_best_check_is_kept_and_not_the_last(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stage 1 gets worse after its second check, and stage 2 never comes to be better than it was.
    figures(monkeypatch, [0.9, 0.5, 0.8, 0.9, 0.95, 0.95], [0.0] * 6)
    out = tmp_path / "mine"
    halfway: list[Tensor] = []
    key = "augmentation.project.weight"
    at_step(monkeypatch, 1, lambda trained: halfway.append(trained.modules()["average"].state_dict()[key].clone()))
    result = run(config=NO_REPORT)
    kept = load_network(out, "stage1", Stage1Generator).state_dict()[key]
    torch.testing.assert_close(kept, halfway[0].half().float(), rtol=0, atol=0)
    assert weights(out, "stage2") == weights(out / "adaptation" / "base", "stage2")
    assert "kept what it was at 0.004" in result.output and "kept what it was at 0\n" in result.output


def test_that_nothing_got_better_is_said(
    run: Run, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures(monkeypatch, [0.5, 0.8, 0.9] * 2, [0.0] * 6)
    assert "No check was better than the checkpoint as it was" in run().output
    assert Pipeline.load(tmp_path / "mine", "cpu").version == Pipeline.load(source, "cpu").version
    assert "kept as it is" in (tmp_path / "mine" / "report.html").read_text("utf-8")


def test_a_copy_is_not_the_best_however_near_it_comes() -> None:
    checks = [{"kid": kid, "copies": copies} for kid, copies in ((0.9, 0.0), (0.7, 0.02), (0.2, 0.5), (0.1, 0.6))]
    assert best(checks) == 1
    assert "copy" in stop_reason(checks, 4) and not stop_reason(checks[:3], 4)
    assert best([{"kid": 0.9, "copies": 0.1}, {"kid": 0.5, "copies": 0.3}]) == 0  # the only other copies: as it was
    # What the checkpoint does before it has seen a photograph is no copying.
    near = [{"kid": kid, "copies": copies} for kid, copies in ((0.9, 0.25), (0.8, 0.24), (0.7, 0.27), (0.6, 0.26))]
    assert best(near) == 3 and not stop_reason(near, 4)
    worse = [{"kid": 0.1 * n, "copies": 0.0} for n in range(1, 4 + 2)]
    assert "no nearer" in stop_reason(worse, 4) and not stop_reason(worse[:-1], 4)


def test_the_time_bounds_both_stages(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures(monkeypatch, [0.9], [0.0])
    result = run(minutes=0.03, config=replace(NO_REPORT, plans=plans(100.0), patience=99))
    assert result.output.count("its time was up") == 2
    assert record(tmp_path / "mine")["seconds"] > 0.9 * 0.03 * 60


# ---- what may change ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("photos", "frozen", "free"), [
    (20, {"blocks.4.conv1.weight", "to_rgb.weight", "start.weight"},
     {"augmentation.project.weight", "style.0.weight", "blocks.0.affine1.style.weight", "last.style.bias"}),
    (134, {"blocks.0.conv1.weight", "start.weight"}, {"blocks.4.conv1.weight", "to_rgb.weight"}),
    (999, set(), {"blocks.0.conv1.weight", "start.weight"}),
])  # fmt: skip
def test_the_fewer_the_photographs_the_less_may_change(photos: int, frozen: set[str], free: set[str]) -> None:
    generator = Stage1Generator(channels=(16,) * 5)
    freeze(generator, choose_plan(photos))
    learning = {name for name, parameter in generator.named_parameters() if parameter.requires_grad}
    assert free <= learning and not frozen & learning
    second = Stage2Generator(channels=(16, 16, 16))
    freeze(second, choose_plan(photos))
    learning = {name for name, parameter in second.named_parameters() if parameter.requires_grad}
    assert "think.0.affine1.style.weight" in learning
    assert ("block128.conv1.weight" in learning) is (photos > 20)
    assert ("read64.weight" in learning) is (photos > 200)


def test_a_run_changes_what_its_plan_lets_it_change(finished: tuple[Path, str], source: Path) -> None:
    out, _ = finished
    for name, kind, may in (
        ("stage1", Stage1Generator, r"augmentation\.|style\.|.*\.style\."),
        ("stage2", Stage2Generator, r"augmentation\.|style\.|.*\.style\."),
        ("stage1-heads", Heads, r"heads\.[23]\.|.*\._[uv]$"),  # u and v only estimate norms
        ("stage2-window-heads", Heads, r"heads\.[23]\.|.*\._[uv]$"),
    ):
        old = load_network(source, name, kind).state_dict()
        new = load_network(out, name, kind).state_dict()
        moved = {key for key in old if not torch.equal(old[key], new[key])}
        assert moved and all(re.match(may, key) for key in moved), name


@pytest.mark.parametrize(("sizes", "most"), [
    ([1] * 130, 26),
    ([100] + [1] * 30, 7),  # a fifth of the photographs would be nearly all that have another name
    ([60] + [1] * 70, 15),
    ([13] * 10, 26),
    ([12, 12], 12),
    ([11, 11, 1], 12),  # of one photograph no distance is measured
])  # fmt: skip
@pytest.mark.parametrize("seed", range(5))
def test_a_frequent_name_leaves_something_to_train_on(sizes: list[int], most: int, seed: int) -> None:
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    held = adaptation.hold_out(groups, seed)
    assert held.sum() == most
    parts = [{g for g, h in zip(groups, held, strict=True) if h == back} for back in (True, False)]
    assert not parts[0] & parts[1]


def test_what_is_held_back_follows_from_the_seed() -> None:
    groups = list(range(50))
    assert np.array_equal(adaptation.hold_out(groups, 1), adaptation.hold_out(groups, 1))
    assert not np.array_equal(adaptation.hold_out(groups, 1), adaptation.hold_out(groups, 2))


def test_of_many_names_those_painted_are_spread_over_all() -> None:
    names = [f"dish {n:02}" for n in range(20)]
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
    photos = Photos(noise, names, [{}] * 20, ["free"] * 20, ["here"] * 20)
    looks = validation.HeldOutValidator(64, photos, photos, torch.device("cpu"), at_most=6)
    for asked in (looks.held_names, looks.known):
        assert asked[0] < "dish 04" and asked[-1] > "dish 15" and len(set(asked)) == 6


@pytest.mark.parametrize("stage", ["1", "2"])
def test_all_that_discriminators_see_is_augmented_and_rates_are_low(stage: str) -> None:
    usual, adapted = presets.PRESETS["cpu"][stage].config, regularization.adaptation_preset(stage).config
    assert adapted.augment == 1.0
    assert adapted.learning_rate <= usual.learning_rate / 2
    assert adapted.discriminator.learning_rate < usual.discriminator.learning_rate / 2  # type: ignore[union-attr]


def test_rehearsing_brings_a_generator_back_to_what_it_painted(source: Path) -> None:
    torch.manual_seed(0)
    composed = torch.randn(20, 32)
    generator = load_network(source, "stage1", Stage1Generator)
    with torch.no_grad():
        generator.augmentation.project.weight.add_(0.3 * torch.randn_like(generator.augmentation.project.weight))
    rehearsal = regularization.Rehearsal(generator, source, composed, 8)
    for group in rehearsal.optimizer.param_groups:
        group["lr"] = 1e-3
    apart = [float(rehearsal.step()) for _ in range(30)]
    assert sum(apart[-5:]) < 0.8 * sum(apart[:5])


def test_jittered_names_are_near_and_of_one_norm() -> None:
    names = torch.nn.functional.normalize(torch.randn(50, 256), dim=1) * 16
    moved = regularization.jitter(names)
    torch.testing.assert_close(moved.norm(dim=1), names.norm(dim=1))
    cosines = torch.nn.functional.cosine_similarity(names, moved, dim=1)
    assert 0.9 < cosines.mean() < 0.99


# ---- stopping and going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, STEPS + 1])
def test_a_stopped_adaptation_goes_on_without_photos_or_source(
    run: Run, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    figures(monkeypatch, [0.9 - 0.01 * check for check in range(9)], [0.0] * 9)  # always better, and so kept
    out = tmp_path / "mine"
    photos, base = tmp_path / "my photos", tmp_path / "base"
    shutil.copytree(EXAMPLE, photos), shutil.copytree(source, base)
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda _stage: os.kill(os.getpid(), signal.SIGTERM))
        stopped = run(128 + signal.SIGTERM, photos, **{"from": base, "minutes": 20, "seed": 3, "align": True})
    assert f"python -m model.adapt '{photos}' --out {out} --resume" in stopped.output
    assert Pipeline.load(out, "cpu").generate(["borscht"], [0]).shape == (1, 256, 256, 3)  # whole at any moment
    before = record(out)["seconds"] + 100  # as if it had gone on for longer than the rest takes
    known = record(out) | {"seconds": before}
    checkpoint.write_file(out / "adaptation" / "run.json", json.dumps(known).encode())
    shutil.rmtree(photos)
    shutil.rmtree(base)
    assert f"holds an adaptation to {photos}: for {EXAMPLE}, name another --out" in run(1, resume=True).output
    for other in ({"seed": 4}, {"from": source}, {"no-align": True}):
        assert "was begun with" in run(1, photos=photos, resume=True, **other).output
    steps: list[int] = []
    with monkeypatch.context() as patch:
        taken = RegularizedStage.step

        def counted(*arguments: Any) -> dict[str, Tensor]:
            steps.append(1)
            return taken(*arguments)

        patch.setattr(RegularizedStage, "step", counted)
        resumed = run(photos=photos, resume=True)
    assert "· 20 minutes ·" in resumed.output and record(out)["seed"] == 3
    assert len(steps) == 2 * STEPS - step
    assert 'alt="photograph before"' in (out / "report.html").read_text("utf-8")
    assert record(out)["finished"] and record(out)["seconds"] > before
    training = read_config(out)["training"]
    hours = training["stage1"]["hours"] - 7.0, training["stage2"]["hours"]  # 7 had gone into the source's stage 1
    stopped_at, other = hours if step == 1 else hours[::-1]
    assert stopped_at > 100 / 3600 - 0.001 and other < 50 / 3600  # a stage's hours are its own
    assert "is finished" in run(1, photos=photos, resume=True).output


def test_a_kill_between_saves_loses_only_what_came_since(
    run: Run, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_stage: RegularizedStage) -> None:
        raise KeyboardInterrupt  # nothing is saved on the way out, as with SIGKILL

    with monkeypatch.context() as patch:
        at_step(patch, 2, die)
        arguments = [EXAMPLE, "--out", tmp_path / "mine", "--from", source]
        assert CliRunner().invoke(adapt.main, list(map(str, arguments)), obj=QUICK).exit_code == 1
    steps: list[float] = []
    with monkeypatch.context() as patch:
        taken = RegularizedStage.step

        def noted(*arguments: Any) -> dict[str, Tensor]:
            steps.append(arguments[-1])
            return taken(*arguments)

        patch.setattr(RegularizedStage, "step", noted)
        run(resume=True, config=NO_REPORT)
    assert steps[0] == pytest.approx(800.004)  # the second step again, after the check behind the first
    assert len(steps) == 2 * STEPS - 1


def test_numbers_that_are_none_end_a_stage_and_keep_what_was_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(trained: RegularizedStage) -> None:
        with torch.no_grad():
            trained.modules()["generator"].get_parameter("augmentation.project.bias")[0] = torch.nan

    figures(monkeypatch, [0.9, 0.8, 0.7], [0.0] * 3)
    at_step(monkeypatch, 2, lose)
    result = run(config=NO_REPORT)
    assert "stage 1: a number was none any more" in result.output
    assert f"stage 2: {KIMG:g} kimg were shown" in result.output
    assert Pipeline.load(tmp_path / "mine", "cpu")


# ---- what is said before it begins ------------------------------------------------------------------------------


def messy(folder: Path) -> Path:
    """The example as people's folders are, with a member of each kind of disorder."""
    shutil.copytree(EXAMPLE, folder)
    first, second, third, *_, last = sorted(folder.glob("*.jpg"))
    for number, path in enumerate((first, second, third), 1):  # a dish with a folder and numbers, a dish in a row
        path.rename(folder / f"beef-stew-{number}.jpg")
    (folder / "leek pie").mkdir()
    last.rename(folder / "leek pie" / "IMG_0001.jpg")
    shutil.copy(EXAMPLE / "paella.jpg", folder / "KakaoTalk_Photo_2024-01-01-12-00-00.jpg")
    Image.new("RGB", (300, 300), "red").save(folder / "image0.jpg")
    Image.effect_noise((300, 300), 80).save(folder / "3f2504e0-4f89-11d3-9a0c-0305e82c3301.png")
    thumbnail = folder / "@eaDir" / "borscht.jpg" / "SYNOPHOTO_THUMB_M.jpg"
    thumbnail.parent.mkdir(parents=True)
    Image.open(EXAMPLE / "borscht.jpg").resize((160, 160)).save(thumbnail)
    Image.open(EXAMPLE / "borscht.jpg").resize((160, 160)).save(folder / "borscht-160x160.jpg")
    (folder / "captions.csv").write_text("file_name,name\n")
    (folder / "tomato_tart.jpg?w=640").write_bytes((EXAMPLE / "pavlova.jpg").read_bytes()[:-2])
    noise = (100 + np.random.default_rng(0).integers(0, 60, (400, 400, 3))).astype(np.uint8)
    Image.fromarray(noise).save(folder / "rice pudding.jpg")
    whole = (folder / "rice pudding.jpg").read_bytes()
    (folder / "rice pudding.jpg").write_bytes(whole[: int(0.98 * len(whole))])
    return folder


def test_a_dry_run_says_what_is_there_and_how_names_are_understood(source: Path, tmp_path: Path) -> None:
    photos, out = messy(tmp_path / "photos"), tmp_path / "mine"
    arguments = [str(photos), "--dry-run", "--from", str(source)]
    for flags in (arguments, [*arguments, "--out", str(out)]):
        result = CliRunner().invoke(adapt.main, flags)
        assert result.exit_code == 0, result.output
    assert not out.exists()
    for part in (
        "26 photographs of 24 dishes", "names as they are understood: ", "beef stew ×3 ·", "· leek pie ·",
        "· tomato tart ·", "passed over, as other programs keep them there: @eaDir (1)",
        "captions.csv: not read; a table of names is called metadata.csv", "image0.jpg (one colour all over)",
        "1 left out, since neither file nor folder has a dish's name: 3f2504e0-4f89-11d3-9a0c-0305e82c3301.png",
        "KakaoTalk_Photo_2024-01-01-12-00-00.jpg = paella.jpg", "borscht-160x160.jpg = borscht.jpg",
        "1 cut off at the end, used all the same: rice pudding.jpg (without ", " aligned: cut so that",
        "would be trained on and",
    ):  # fmt: skip
        assert part in result.output


def test_a_run_that_is_refused_says_what_was_found_too(source: Path, tmp_path: Path) -> None:
    photos = messy(tmp_path / "photos")
    for path in sorted(photos.glob("[a-z]*.jpg"))[:12]:
        path.unlink()
    for flags in (["--dry-run"], ["--out", str(tmp_path / "mine")]):
        result = CliRunner().invoke(adapt.main, [str(photos), "--from", str(source), *flags])
        assert result.exit_code == 1
        for part in ("a cafeteria needs 20 at least", "Name each file after its dish", "names as they are understood",
                     "@eaDir (1)", "left out, since neither file nor folder has a dish's name"):  # fmt: skip
            assert part in result.output
    assert not (tmp_path / "mine").exists()


def test_without_a_dry_run_a_checkpoint_needs_a_folder(source: Path) -> None:
    result = CliRunner().invoke(adapt.main, [str(EXAMPLE), "--from", str(source)])
    assert result.exit_code == 2 and "Missing option '--out'" in result.output


# ---- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "code", "message"), [
    ({"photos": Path("absent")}, 1, "absent: there is no such file or folder"),
    ({"photos": Path(__file__).parent}, 1, "no photographs there"),
    ({"from": Path("absent-run")}, 1, "absent-run does not exist"),
    ({"resume": True}, 1, "there is nothing to resume"),
    ({"minutes": 0}, 2, "--minutes"),
    ({"minutes": "inf"}, 1, "--minutes inf is no time to end at"),
    ({"minutes": "nan"}, 1, "--minutes nan is no time to end at"),
    ({"seed": 2**70}, 2, "--seed"),
    ({"device": "tpu"}, 1, "'tpu' is none of auto, cpu, cuda"),
])  # fmt: skip
def test_a_mistake_is_named(run: Run, tmp_path: Path, options: dict[str, Any], code: int, message: str) -> None:
    assert message in " ".join(run(code, **options).output.split())
    assert not (tmp_path / "mine").exists()


def test_photographs_of_one_dish_cannot_be_held_back(run: Run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, path in enumerate(sorted(EXAMPLE.glob("*.jpg"))):
        shutil.copy(path, photos / f"ramen ({number}).jpg")
    assert "too many photographs have one name" in run(1, photos=photos).output
    (photos / "ramen (0).jpg").rename(photos / "soup.jpg")  # one alone does not help
    assert "too many photographs have one name" in run(1, photos=photos).output
    assert not (tmp_path / "mine").exists()


def test_one_adaptation_at_a_time_is_at_work_in_a_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    at_step(monkeypatch, 1, lambda _stage: said.append(run(1, resume=True).output))
    run()
    assert "another adaptation is at work in" in said[0]


def test_who_is_refused_leaves_the_lock_of_who_is_at_work(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    with adaptation.lock(out):
        for _ in range(2):
            with pytest.raises(ValueError, match="another adaptation"), adaptation.lock(out):
                pass
    assert out.exists() and not any(out.iterdir())  # it was there before


def test_what_is_in_the_way_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("a thesis")
    assert "is not empty (report.html is in it)" in run(1).output
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["report.html"]


def test_grids_would_not_be_taken_for_photographs(source: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(EXAMPLE, tmp_path / "photos"))
    assert "name an --out elsewhere" in invoke(source, photos / "mine", 1, photos).output
    assert not (photos / "mine").exists()


def test_a_checkpoint_without_what_adapting_needs_is_named(run: Run, source: Path, tmp_path: Path) -> None:
    poor = Path(shutil.copytree(source, tmp_path / "poor"))
    weights_path(poor, "stage2-heads").unlink()
    assert f"{poor} has no stage2-heads" in run(1, **{"from": poor}).output
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}"])
def test_a_damaged_record_is_named(run: Run, tmp_path: Path, content: bytes) -> None:
    checkpoint.write_file(tmp_path / "mine" / "adaptation" / "run.json", content)
    assert f"{tmp_path / 'mine' / 'adaptation' / 'run.json'} is damaged" in run(1, resume=True).output


def test_photographs_that_are_all_too_small_for_stage_2_are_refused(run: Run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in EXAMPLE.glob("*.jpg"):
        Image.open(path).resize((SMALL - 1, SMALL - 1)).save(photos / path.name)
    assert "all photographs that are not held back are too small for stage 2" in run(1, photos=photos).output
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in invoke(source, tmp_path / "file" / "mine", 1).output


def test_a_checkpoint_is_not_written_over(run: Run, tmp_path: Path, source: Path) -> None:
    other = shutil.copytree(source, tmp_path / "mine")
    before = weights(other, "stage1")
    assert "holds a checkpoint already" in run(1).output
    checkpoint.write_file(other / "adaptation" / "run.json", b"{}")
    assert "holds an adaptation already: go on with --resume" in run(1).output
    assert weights(other, "stage1") == before
