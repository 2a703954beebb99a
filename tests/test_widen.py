"""Widening a trained generator."""

from typing import Any

import pytest
import torch

from model.generators import Stage1Generator, Stage2Generator
from model.training.widen import add_forms, widen

SIZES: dict[str, Any] = {"embedding_dim": 12, "z_dim": 6, "condition_dim": 4, "style_dim": 16}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def stage1() -> Stage1Generator:
    return Stage1Generator(**SIZES, channels=(16, 48, 16, 32, 16))


def stage2() -> Stage2Generator:
    generator = Stage2Generator(**SIZES, channels=(16, 32, 16), depth=1)
    torch.nn.init.normal_(generator.to_rgb.weight, std=0.1)  # from its start it would only enlarge
    return generator


def sketches() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64) * 2 - 1


@torch.no_grad()
@pytest.mark.parametrize(("narrow", "channels", "inputs"), [
    (stage1, (16, 64, 32, 48, 32), lambda: (torch.randn(3, 12), torch.randn(3, 10))),
    (stage2, (32, 48, 32), lambda: (sketches(), torch.randn(3, 12), torch.randn(3, 10))),
], ids=["stage1", "stage2"])  # fmt: skip
def test_a_wider_generator_paints_the_same_pictures_and_learns_with_what_is_new(narrow, channels, inputs) -> None:  # type: ignore[no-untyped-def]
    before, given = narrow(), inputs()
    after = widen(before, channels)
    assert after.config["channels"] == list(channels)
    pictures = before(*given)
    assert pictures.std() > 0.01
    torch.testing.assert_close(after(*given), pictures, rtol=0, atol=1e-5)

    with torch.enable_grad():
        after(*given).square().mean().backward()
    silent = after.to_rgb.weight[:, narrow().to_rgb.weight.shape[1] :]
    assert silent.abs().max() == 0 and after.to_rgb.weight.grad[:, -silent.shape[1] :].abs().min() > 0


@torch.no_grad()
def test_spatial_forms_change_no_picture_until_they_are_trained_and_wait_for_no_channel() -> None:
    before, given = stage1(), (torch.randn(3, 12), torch.randn(3, 10))
    after = add_forms(before, 4)
    assert torch.equal(after(*given), before(*given))
    assert add_forms(after, 6) is after and add_forms(before, 0) is before

    with torch.enable_grad():
        after(*given).square().mean().backward()
    added = [parameter for parameter in after.parameter_group("forms") if parameter.dim() == 4]
    assert len(added) == 5
    for weight in added:
        assert weight.grad is not None and weight.grad.abs().min() > 0
        torch.nn.init.normal_(weight, std=0.1)
    wider = widen(after, (16, 64, 32, 48, 32))
    torch.testing.assert_close(wider(*given), after(*given), rtol=0, atol=1e-5)


def test_nothing_is_made_narrower_and_no_group_is_torn() -> None:
    before = stage1()
    assert widen(before, (16, 16, 16, 16, 16)) is before
    assert widen(before, (32, 16, 16, 16, 16)).config["channels"] == [32, 48, 16, 32, 16]
    with pytest.raises(ValueError, match="16 channels cannot grow"):
        widen(before, (24, 48, 16, 32, 16))
    with pytest.raises(ValueError, match="equally wide"):
        widen(before, (48, 48, 16, 32, 16))
