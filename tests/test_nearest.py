"""The index of the training names: what is near, what is new, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import torch

from app.server import create_app
from app.settings import Settings
from model import nearest
from model.checkpoint import CheckpointError, version
from model.generation import Pipeline
from model.nearest import NamesIndex, write_index
from tests.conftest import NAMES, make_checkpoint
from tests.serving import serve


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
    assert found.novelty == 0
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


def test_a_checkpoint_with_an_index_tells_how_new_a_dish_is(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    before = version(folder)
    plain = Pipeline.load(folder, "cpu")
    assert write_index(folder, [*NAMES, "Pea Soup"], plain.embed) == len(NAMES)
    assert version(folder) == before  # it changes no picture
    with (
        serve(create_app(Settings(), Pipeline.load(folder, "cpu"))) as url,
        httpx.Client(base_url=url, trust_env=False, headers={"Accept-Language": "en"}) as client,
    ):
        known = client.get("/dish?name=pea+soup&nearest=1").text
        assert "0% new" in known
        assert "<span>pea soup</span>" in known
        assert 'id="nearest"' in client.get("/dish?name=pea+soup").text
    with serve(create_app(Settings(), plain)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert 'id="nearest"' not in client.get("/dish?name=pea+soup&nearest=1").text
