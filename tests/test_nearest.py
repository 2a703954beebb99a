"""The index of the training names: what is near, what is new, and files that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.torch
import torch

from app.application import create_app
from app.settings import Settings
from model import nearest
from model.checkpoint import CheckpointError, version
from model.languages import Language
from model.nearest import NamesIndex, write_index
from model.pipeline import Pipeline
from tests.conftest import NAMES, make_checkpoint
from tests.serving import serve


@dataclass
class Photos:
    """Flat pictures, each of one colour, with names."""

    names: list[str]
    translations: list[Mapping[Language, str]]
    images: np.ndarray[Any, Any]


def flat(names: list[str], seed: int = 0) -> Photos:
    colours = np.random.default_rng(seed).integers(0, 256, (len(names), 1, 1, 3), np.uint8)
    return Photos(names, [{}] * len(names), np.broadcast_to(colours, (len(names), 64, 64, 3)))


def cloud(count: int, seed: int = 0) -> torch.Tensor:
    """Embeddings of dim 32 in pairs: the even ones at random, each odd one near the one before it."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(count // 2, 32, generator=generator)
    near = base + 0.05 * torch.randn(count // 2, 32, generator=generator)
    return torch.stack([base, near], 1).reshape(count, 32)


def test_the_nearest_names_come_first_and_a_known_name_is_not_new() -> None:
    names, embeddings = [f"dish {k}" for k in range(40)], cloud(40)
    index = NamesIndex.build(names, embeddings)
    found = index.nearest(embeddings[6], "Dish 6")
    assert [name for name, _ in found.names[:2]] == ["dish 6", "dish 7"]
    assert found.names[0][1] == pytest.approx(0, abs=1e-3)
    assert [distance for _, distance in found.names] == sorted(distance for _, distance in found.names)
    assert len(found.names) == 8
    assert (found.novelty, found.exists) == (0, True)
    # Far from everything, as none of these dishes is from its neighbour.
    assert index.nearest(cloud(2, seed=1)[0], "something else").novelty == 100
    # As near to a dish as the dishes are to each other.
    between = index.nearest((embeddings[6] + embeddings[7]) / 2, "between")
    assert between.novelty < 20


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    names = ["親子丼", "smoky beetroot ramen", *map(str, range(38))]
    index = NamesIndex.build(names, cloud(40), dimensions=16)
    index.save(tmp_path)
    read = NamesIndex.load(tmp_path, 32)
    assert read is not None
    assert read.names == names
    assert read.nearest(cloud(40)[3], "x") == index.nearest(cloud(40)[3], "x")


def test_no_file_is_no_index(tmp_path: Path) -> None:
    assert NamesIndex.load(tmp_path, 32) is None


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    NamesIndex.build([str(k) for k in range(4)], cloud(4)).save(tmp_path)
    path = tmp_path / "names-index.safetensors"
    with pytest.raises(CheckpointError, match="names-index.*does not fit"):
        NamesIndex.load(tmp_path, 64)
    whole = path.read_bytes()
    for data in (b"", whole[:100], whole[:-40]):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="names-index"):
            NamesIndex.load(tmp_path, 32)


def test_an_index_has_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="two or more"):
        NamesIndex.build(["a"], cloud(2)[:1])
    monkeypatch.setattr(nearest, "MAX_BYTES", 1000)
    with pytest.raises(CheckpointError, match="leave names out"):
        NamesIndex.build([str(k) for k in range(4)], cloud(4)).save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_there_comes_first_however_it_is_read() -> None:
    index = NamesIndex.build(["Crème Brûlée", *map(str, range(39))], cloud(40))
    elsewhere = index.nearest(cloud(40)[20], "cre\u0300me bru\u0302le\u0301e")
    assert (elsewhere.names[0], elsewhere.novelty, elsewhere.exists) == (("Crème Brûlée", 0.0), 0, True)
    assert len({name for name, _ in elsewhere.names}) == 8
    assert not index.nearest(cloud(40)[0], "creme brulee").exists


def test_pictures_are_told_apart_by_their_colours_and_layout(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 250, (30, 4, 4, 3), np.uint8).repeat(2, 0)
    coarse[1::2] += 2  # two photographs a dish, nearly alike
    images = coarse.repeat(16, 1).repeat(16, 2)
    folder = make_checkpoint(tmp_path / "checkpoint")
    names = [f"dish {k // 2}" for k in range(60)]
    plain = Pipeline.load(folder, "cpu")
    assert plain.names_index is None
    write_index(folder, Photos(names, [{}] * 60, images), plain.embed)
    index = Pipeline.load(folder, "cpu").names_index
    assert index is not None
    larger = images[7].repeat(4, 0).repeat(4, 1)
    found = index.alike(np.clip(larger.astype(int) + 3, 0, 255).astype(np.uint8))
    assert found is not None
    assert found.names[0][0] == "dish 3"
    assert found.novelty < 100
    assert found.names[0][1] < 0.1 < found.names[1][1]
    assert len({name for name, _ in found.names}) == len(found.names) == 8  # each name once
    other = index.alike(np.full((256, 256, 3), (255, 0, 255), np.uint8))
    assert other is not None
    assert other.novelty == 100


def test_what_a_picture_is_like_is_said_in_japanese_where_it_is_known(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    photos = flat(["tea", "pea soup", "tomato ramen", "cake"])
    photos.translations = [{"ja": "お茶"}, {}, {"ja": "トマトラーメン"}, {}]
    write_index(folder, photos, Pipeline.load(folder, "cpu").embed)
    with (
        serve(create_app(Settings(), Pipeline.load(folder, "cpu"))) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        for language, names in (("en", set(photos.names)), ("ja", {"お茶", "pea soup", "トマトラーメン", "cake"})):
            near = client.get("/nearest", params={"name": "tea", "lang": language}).json()["by_picture"]["names"]
            assert {one["name"] for one in near} == names
            page = client.get("/dish", params={"name": "x", "nearest": 1, "lang": language}).text
            assert names <= set(re.findall("<span>([^<]+)</span>", page.partition('id="by-picture"')[2]))

    # One that knows fewer languages: photographs have the names that they had.
    path = folder / "names-index.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors["look.owners"] = tensors["look.owners"][:1].clone()
    safetensors.torch.save_file(tensors, path)
    index = NamesIndex.load(folder, 32)
    assert index is not None
    found = index.alike(photos.images[0], language="ja")
    assert found is not None and found == index.alike(photos.images[0])
    tensors["look.owners"] = tensors["look.owners"] + 4
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(CheckpointError, match="have no names"):
        NamesIndex.load(folder, 32)


def test_an_index_of_names_alone_knows_no_pictures(tmp_path: Path) -> None:
    NamesIndex.build([str(k) for k in range(40)], cloud(40)).save(tmp_path)
    index = NamesIndex.load(tmp_path, 32)
    assert index is not None
    assert index.alike(np.zeros((64, 64, 3), np.uint8)) is None


def test_of_too_many_names_those_with_most_photographs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "MAX_NAMES", 2)
    folder = make_checkpoint(tmp_path / "checkpoint")
    pipeline = Pipeline.load(folder, "cpu")
    photos = flat(["tea", "Ramen", "cake", "ramen", "cake"])
    photos.translations = [{}, {"ja": "ラーメン"}, {}, {"ja": "ラーメン"}, {"ja": "ラーメン"}]
    write_index(folder, photos, pipeline.embed)
    index = NamesIndex.load(folder, pipeline.text.embedding_dim)
    assert index is not None
    assert index.names == ["ラーメン", "Ramen"]


def test_a_checkpoint_with_an_index_tells_how_new_a_dish_is(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    before = version(folder)
    plain = Pipeline.load(folder, "cpu")
    assert write_index(folder, flat([*NAMES, "Pea Soup"]), plain.embed) == len(NAMES)
    assert version(folder) == before  # it changes no picture
    with (
        serve(create_app(Settings(), Pipeline.load(folder, "cpu"))) as url,
        httpx.Client(base_url=url, trust_env=False, headers={"Accept-Language": "en"}) as client,
    ):
        known = client.get("/dish?name=pea+soup&nearest=1").text
        assert "“pea soup” exists" in known
        assert "<span>pea soup</span>" in known
        assert 'id="nearest"' in client.get("/dish?name=pea+soup").text
    with serve(create_app(Settings(), plain)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert 'id="nearest"' not in client.get("/dish?name=pea+soup&nearest=1").text
