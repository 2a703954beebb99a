"""The losses, against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

from model.training.losses import (
    ADVERSARIAL_LOSSES,
    ALIKE,
    alike,
    auc,
    feature_distance,
    grid_penalty,
    kl_divergence,
    mismatched,
)


def test_hinge_is_content_with_a_margin_of_one() -> None:
    hinge = ADVERSARIAL_LOSSES["hinge"]
    logits = torch.tensor([-2.0, 0.0, 0.5, 3.0])
    assert hinge.real(logits) == pytest.approx((3 + 1 + 0.5 + 0) / 4)
    assert hinge.fake(logits) == pytest.approx((0 + 1 + 1.5 + 4) / 4)
    assert hinge.generator(logits) == pytest.approx(-logits.mean())


def test_auc_is_the_share_of_pairs_in_order() -> None:
    real, fake = torch.tensor([[3.0, 1.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [-1.0, 0.0], [5.0, 5.0]])
    assert auc(real, fake) == pytest.approx(3 / 6)
    assert auc(real, real - 10) == 1 and auc(real - 10, real) == 0


def test_bce_is_cross_entropy_with_the_non_saturating_generator() -> None:
    bce, logits = ADVERSARIAL_LOSSES["bce"], torch.linspace(-40, 40, 50)
    ones, zeros = torch.ones(50), torch.zeros(50)
    torch.testing.assert_close(bce.real(logits), F.binary_cross_entropy_with_logits(logits, ones))
    torch.testing.assert_close(bce.fake(logits), F.binary_cross_entropy_with_logits(logits, zeros))
    torch.testing.assert_close(bce.generator(logits), F.binary_cross_entropy_with_logits(logits, ones))


@pytest.mark.parametrize("name", ["hinge", "bce"])
def test_players_pull_logits_in_opposite_directions(name: str) -> None:
    loss = ADVERSARIAL_LOSSES[name]
    for function, sign in ((loss.real, -1), (loss.fake, 1), (loss.generator, -1)):
        logits = torch.zeros(2, 3, requires_grad=True)
        function(logits).backward()
        assert logits.grad is not None and (logits.grad.sign() == sign).all()


def test_kl_is_nothing_at_the_standard_normal_and_right_elsewhere() -> None:
    assert kl_divergence(torch.zeros(3, 4), torch.zeros(3, 4)) == 0
    mean, log_variance = torch.randn(3, 4), torch.randn(3, 4)
    there = torch.distributions.Normal(mean, (log_variance / 2).exp())
    exact = torch.distributions.kl_divergence(there, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_divergence(mean, log_variance), exact)


def test_feature_distance_weighs_maps_alike_whatever_their_scale() -> None:
    real = [torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)]
    fake = [real[0] + 1, real[1] + 2]
    assert feature_distance(fake, real, (1.0, 1.0)) == pytest.approx(1.5)
    assert feature_distance(fake, real, (1.0, 2.0)) == pytest.approx(1.0)
    assert feature_distance(real, real, (9.0, 8.0)) == 0
    assert feature_distance([real[0].bfloat16()], [real[0]], (1.0,)).dtype == torch.float32
    with pytest.raises(ValueError, match="zip"):
        feature_distance(fake, real, (1.0,))


def direction(degrees: float, norm: float = 1.0) -> list[float]:
    return [norm * math.cos(math.radians(degrees)), norm * math.sin(math.radians(degrees))]


def test_names_are_alike_by_direction_and_not_by_length() -> None:
    angle = math.degrees(math.acos(ALIKE))
    texts = torch.tensor([direction(0), direction(angle - 2, norm=16), direction(angle + 2)])
    assert alike(texts, texts).tolist() == [[True, True, False], [True, True, True], [False, True, True]]


def test_names_that_are_alike_are_no_mismatch() -> None:
    names = torch.tensor([direction(0, 3), direction(5), direction(90), direction(180), direction(200)])
    others, differ = mismatched(names)
    assert torch.equal(others, names[[4, 0, 1, 2, 3]])
    assert differ.tolist() == [True, False, True, True, False]


def test_a_batch_of_one_dish_has_no_mismatch() -> None:
    _, differ = mismatched(torch.ones(4, 2))
    assert not differ.any()


def test_a_grid_is_penalised_and_its_absence_is_not() -> None:
    torch.manual_seed(0)
    noise = 0.1 * torch.randn(16, 3, 128, 128)
    grid = torch.zeros(128)
    grid[::8] = 1.0
    woven = noise + 0.5 * (grid + grid[:, None])
    assert grid_penalty(noise) < 0.15
    assert grid_penalty(woven) > 1.0
    # A coarser pattern, which is none of an enlargement by two, is left alone.
    stripes = (torch.arange(128) * 2 * math.pi / 11).sin()
    assert grid_penalty(noise + 0.5 * stripes) < 0.3


def test_the_grid_penalty_pulls_the_grid_out() -> None:
    torch.manual_seed(0)
    grid = torch.zeros(64)
    grid[::8] = 1.0
    images = (0.1 * torch.randn(4, 3, 64, 64) + 0.5 * grid).requires_grad_()
    grid_penalty(images).backward()
    assert images.grad is not None
    assert (images.grad * grid).sum() > 0
