"""Dishes as they are played with: variations, mixtures, what is taken away, pieces and morphs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model import dishes
from model.dishes import Dish
from model.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> Pipeline:
    return Pipeline.load(tiny_checkpoint, "cpu")


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=-1))


def embedding(pipeline: Pipeline, **fields: object) -> torch.Tensor:
    return dishes.embeddings(pipeline, [Dish("親子丼", 7, **fields)])[0]  # type: ignore[arg-type]


def latent(pipeline: Pipeline, **fields: object) -> torch.Tensor:
    return dishes.latents(pipeline, [Dish("親子丼", 7, **fields)])[0]  # type: ignore[arg-type]


def test_a_plain_dish_is_the_pipelines_own(pipeline: Pipeline) -> None:
    assert torch.equal(embedding(pipeline), pipeline.prompts(["親子丼"])[0])
    plain = dishes.embeddings(pipeline, [Dish("親子丼", 7)], plain=True)[0]
    assert torch.equal(plain, pipeline.embed(["親子丼"])[0])
    assert torch.equal(latent(pipeline), pipeline.latents([7])[0])


def test_a_variation_is_near_its_parent_and_the_same_each_time() -> None:
    class Wide:  # a latent as wide as a real one, where strangers are orthogonal
        def latents(self, seeds: list[int]) -> torch.Tensor:
            return torch.stack([torch.randn(256, generator=torch.Generator().manual_seed(s)) for s in seeds])

    def at(seed: int, *path: int) -> torch.Tensor:
        return dishes.latents(Wide(), [Dish("x", seed, path=path)])[0]  # type: ignore[arg-type]

    parent, child, sibling, grandchild = at(7), at(7, 1), at(7, 2), at(7, 1, 2)
    assert torch.equal(child, at(7, 1))
    assert 0.75 < cosine(parent, child) < 0.95
    assert 0.75 < cosine(child, grandchild) < 0.95
    assert cosine(parent, grandchild) < cosine(parent, child)
    assert 0.5 < cosine(child, sibling) < 0.9  # sisters, not twins
    assert cosine(child - parent, grandchild - child) < 0.5
    assert cosine(at(8), at(8, 1)) < 0.95
    for z in (child, grandchild):
        assert 13 < float(z.norm()) < 19  # on the sphere that normal latents lie on


def test_weights_pull_towards_a_name_and_push_away_from_it(pipeline: Pipeline) -> None:
    egg = pipeline.embed(["卵"])[0]
    plain = cosine(embedding(pipeline), egg)
    more = [cosine(embedding(pipeline, mix=((w, "卵"),)), egg) for w in (0.5, 1.0, 2.0)]
    less = [cosine(embedding(pipeline, mix=((-w, "卵"),)), egg) for w in (0.5, 1.0, 2.0)]
    assert plain < more[0] < more[1] < more[2]
    assert plain > less[0] > less[1] > less[2]


def test_every_blend_has_the_norm_that_the_generators_know(pipeline: Pipeline) -> None:
    norm = float(pipeline.embed(["親子丼"])[0].norm())
    for fields in ({"mix": ((-1.0, "卵"),)}, {"to": "カレー", "t": 0.5}, {"mix": ((-1.0, "親子丼"),)}):
        assert float(embedding(pipeline, **fields).norm()) == pytest.approx(norm, rel=1e-4)


def test_a_dish_minus_itself_is_a_dish_without_a_name(pipeline: Pipeline) -> None:
    assert torch.equal(embedding(pipeline, mix=((-1.0, "親子丼"),)), pipeline.embed_pieces([[]])[0])


def test_pieces_that_are_off_are_not_read(pipeline: Pipeline) -> None:
    ids = pipeline.tokenizer.encode("親子丼")
    kept = "".join(pipeline.tokenizer.pieces("親子丼")[1:])
    left = pipeline.emphasize(pipeline.embed_pieces([ids[1:]]), [kept])[0]
    assert torch.equal(embedding(pipeline, off=(0,)), left)
    plain = dishes.embeddings(pipeline, [Dish("親子丼", 7, off=(0,))], plain=True)[0]
    assert torch.equal(plain, pipeline.embed_pieces([ids[1:]])[0])
    assert not torch.equal(embedding(pipeline, off=(0,)), embedding(pipeline))


def test_a_morph_goes_from_one_dish_to_the_other(pipeline: Pipeline) -> None:
    there = pipeline.embed(["カレー"])[0]
    near = [cosine(embedding(pipeline, to="カレー", t=t), there) for t in (0.0, 0.3, 0.7, 1.0)]
    assert near == sorted(near)
    assert near[-1] == pytest.approx(1, abs=1e-4)
    assert torch.equal(embedding(pipeline, to="カレー", t=0.0), embedding(pipeline))
    assert torch.allclose(latent(pipeline, to_seed=9, t=1.0), pipeline.latents([9])[0], atol=1e-5)


def test_together_or_alone_the_dishes_are_the_same(pipeline: Pipeline) -> None:
    several = [
        Dish("親子丼", 7),
        Dish("卵", 7, path=(3,), mix=((0.5, "親子丼"),)),
        Dish("カレー", 1, off=(0,), to="卵", t=0.25, to_seed=4),
    ]
    together = dishes.embeddings(pipeline, several), dishes.latents(pipeline, several)
    for k, dish in enumerate(several):
        assert torch.equal(together[0][k], dishes.embeddings(pipeline, [dish])[0])
        assert torch.equal(together[1][k], dishes.latents(pipeline, [dish])[0])


def test_the_recipe_says_everything_in_one_way() -> None:
    dish = Dish("a&b", 7, 64, (3, 1), (0, 2), ((-0.5, "egg"), (1.0, "サ")), "curry", 9, 0.4)
    assert dish.query() == (
        "name=a%26b&seed=7&path=3.1&off=0%2C2&mix=-0.5%3Aegg&mix=1%3A%E3%82%B5&to=curry&to_seed=9&t=0.4&size=64"
    )
    assert Dish("tea", 0).query() == "name=tea&seed=0"
    assert (dish.number, Dish("tea", 7).number) == ("7.3.1", "7")
    assert dish.title == "a&b − 0.5 egg + サ → curry #9 40%"
    assert Dish("tea", 0, to_seed=9, t=0.5).title == "tea → #9 50%"
    assert Dish("tea", 0, 64).plain and not dish.plain
