"""Pictures meet names."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.checkpoint import load_weights, save_weights
from model.data.photos import Photos
from model.features.backbone import BackboneSpec
from model.features.matching import MatchingHead, contrastive_loss, fit, image_features, name_weights


def unit(rows: int, dim: int = 16, seed: int = 0) -> Tensor:
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(x, dim=1)


def test_the_loss_is_lowest_where_each_picture_has_its_own_text() -> None:
    text = unit(8)
    matched = contrastive_loss(text, text, 20.0)
    assert matched < 0.05 < contrastive_loss(text.roll(1, 0), text, 20.0)


def test_the_loss_of_chance_is_the_log_of_the_batch() -> None:
    same_picture = torch.ones(8, 16)
    assert contrastive_loss(same_picture, same_picture, 20.0).item() == pytest.approx(math.log(8), abs=1e-4)


def test_norms_do_not_count() -> None:
    image, text = unit(8, seed=1), unit(8)
    torch.testing.assert_close(contrastive_loss(image, text, 5.0), contrastive_loss(3 * image, 16 * text, 5.0))


def test_photos_of_one_name_are_not_held_against_each_other() -> None:
    text = unit(4)[[0, 0, 1, 2]]
    same = torch.eye(4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    assert contrastive_loss(text, text, 20.0) > 0.3
    assert contrastive_loss(text, text, 20.0, same) < 0.05


def test_class_names_are_sampled_down() -> None:
    names = ["pizza"] * 100 + ["smoky beetroot ramen"]
    weights = name_weights(names)
    assert weights[:100].sum() / weights[100] == pytest.approx(10)
    assert torch.equal(name_weights(["a", "b", "c"]), torch.ones(3, dtype=torch.float64))


def test_a_head_gives_unit_vectors_and_keeps_its_standardization(tmp_path: Path) -> None:
    head = MatchingHead(features=6, embedding_dim=4, hidden=8).eval()
    features = torch.randn(50, 6) * torch.tensor([100.0, 1, 1, 1, 1, 0]) + 7
    head.standardize(features)
    out = head(features)
    assert out.isfinite().all()
    torch.testing.assert_close(out.norm(dim=1), torch.ones(50))
    save_weights(tmp_path, "matching", head)
    copy = MatchingHead(**head.config).eval()
    load_weights(tmp_path, "matching", copy)
    torch.testing.assert_close(copy(features), out, atol=0.02, rtol=0.02)


def world(dishes: int = 40, views: int = 4) -> tuple[Tensor, Tensor, list[str]]:
    """Photos whose features are a fixed linear map of their dish's embedding, and noise."""
    text = unit(dishes) * 4
    rows = torch.arange(dishes).repeat(views)
    mixing = torch.randn(16, 24, generator=torch.Generator().manual_seed(5))
    noise = 0.1 * torch.randn(len(rows), 24, generator=torch.Generator().manual_seed(6))
    return text[rows] @ mixing + noise, text[rows], [f"dish {row}" for row in rows.tolist()]


def found(head: MatchingHead, features: Tensor, text: Tensor) -> float:
    with torch.no_grad():
        scores = text @ head(features).T
    nearest = scores.argmax(1)
    return float((text[nearest] == text).all(1).float().mean())


def test_fit_finds_the_photo_of_a_name_it_has_not_seen() -> None:
    features, text, names = world()
    seen = [i for i, name in enumerate(names) if int(name.split()[1]) < 30]
    unseen = [i for i, name in enumerate(names) if int(name.split()[1]) >= 30]
    head = fit(features[seen], text[seen], [names[i] for i in seen], steps=150, hidden=32)
    assert not head.training
    assert found(head, features[unseen], text[unseen]) > 0.5  # chance is 0.1


def test_fit_repeats_and_leaves_the_global_random_state_alone() -> None:
    features, text, names = world()
    before = torch.get_rng_state()
    heads = [fit(features, text, names, steps=5, seed=3, hidden=16) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(heads[0](features), heads[1](features))


def test_fit_learns_from_views_and_from_either_language_where_there_is_one() -> None:
    features, text, names = world()
    views = torch.stack([features, features + 0.05], 1)
    languages = torch.stack([text, text.clone()], 1)
    languages[::2, 1] = torch.nan  # every other photo has no Japanese name
    head = fit(views, languages, names, steps=120, hidden=32)
    assert found(head, features, text) > 0.9


def test_fit_can_train_a_map_of_the_text_too() -> None:
    features, text, names = world()
    torch.manual_seed(0)
    linear = nn.Linear(16, 8)
    start = linear.weight.detach().clone()
    head = fit(features, text, names, steps=250, hidden=32, text_head=linear)
    assert not torch.equal(linear.weight, start)
    with torch.no_grad():
        mapped = linear(text)
    assert head(features).shape[1] == 8
    assert found(head, features, mapped) > 0.8


def test_fit_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="3 features, 2 embeddings and 3 names"):
        fit(torch.zeros(3, 4), torch.zeros(2, 4), ["a", "b", "c"])


class Eye(nn.Module):
    """A backbone for tests: the mean colour of the left and of the right half."""

    features = 6
    resolution = 8

    def __init__(self, name: str = "eye") -> None:
        super().__init__()
        self.spec = BackboneSpec(name, (), (), ())
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = 0

    def pooled(self, images: Tensor) -> Tensor:
        self.calls += 1
        half = images.shape[3] // 2
        return torch.cat([images[..., :half].mean((2, 3)), images[..., half:].mean((2, 3))], 1) * self.weight


def photos(count: int = 40) -> Photos:
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    names = [f"dish {i}" for i in range(count)]
    return Photos(images, names, [{}] * count, ["free"] * count, ["test"] * count)


def test_image_features_are_cached(tmp_path: Path) -> None:
    eye, some = Eye(), photos()
    first = image_features(some, eye, tmp_path)  # type: ignore[arg-type]
    calls = eye.calls
    again = image_features(some, eye, tmp_path)  # type: ignore[arg-type]
    assert eye.calls == calls > 0
    assert first.dtype == np.float16
    np.testing.assert_array_equal(first, again)
    expected = some.images[:, :, :4].mean((1, 2)) / 127.5 - 1
    np.testing.assert_allclose(first[:, :3], expected, atol=0.01)


def test_networks_of_one_width_do_not_share_what_is_cached(tmp_path: Path) -> None:
    one, other, some = Eye("one"), Eye("other"), photos()
    image_features(some, one, tmp_path)  # type: ignore[arg-type]
    image_features(some, other, tmp_path)  # type: ignore[arg-type]
    assert other.calls > 0


def test_views_mirror_and_recolour(tmp_path: Path) -> None:
    eye, some = Eye(), photos()
    plain, mirrored, third = (image_features(some, eye, tmp_path, view) for view in (0, 1, 2))  # type: ignore[arg-type]
    np.testing.assert_allclose(mirrored, plain[:, [3, 4, 5, 0, 1, 2]], atol=0.01)
    assert 0.01 < np.abs(third - plain).mean() < 0.5
    again = image_features(some, eye, view=2)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again, third)  # at random, but the same each time


def test_other_photos_have_other_features(tmp_path: Path) -> None:
    eye, some = Eye(), photos()
    images = some.images.copy()
    images[1] = 255 - images[1]  # one file replaced, its name kept
    other = Photos(images, some.names, some.translations, some.kinds, some.sources)
    assert not np.array_equal(image_features(some, eye, tmp_path), image_features(other, eye, tmp_path))  # type: ignore[arg-type]
