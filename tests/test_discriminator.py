"""The heads over the frozen features."""

import json

import pytest
import torch
from torch import Tensor

from model.features.backbone import TRAINING
from model.training.adversary import PixelAdversary
from model.training.discriminator import Heads, PixelDiscriminator

CHANNELS = (6, 8, 10, 12)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def heads(**changes: object) -> Heads:
    return Heads(**{"channels": CHANNELS, "embedding_dim": 5, "width": 8, **changes})  # type: ignore[arg-type]


def taps(batch: int = 3, side: int = 24) -> list[Tensor]:
    """As the backbone's: the side halves from tap to tap, and so does the deviation, roughly."""
    return [
        torch.randn(batch, c, side // 2**i, side // 2**i) * d
        for i, (c, d) in enumerate(zip(CHANNELS, TRAINING.deviations, strict=True))
    ]


@pytest.mark.parametrize(("side", "positions"), [(24, 9), (16, 4), (48, 36)])
def test_every_head_ends_at_the_side_of_the_last_tap(side: int, positions: int) -> None:
    network = heads()
    maps = network(taps(side=side))
    assert [m.shape for m in maps] == [(3, 8, round(positions**0.5), round(positions**0.5))] * 4
    assert network.realness(maps).shape == (3, 4 * positions)
    assert network.match(maps, torch.randn(3, 5)).shape == (3, 4 * positions)


def test_logits_are_float32_in_bfloat16_training() -> None:
    network = heads()
    with torch.autocast("cpu", torch.bfloat16):
        maps = network(taps())
        assert network.realness(maps).dtype == network.match(maps, torch.randn(3, 5)).dtype == torch.float32


def test_the_name_enters_the_match_and_nothing_else() -> None:
    network, seen = heads().eval(), taps()
    maps = network(seen)
    real = network.realness(maps)
    name = torch.randn(3, 5)
    match = network.match(maps, name)
    assert (network.match(maps, torch.randn(3, 5)) - match).abs().mean() > 1e-3
    # A projection: twice the name is twice the say, and no name is none.
    torch.testing.assert_close(network.match(maps, 2 * name), 2 * match)
    assert network.match(maps, torch.zeros(3, 5)).abs().max() == 0
    assert torch.equal(network.realness(maps), real)


def test_every_tap_has_a_say() -> None:
    network, seen = heads().eval(), taps()
    before = network.realness(network(seen))
    for i in range(4):
        changed = [t + 3 * torch.randn_like(t) if j == i else t for j, t in enumerate(seen)]
        assert not torch.allclose(network.realness(network(changed)), before)


def test_pictures_of_a_batch_are_judged_apart() -> None:
    network, seen, name = heads().eval(), taps(), torch.randn(3, 5)
    maps = network(seen)
    alone = network([t[1:2] for t in seen])
    torch.testing.assert_close(network.realness(alone), network.realness(maps)[1:2])
    torch.testing.assert_close(network.match(alone, name[1:2]), network.match(maps, name)[1:2])


def test_the_mix_is_fixed_and_saved() -> None:
    network = heads()
    mixes = {name: buffer for name, buffer in network.state_dict().items() if name.endswith("mix")}
    assert len(mixes) == 4
    assert not any(name.endswith("mix") for name, _ in network.named_parameters())
    before = {name: mix.clone() for name, mix in mixes.items()}
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    network.realness(network(taps())).mean().backward()
    optimizer.step()
    assert all(torch.equal(network.state_dict()[name], mix) for name, mix in before.items())
    other = heads()  # another draw, until it is loaded
    assert not torch.equal(other.state_dict()["heads.0.mix"], before["heads.0.mix"])
    other.load_state_dict(network.state_dict())
    seen = taps()
    assert torch.equal(other.eval().realness(other(seen)), network.eval().realness(network(seen)))


def test_mixed_features_have_about_unit_deviation_at_every_tap() -> None:
    network = heads(width=256)
    for head, tap in zip(network.heads, taps(batch=8), strict=True):
        mixed = torch.nn.functional.conv2d(tap, head.get_buffer("mix"))
        assert 0.7 < mixed.std() < 1.4


def test_weights_are_spectrally_normalised() -> None:
    network = heads()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.get_parameter("parametrizations.weight.original").mul_(50)
    for _ in range(30):  # power iterations
        maps = network(taps())
        network.realness(maps), network.match(maps, torch.randn(3, 5))
    checked = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(checked) == 3 + 2 + 1 + 0 + 4 * (1 + 3)
    for module in checked:
        assert torch.linalg.matrix_norm(module.weight.flatten(1), 2) < 1.1


def test_heads_can_be_built_again_from_their_config() -> None:
    network = heads()
    again = Heads(**json.loads(json.dumps(network.config)))
    again.load_state_dict(network.state_dict())
    assert again.config == network.config


def test_taps_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        Heads(channels=(24, 40, 112))
    with pytest.raises(RuntimeError, match="channels"):
        heads()([t[:, :-1] for t in taps()])


@pytest.mark.parametrize(("side", "positions"), [(64, 16), (96, 36)])
def test_the_pixel_discriminator_has_a_logit_a_place(side: int, positions: int) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = PixelDiscriminator(width=4)(torch.rand(2, 3, side, side))
    assert logits.shape == (2, positions) and logits.dtype == torch.float32


def test_the_pixel_adversary_learns_to_see_a_weave_and_pulls_it_out() -> None:
    adversary = PixelAdversary(PixelDiscriminator(width=8), "hinge", 1e-3, torch.device("cpu"))
    weave = torch.zeros(32, 32)
    weave[::2] = 0.6

    def smooth() -> Tensor:
        return torch.nn.functional.interpolate(torch.randn(8, 3, 4, 4) * 0.5, (32, 32), mode="bilinear")

    first = adversary.update(smooth(), smooth() + weave)
    for _ in range(60):
        last = adversary.update(smooth(), smooth() + weave)
    assert last["pixel_d_loss"] < 0.5 * first["pixel_d_loss"]
    assert last["pixel_real"] > last["pixel_fake"] + 0.5
    fakes = (smooth() + weave).requires_grad_()
    adversary.generator_loss(fakes).backward()
    assert fakes.grad is not None and (fakes.grad * weave).sum() > 0
    assert not any(parameter.requires_grad for parameter in adversary.discriminator.parameters())
