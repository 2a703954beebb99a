"""What the discriminator sees."""

import dataclasses

import pytest
import torch
from torch import Tensor

from model.features.augment import Augmentation, bend, crop, flip, zoom


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(batch: int = 4, side: int = 16) -> Tensor:
    return torch.rand(batch, 3, side, side) * 2 - 1


def neutral(batch: int = 4, **changes: Tensor) -> Augmentation:
    """Changes nothing but what it is told to; the hole lies outside of the picture."""
    values = {
        "brightness": torch.zeros(batch, 1, 1, 1), "saturation": torch.ones(batch, 1, 1, 1),
        "contrast": torch.ones(batch, 1, 1, 1), "shift": torch.zeros(batch, 2), "hole": torch.full((batch, 2), 9.0),
    }  # fmt: skip
    return Augmentation(**{**values, **changes})


def test_a_draw_lies_within_the_papers_strengths() -> None:
    draw = Augmentation.draw(2000)
    for name, low, high in [("brightness", -0.5, 0.5), ("saturation", 0.0, 2.0), ("contrast", 0.5, 1.5),
                            ("shift", -0.125, 0.125), ("hole", 0.0, 1.0)]:  # fmt: skip
        values = getattr(draw, name)
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high >= values.max() > high - 0.02 * (high - low)
    assert draw.brightness.shape == (2000, 1, 1, 1) and draw.shift.shape == (2000, 2)


def test_a_share_of_the_pictures_is_augmented_and_the_others_stay_as_they_are() -> None:
    x = images(400)
    same = (Augmentation.draw(400, share=0.25).apply(x) - x).abs().amax((1, 2, 3)) < 1e-5
    assert 0.65 < same.float().mean() < 0.85
    torch.testing.assert_close(Augmentation.draw(400, share=0.0).apply(x), x)


def test_a_draw_follows_from_the_seed() -> None:
    torch.manual_seed(3)
    first = Augmentation.draw(4)
    torch.manual_seed(3)
    second = Augmentation.draw(4)
    assert all(torch.equal(a, b) for a, b in zip(dataclasses.astuple(first), dataclasses.astuple(second), strict=True))


def test_neutral_values_change_nothing() -> None:
    x = images()
    torch.testing.assert_close(neutral().apply(x), x)


def test_one_draw_is_one_change() -> None:
    x, draw = images(), Augmentation.draw(4)
    changed = draw.apply(x)
    assert changed.shape == x.shape and changed.dtype == x.dtype
    assert torch.equal(draw.apply(x.clone()), changed)
    assert not torch.equal(Augmentation.draw(4).apply(x), changed)
    # Each picture has its own.
    same = draw.apply(x[:1].expand(4, -1, -1, -1))
    assert len({tuple(picture.flatten().tolist()) for picture in same}) == 4


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (2, 3, 96, 96), (2, 3, 12, 20)])
def test_any_size_keeps_its_shape(shape: tuple[int, ...]) -> None:
    assert Augmentation.draw(2).apply(torch.zeros(shape)).shape == shape


def test_it_is_differentiable_in_the_pictures() -> None:
    x = images().double().requires_grad_()
    draw = Augmentation.draw(4)
    draw = Augmentation(*(value.double() for value in dataclasses.astuple(draw)))
    assert torch.autograd.gradcheck(draw.apply, x[:, :, :6, :6].detach().requires_grad_())
    draw.apply(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_brightness_adds_to_every_channel() -> None:
    x, amount = images(), torch.tensor([-0.5, 0, 0.25, 0.5])[:, None, None, None]
    torch.testing.assert_close(neutral(brightness=amount).colour(x), x + amount)


def test_saturation_scales_what_sets_a_pixel_apart_from_its_grey() -> None:
    x = images()
    grey = x.mean(1, keepdim=True)
    for amount in (0.0, 0.5, 2.0):
        torch.testing.assert_close(
            neutral(saturation=torch.full((4, 1, 1, 1), amount)).colour(x), grey + amount * (x - grey)
        )


def test_contrast_scales_what_sets_a_pixel_apart_from_its_picture() -> None:
    x = images()
    for amount in (0.5, 1.5):
        changed = neutral(contrast=torch.full((4, 1, 1, 1), amount)).colour(x)
        torch.testing.assert_close(changed.mean((1, 2, 3)), x.mean((1, 2, 3)))
        torch.testing.assert_close(changed.std((1, 2, 3)), amount * x.std((1, 2, 3)))


def test_colour_moves_no_pixel() -> None:
    draw = Augmentation.draw(1)
    x = torch.zeros(1, 3, 16, 16)
    x[:, :, 5, 7] = 1
    changed = draw.colour(x)
    different = (changed - changed[:, :, :1, :1]).abs().sum(1)[0] > 1e-6
    assert different.nonzero().tolist() == [[5, 7]]


def test_what_moves_in_is_grey() -> None:
    x = images(2, 16)
    moved = neutral(2, shift=torch.tensor([[0.125, 0.0], [0.0, -0.125]])).apply(x)
    # By an eighth of the side, that is two pixels: the first up, the second to the right.
    torch.testing.assert_close(moved[0, :, :14], x[0, :, 2:])
    assert moved[0, :, 14:].abs().max() == 0
    torch.testing.assert_close(moved[1, :, :, 2:], x[1, :, :, :14])
    assert moved[1, :, :, :2].abs().max() == 0


def test_a_shift_is_a_share_of_the_side_whatever_the_side() -> None:
    draw = neutral(1, shift=torch.tensor([[0.125, 0.125]]))
    for side in (16, 64, 96):
        assert (draw.apply(torch.ones(1, 3, side, side)) == 0).any(1).sum() == side**2 - (side - side // 8) ** 2


def test_the_hole_is_grey_and_measures_half_a_side() -> None:
    x = images(2, 16) + 5
    cut = neutral(2, hole=torch.tensor([[0.5, 0.5], [0.0, 1.0]])).apply(x)
    assert (cut[0] == 0).all(0).nonzero().tolist() == [[i, j] for i in range(4, 12) for j in range(4, 12)]
    assert (cut[1] == 0).all(0).nonzero().tolist() == [[i, j] for i in range(4) for j in range(12, 16)]
    torch.testing.assert_close(cut[0, :, :4], x[0, :, :4])


def test_flip_mirrors_each_picture_or_leaves_it() -> None:
    x = images(64)
    flipped = flip(x)
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True)]
    left = [torch.equal(a, b) for a, b in zip(flipped, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, left, strict=True))
    assert 16 < sum(mirrored) < 48


def test_crop_cuts_windows_where_it_is_told_to() -> None:
    x = images(4, 16)
    corners = torch.tensor([[0.0, 0.0], [0.999, 0.999], [0.0, 0.999], [1.0, 0.5]])
    windows = crop(x, 10, corners)
    assert windows.shape == (4, 3, 10, 10)
    assert torch.equal(windows[0], x[0, :, :10, :10])
    assert torch.equal(windows[1], x[1, :, 6:, 6:])
    assert torch.equal(windows[2], x[2, :, :10, 6:])
    assert torch.equal(windows[3], x[3, :, 6:, 3:13])


def test_crop_reaches_every_place_and_lets_gradients_through() -> None:
    x = torch.zeros(500, 3, 12, 12, requires_grad=True)
    crop(x, 10, torch.rand(500, 2)).sum().backward()
    assert x.grad is not None
    firsts = {tuple(g[0].nonzero()[0].tolist()) for g in x.grad}
    assert firsts == {(i, j) for i in range(3) for j in range(3)}


def test_zoom_of_everything_is_the_picture_and_a_corner_is_that_corner() -> None:
    x = images(2, 16)
    torch.testing.assert_close(zoom(x, 16, torch.ones(2), torch.rand(2, 2)), x)
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]])  # columns, then rows
    seen = zoom(x, 8, torch.full((2,), 0.5), corners)
    torch.testing.assert_close(seen, torch.stack([x[0, :, :8, :8], x[1, :, 8:, 8:]]))


def test_zoom_enlarges_smoothly_and_lets_gradients_through() -> None:
    x = images(3, 16).requires_grad_()
    seen = zoom(x, 32, torch.tensor([0.4, 0.7, 1.0]), torch.rand(3, 2))
    assert seen.shape == (3, 3, 32, 32) and seen.abs().max() <= 1
    seen.sum().backward()
    assert x.grad is not None and x.grad[2].abs().min() > 0
    assert (x.grad[0] == 0).any()


# ---- bending ----------------------------------------------------------------------------------------------


def rings(batch: int) -> Tensor:
    """(B, 3, 64, 64): bright discs on dark ground."""
    across = (torch.arange(64) + 0.5) / 32 - 1
    disc = (across.square() + across[:, None].square()).sqrt() < 0.8
    return (disc * 1.6 - 0.8).expand(batch, 3, -1, -1)


def test_rims_are_bent_each_in_its_own_way() -> None:
    bent = bend(rings(30))
    assert bent.shape == (30, 3, 64, 64) and bent.abs().max() <= 1
    moved = ((bent > 0) != (rings(30) > 0)).float().mean((1, 2, 3))
    assert moved.min() > 0.002 and 0.01 < moved.mean() < 0.15
    assert len({tuple(picture.flatten().tolist()) for picture in bent}) == 30


def test_bending_leaves_colours_as_they_are() -> None:
    even = torch.tensor([-0.5, 0.0, 0.8]).view(1, 3, 1, 1).expand(4, -1, 64, 64)
    torch.testing.assert_close(bend(even), even)
