"""The pipeline: the same name and seed give the same picture, and what does not fit is refused."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from model import checkpoint
from model.checkpoint import CheckpointError
from model.generators import Stage2Generator
from model.names import normalize
from model.pipeline import MAX_SEED, Pipeline, choose_device, mix, slerp, to_uint8
from model.text_encoder import MAX_TOKENS, TextEncoder

SOME_NAMES = ["ピリ辛サーモンパフェ", "pea soup", "抹茶ラーメン", "smoky beetroot ramen", "鮭"]


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> Pipeline:
    return Pipeline.load(tiny_checkpoint, device="cpu")


@pytest.fixture
def broken(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "broken"))


@pytest.mark.parametrize("size", [64, 256])
def test_a_picture_is_the_same_whatever_it_was_batched_with(pipeline: Pipeline, size: int) -> None:
    seeds = [7, 0, MAX_SEED, 7, 123]
    together = pipeline.generate(SOME_NAMES, seeds, size)
    assert together.shape == (5, size, size, 3)
    assert together.dtype == np.uint8
    for i in (4, 0, 2):
        assert np.array_equal(pipeline.generate([SOME_NAMES[i]], [seeds[i]], size)[0], together[i])
    backwards = pipeline.generate(SOME_NAMES[::-1], seeds[::-1], size)
    assert np.array_equal(backwards[::-1], together)


def test_a_picture_is_the_same_after_loading_again(pipeline: Pipeline, tiny_checkpoint: Path) -> None:
    again = Pipeline.load(tiny_checkpoint, device="cpu")
    assert again.version == pipeline.version == checkpoint.version(tiny_checkpoint)
    assert np.array_equal(again.generate(["鮭"], [5]), pipeline.generate(["鮭"], [5]))


def test_pictures_differ_by_name_and_by_seed(pipeline: Pipeline) -> None:
    pictures = pipeline.generate(["pea soup", "pea soup", "鮭"], [1, 2, 1])
    first, other_seed, other_name = pictures.astype(int)
    assert np.abs(first - other_seed).mean() > 1
    assert np.abs(first - other_name).mean() > 1
    assert first.std() > 5


def test_stages_one_by_one_make_the_same_picture(pipeline: Pipeline) -> None:
    embeddings, latents = pipeline.prompts(SOME_NAMES), pipeline.latents(range(5))
    sketches = pipeline.sketch(embeddings, latents)
    pictures = pipeline.refine(sketches, embeddings, latents)
    assert sketches.shape == (5, 3, 64, 64)
    assert pictures.shape == (5, 3, 256, 256)
    assert sketches.abs().max() <= 1
    assert pictures.abs().max() <= 1
    assert np.array_equal(to_uint8(sketches), pipeline.generate(SOME_NAMES, range(5), 64))
    assert np.array_equal(to_uint8(pictures), pipeline.generate(SOME_NAMES, range(5), 256))


def test_nothing_makes_nothing(pipeline: Pipeline) -> None:
    assert pipeline.generate([], []).shape == (0, 256, 256, 3)
    assert pipeline.latents([]).shape == (0, pipeline.latent_dim)


def test_embeddings_do_not_depend_on_their_neighbours(pipeline: Pipeline) -> None:
    embeddings = pipeline.embed(SOME_NAMES)
    assert embeddings.dtype == torch.float32
    assert torch.equal(pipeline.embed(SOME_NAMES[4:]), embeddings[4:])
    assert torch.equal(pipeline.embed_pieces([pipeline.tokenizer.encode(SOME_NAMES[2])])[0], embeddings[2])
    torch.testing.assert_close(embeddings.norm(dim=1), torch.full((5,), math.sqrt(embeddings.shape[1])))


def test_prompts_are_nearer_to_their_form_than_what_is_read(pipeline: Pipeline) -> None:
    names = ["egg soup", "卵のカレー", "卵"]
    read, prompts = pipeline.embed(names), pipeline.prompts(names)
    forms = pipeline.embed(["soup", "カレー"])
    for row, form in enumerate(forms):
        before, after = (torch.nn.functional.cosine_similarity(x[row], form, dim=0) for x in (read, prompts))
        assert before < after < 1
    assert torch.equal(prompts[2], read[2])  # no form is named
    torch.testing.assert_close(prompts.norm(dim=1), read.norm(dim=1))
    assert torch.equal(pipeline.prompts(names[1:]), prompts[1:])
    alone = pipeline.refine(pipeline.sketch(prompts[:1], pipeline.latents([3])), prompts[:1], pipeline.latents([3]))
    assert (pipeline.generate(names[:1], [3]) == to_uint8(alone)).all()


def test_a_name_is_read_as_it_is_normalised(pipeline: Pipeline) -> None:
    wide = pipeline.embed(["　ｐｅａ   ｓｏｕｐ "])
    assert torch.equal(wide, pipeline.embed(["pea soup"]))
    with pytest.raises(ValueError, match=r"\w"):
        pipeline.embed([" \u3000"])


def test_latents_are_standard_normal_and_each_seed_has_its_own(pipeline: Pipeline) -> None:
    state = torch.random.get_rng_state()
    latents = pipeline.latents(range(2000))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert latents.dtype == torch.float32
    assert abs(float(latents.mean())) < 0.02
    assert abs(float(latents.std()) - 1) < 0.02
    assert len(latents.unique(dim=0)) == 2000
    assert torch.equal(pipeline.latents([1999])[0], latents[1999])


@pytest.mark.parametrize(
    "seed", [-1, MAX_SEED + 1, pytest.param(10**5000, id="5000 digits"), 1.0, "1", True, None]
)
def test_a_seed_outside_the_range_is_refused(pipeline: Pipeline, seed: object) -> None:
    with pytest.raises(ValueError, match=f"from 0 to {MAX_SEED}"):
        pipeline.latents([seed])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("name", "unknown"), [("김치", "김치"), ("ต้มยำ kaeng", "ตมยา"), ("👩‍🍳 soup", "👩🍳"), ("борщ", "борщ")]
)
def test_letters_that_are_read_as_bytes_are_told(pipeline: Pipeline, name: str, unknown: str) -> None:
    (notice,) = pipeline.notices(normalize(name))
    assert f" met {unknown}, " in notice
    assert notice.messages["ja"].startswith(f"{unknown}は")  # type: ignore[attr-defined]
    assert pipeline.notices(normalize("salmon, (tomato) ramen: 100%?!")) == ()


def test_sizes_and_counts_that_do_not_fit_are_refused(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="size 128 is not one of 64 and 256"):
        pipeline.generate(["鮭"], [0], 128)
    with pytest.raises(ValueError, match="1 names but 2 seeds"):
        pipeline.generate(["鮭"], [0, 1])


def test_a_long_name_is_told_to_be_cut(pipeline: Pipeline) -> None:
    long = "ゑ" * 40  # each is three byte pieces
    assert pipeline.notices(normalize("鮭")) == ()
    assert any(str(MAX_TOKENS) in notice for notice in pipeline.notices(normalize(long)))
    assert torch.equal(pipeline.embed([long]), pipeline.embed([long[:-1]]))


def test_devices(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert Pipeline.load(tiny_checkpoint).device.type == "cpu"
    with pytest.raises(ValueError, match="this machine has 0 CUDA GPUs"):
        Pipeline.load(tiny_checkpoint, device="cuda")
    for name in ("tpu", "mps", "cpu:x", ""):
        with pytest.raises(ValueError, match="none of auto, cpu, cuda"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device() == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="this machine has 2 CUDA GPUs"):
        choose_device("cuda:2")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_gpu_is_within_one_grey_level(pipeline: Pipeline, tiny_checkpoint: Path) -> None:
    names, seeds = SOME_NAMES * 20, range(100)
    on_gpu = Pipeline.load(tiny_checkpoint, device="cuda").generate(names, seeds)
    assert np.abs(on_gpu.astype(int) - pipeline.generate(names, seeds)).max() <= 1


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", "text.safetensors", "stage2.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "empty"])
def test_a_damaged_checkpoint_says_which_file(broken: Path, name: str, damage: str) -> None:
    data = (broken / name).read_bytes()
    (broken / name).unlink()
    if damage != "missing":
        (broken / name).write_bytes(data[: len(data) // 2 if damage == "cut short" else 0])
    with pytest.raises(CheckpointError) as caught:
        Pipeline.load(broken, device="cpu")
    assert name in str(caught.value)


def test_parts_that_do_not_belong_together_are_refused(broken: Path) -> None:
    config = checkpoint.read_config(broken)
    narrower = {**config["stage2"], "z_dim": 6, "condition_dim": 10}
    checkpoint.save_config(broken, stage2=narrower)
    with pytest.raises(CheckpointError, match=r"stage2\.safetensors does not fit"):
        Pipeline.load(broken, device="cpu")

    checkpoint.save_weights(broken, "stage2", Stage2Generator(**narrower))
    with pytest.raises(CheckpointError, match="share a latent, but differ in z_dim or condition_dim"):
        Pipeline.load(broken, device="cpu")

    other = {**config["stage2"], "embedding_dim": 16}
    checkpoint.save_config(broken, stage2=other)
    checkpoint.save_weights(broken, "stage2", Stage2Generator(**other))
    with pytest.raises(CheckpointError, match="'stage2' takes embeddings 16 wide, and 'text' makes them 32"):
        Pipeline.load(broken, device="cpu")


def test_a_tokenizer_of_another_size_is_refused(broken: Path) -> None:
    larger = {**checkpoint.read_config(broken)["text"]}
    larger["vocabulary"] += 1
    checkpoint.save_config(broken, text=larger)
    checkpoint.save_weights(broken, "text", TextEncoder(**larger))
    with pytest.raises(CheckpointError, match=rf"tokenizer\.model has {larger['vocabulary'] - 1} pieces"):
        Pipeline.load(broken, device="cpu")


def test_to_uint8_covers_the_whole_range_and_clips() -> None:
    row = torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(row)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
    one = torch.zeros(2, 3, 4, 6)
    one[:, 2] = 1
    assert to_uint8(one).shape == (2, 4, 6, 3)
    assert to_uint8(one)[0, 0, 0].tolist() == [128, 128, 255]


def test_slerp_goes_from_one_latent_to_the_other_without_shrinking(pipeline: Pipeline) -> None:
    start, end = pipeline.latents([1, 2])
    torch.testing.assert_close(slerp(start, end, 0), start)
    torch.testing.assert_close(slerp(start, end, 1), end)
    x, y = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    torch.testing.assert_close(slerp(x, y, 0.5), torch.tensor([2.0, 2.0]) / math.sqrt(2))
    torch.testing.assert_close(slerp(x, y, 1 / 3), torch.tensor([math.sqrt(3), 1.0]))
    torch.testing.assert_close(slerp(start, start, 0.3), start)
    both = slerp(torch.stack([x, x]), torch.stack([y, x]), 0.5)
    torch.testing.assert_close(both, torch.tensor([[math.sqrt(2), math.sqrt(2)], [2.0, 0.0]]))


def test_mix_blends_by_weight_and_keeps_the_norm() -> None:
    embeddings = torch.tensor([[2.0, 0, 0, 0], [0, 2.0, 0, 0]])
    torch.testing.assert_close(mix(embeddings, [1, 0]), embeddings[0])
    torch.testing.assert_close(mix(embeddings, [0, 5]), embeddings[1])
    torch.testing.assert_close(mix(embeddings, [3, 4]), torch.tensor([1.2, 1.6, 0, 0]))
    for weights in ([0, 0], [float("nan"), 1]):
        with pytest.raises(ValueError, match="leave nothing to paint"):
            mix(embeddings, weights)
    with pytest.raises(ValueError, match="2 embeddings need as many weights"):
        mix(embeddings, [1])
