"""The generators: what goes in, what comes out, and what each input changes."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from model.generators import (
    ConditioningAugmentation,
    SpatialForms,
    Stage1Generator,
    Stage2Generator,
    upsample,
)

SIZES: dict[str, Any] = {"embedding_dim": 12, "z_dim": 6, "condition_dim": 4, "style_dim": 16}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def stage1(**changes: Any) -> Stage1Generator:
    return Stage1Generator(**({**SIZES, "channels": (16, 16, 16, 16, 16)} | changes)).eval()


def stage2(**changes: Any) -> Stage2Generator:
    generator = Stage2Generator(**({**SIZES, "channels": (16, 16, 16), "depth": 1} | changes))
    torch.nn.init.normal_(generator.to_rgb.weight, std=0.1)  # from its start it would only enlarge
    return generator.eval()


def inputs(batch: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 12), torch.randn(batch, 10)


def sketches(batch: int = 3) -> Tensor:
    return torch.rand(batch, 3, 64, 64) * 2 - 1


def test_stage1_paints_sketches_within_range() -> None:
    generator = stage1()
    for factor in (1, 100):  # far outside of what training sees, too
        embedding, latent = inputs()
        picture = generator(embedding * factor, latent * factor)
        assert picture.shape == (3, 3, 64, 64)
        assert picture.dtype == torch.float32
        assert picture.abs().max() <= 1
        assert picture.std() > 0


def test_stage2_paints_pictures_within_range() -> None:
    generator = stage2()
    torch.nn.init.normal_(generator.to_rgb.weight, std=10)
    picture = generator(sketches(), *inputs())
    assert picture.shape == (3, 3, 256, 256)
    assert picture.dtype == torch.float32
    assert picture.abs().max() == 1


@pytest.mark.parametrize("sample", [
    lambda e, z, s: stage1()(e, z),
    lambda e, z, s: stage2()(s, e, z),
], ids=["stage1", "stage2"])  # fmt: skip
def test_pictures_are_float32_in_bfloat16_training(sample) -> None:  # type: ignore[no-untyped-def]
    with torch.autocast("cpu", torch.bfloat16):
        picture = sample(*inputs(), sketches())
    assert picture.dtype == torch.float32
    assert picture.isfinite().all()


def test_name_and_latent_both_change_the_sketch() -> None:
    generator, (embedding, latent) = stage1(), inputs(1)
    plain = generator(embedding, latent)
    other_name, other_latent = inputs(1)
    assert (generator(other_name, latent) - plain).abs().mean() > 0.01
    assert (generator(embedding, other_latent) - plain).abs().mean() > 0.01
    assert torch.equal(generator(embedding, latent), plain)


def test_forms_begin_as_centred_discs_and_half_planes_and_follow_the_style() -> None:
    forms = SpatialForms(channels=6, size=32, style_dim=4, forms=5)
    forms.add.weight.data[:, :6] = torch.eye(6)[..., None, None]  # a channel each, the last of noise
    maps = forms(torch.zeros(1, 4))[0]
    assert maps.shape == (6, 32, 32)
    small, large = maps[0] > 0, maps[1] > 0
    assert 0 < small.sum() < large.sum() < small.numel()
    assert torch.equal(small, small.flip(0)) and torch.equal(small, small.T)
    assert all(maps[i].mean().abs() < 1e-4 for i in (2, 3, 4))  # as much on this side as on that
    torch.testing.assert_close(maps[5], forms.noise[0])
    moved = forms(torch.randn(1, 4))[0]
    assert all((moved[i] - maps[i]).abs().max() > 0.01 for i in range(6))


def test_a_generator_with_forms_is_a_function_of_name_and_latent_alone() -> None:
    generator, (embedding, latent) = stage1(forms=4), inputs()
    for parameter in generator.parameter_group("forms"):
        torch.nn.init.normal_(parameter)
    pictures = generator(embedding, latent)
    assert (pictures - stage1()(embedding, latent)).abs().mean() > 0.01
    assert torch.equal(generator(embedding, latent), pictures)
    torch.testing.assert_close(generator(embedding[1:2], latent[1:2]), pictures[1:2], rtol=0, atol=1e-5)
    assert {id(p) for p in generator.parameter_group("forms")} == {id(p) for p in generator.forms.parameters()}
    assert Stage1Generator(**generator.config).load_state_dict(generator.state_dict())


def test_smooth_colour_keeps_the_luma_and_takes_the_fringes() -> None:
    rough, (embedding, latent) = stage1(), inputs()
    torch.nn.init.normal_(rough.to_rgb.weight, std=0.3)
    smooth = Stage1Generator(**rough.config, smooth_colour=True)
    smooth.load_state_dict(rough.state_dict())
    before, after = rough(embedding, latent), smooth(embedding, latent)

    def luma(x: Tensor) -> Tensor:
        return torch.einsum("bchw,c->bhw", x, torch.tensor([0.299, 0.587, 0.114]))

    def roughness(x: Tensor) -> float:
        colour = x - luma(x)[:, None]
        return (colour[..., 1:] - colour[..., :-1]).abs().mean().item()

    inside = after.abs().amax(1) < 1
    torch.testing.assert_close(luma(after)[inside], luma(before)[inside], rtol=0, atol=1e-5)
    assert roughness(after) < 0.6 * roughness(before)
    assert smooth.config["smooth_colour"] is True and "smooth_colour" not in rough.config


def test_levels_stretch_what_is_dull_and_leave_the_rest() -> None:
    torch.manual_seed(0)
    dull, (embedding, latent) = stage1(), inputs(2)
    torch.nn.init.normal_(dull.to_rgb.weight, std=0.02)
    stretched = Stage1Generator(**dull.config, levels=True)
    stretched.load_state_dict(dull.state_dict())
    before, after = dull(embedding, latent), stretched(embedding, latent)
    spread = after.std((1, 2, 3)) / before.std((1, 2, 3))
    assert (spread > 1.35).all() and (spread < 1.41).all()  # as far as it may
    torch.testing.assert_close(stretched.render(stretched.condition(embedding, latent)[0]), before)  # training sees it
    assert stretched.config["levels"] is True and "levels" not in dull.config

    torch.nn.init.normal_(dull.to_rgb.weight, std=2.0)
    stretched.load_state_dict(dull.state_dict())
    torch.testing.assert_close(stretched(embedding, latent), dull(embedding, latent))


def test_levels_do_not_choke_on_an_even_sketch() -> None:
    even, (embedding, latent) = stage1(), inputs(1)
    for parameter in even.to_rgb.parameters():
        torch.nn.init.constant_(parameter, 0.0)
    levelled = Stage1Generator(**even.config, levels=True)
    levelled.load_state_dict(even.state_dict())
    torch.testing.assert_close(levelled(embedding, latent), even(embedding, latent))


def test_a_crisp_picture_has_more_detail_and_no_more_of_a_grid() -> None:
    soft, (embedding, latent), sketch = stage2(), inputs(), 0.3 * sketches()
    torch.nn.init.normal_(soft.to_rgb.weight, std=0.02)  # so that nothing is clipped
    crisp = Stage2Generator(**soft.config, crisp=True)
    crisp.load_state_dict(soft.state_dict())
    before, after = (generator(sketch, embedding, latent) - upsample(sketch) for generator in (soft, crisp))

    def power(x: Tensor, row: slice) -> float:
        window = torch.hann_window(256)
        return torch.fft.fft2(window[:, None] * window * x)[..., row, :8].abs().square().mean().item()

    middle, highest = slice(60, 68), slice(128, 129)
    assert power(after, middle) > 2 * power(before, middle)
    assert power(after, highest) < 1e-3 * power(after, middle)
    torch.testing.assert_close(after.mean((2, 3)), before.mean((2, 3)), rtol=0, atol=1e-2)
    assert crisp.config["crisp"] is True and "crisp" not in soft.config


def test_sketch_name_and_latent_all_change_the_picture() -> None:
    generator, (embedding, latent), sketch = stage2(), inputs(1), sketches(1)
    plain = generator(sketch, embedding, latent)
    other_name, other_latent = inputs(1)
    assert (generator(sketches(1), embedding, latent) - plain).abs().mean() > 0.01
    assert (generator(sketch, other_name, latent) - plain).abs().mean() > 0.001
    assert (generator(sketch, embedding, other_latent) - plain).abs().mean() > 0.001


def test_every_block_listens_to_name_and_latent() -> None:
    for generator in (stage1(), stage2()):
        style = generator.style(generator.condition(*inputs(2))[0])
        affines = [m for m in generator.modules() if type(m).__name__ == "Affine"]
        assert len(affines) == 2 * (5 if isinstance(generator, Stage1Generator) else 3) + 1
        for affine in affines:
            assert isinstance(affine.norm, torch.nn.GroupNorm)
            out = affine(torch.randn(1, affine.norm.num_channels, 4, 4).expand(2, -1, -1, -1), style)
            assert not torch.allclose(out[0], out[1])


def test_stage2_begins_as_the_enlarged_sketch() -> None:
    generator = Stage2Generator(**SIZES, channels=(16, 16, 16), depth=1)
    sketch = sketches()
    assert (generator(sketch, *inputs()) - upsample(sketch)).abs().max() < 0.1


def test_upsample_keeps_flat_colours_and_range() -> None:
    flat = torch.full((1, 3, 64, 64), 0.25)
    torch.testing.assert_close(upsample(flat), torch.full((1, 3, 256, 256), 0.25))
    assert upsample(sketches().sign()).abs().max() == 1


def test_a_condition_is_z_beside_a_draw_around_the_mean() -> None:
    generator = stage1()
    embedding, latent = inputs()
    condition, mean, log_variance = generator.condition(embedding, latent)
    assert generator.latent_dim == 10
    assert torch.equal(condition[:, :6], latent[:, :6])
    torch.testing.assert_close(condition[:, 6:], mean + (log_variance / 2).exp() * latent[:, 6:])


def test_sigma_begins_small_and_may_be_anything_within_its_clamp() -> None:
    augmentation = ConditioningAugmentation(12, 64)
    mean, log_variance = augmentation(torch.randn(50, 12))
    assert mean.shape == log_variance.shape == (50, 64)
    sigma = (log_variance / 2).exp()
    assert 0.1 < sigma.mean() < 0.4
    assert (mean < 0).any()  # the original's ReLU would not let it
    _, extreme = augmentation(1e4 * torch.randn(50, 12))
    assert extreme.min() == -8 and extreme.max() == 2


def test_the_mean_of_the_condition_depends_on_the_name_alone() -> None:
    generator = stage1()
    embedding, latent = inputs()
    _, mean, log_variance = generator.condition(embedding, latent)
    again = generator.condition(embedding, torch.zeros_like(latent))
    assert torch.equal(again[1], mean) and torch.equal(again[2], log_variance)
    torch.testing.assert_close(again[0][:, 6:], mean)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    for generator in (stage1().train(), stage2().train()):  # in training, too: there is no BatchNorm
        embedding, latent, sketch = *inputs(4), sketches(4)
        arguments = (embedding, latent) if isinstance(generator, Stage1Generator) else (sketch, embedding, latent)
        together = generator(*arguments)
        alone = torch.cat([generator(*(a[i : i + 1] for a in arguments)) for i in range(4)])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_a_network_can_be_built_again_from_its_config() -> None:
    for generator in (stage1(), stage1(channels=[32, 16, 16, 16, 8]), stage2(), stage2(depth=2)):
        config = json.loads(json.dumps(generator.config))
        again = type(generator)(**config).eval()
        assert again.config == generator.config
        again.load_state_dict(generator.state_dict())
        arguments = inputs(1) if isinstance(generator, Stage1Generator) else (sketches(1), *inputs(1))
        assert torch.equal(again(*arguments), generator(*arguments))


@pytest.mark.parametrize("channels", [(16, 16, 16, 16), (16,) * 6, ()])
def test_stage1_needs_five_widths(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="channels"):
        stage1(channels=channels)


@pytest.mark.parametrize("channels", [(16, 16), (16,) * 4])
def test_stage2_needs_three_widths(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="channels"):
        stage2(channels=channels)


def test_a_width_that_normalisation_cannot_group_is_refused() -> None:
    with pytest.raises(ValueError, match="divisible"):
        stage1(channels=(16, 16, 16, 16, 35))


def test_gradients_reach_every_weight() -> None:
    for generator in (stage1(), stage2()):
        arguments = inputs() if isinstance(generator, Stage1Generator) else (sketches(), *inputs())
        generator(*arguments).square().mean().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())
