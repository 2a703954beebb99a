import pytest
import torch

from model.training.families import FAMILIES, OTHER, family, photo_weights


def of(word: str) -> int:
    return next(i for i, words in enumerate(FAMILIES) if word in words)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("smoky beetroot ramen", "ramen"),
        ("chicken noodle soup with rice", "soup"),
        ("Cheeseburger Sliders", "sliders"),
        ("crab cakes", "crab.cakes"),
        ("red velvet cupcakes", "tiramisu"),
        ("sushi", "nigiri"),
        ("doughnuts", "beignets"),
        ("tuna salad on toast", "salad"),
    ],
)
def test_the_last_word_decides_to_which_family_a_dish_belongs(name: str, word: str) -> None:
    assert family(name) == of(word)


def test_a_dish_of_no_family_is_among_the_others() -> None:
    assert family("escargots") == family("親子丼") == OTHER


def test_rare_forms_are_shown_more_often_than_there_are_photographs_of_them() -> None:
    names = [f"vegetable {i} soup" for i in range(400)] + [f"tuna {i} sushi" for i in range(4)]
    weights = photo_weights(names)
    assert weights.shape == (404,) and weights.dtype == torch.float64
    share = float(weights[400:].sum() / weights.sum())
    assert 5 * 4 / 404 < share < 0.5
    assert torch.allclose(weights[:400], weights[0].expand(400))


def test_one_name_of_many_photographs_does_not_outweigh_many_names() -> None:
    weights = photo_weights(["miso soup"] * 256 + [f"vegetable {i} soup" for i in range(64)])
    assert float(weights[:256].sum() / weights[256:].sum()) == pytest.approx(1.0)
