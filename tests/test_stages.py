"""One step of every stage: what moves, what does not, and what a loss has to say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.features.matching import MatchingHead
from model.generators import Stage1Generator, Stage2Generator
from model.training import baselines, stage1, stage2
from model.training.adversary import Adversary, DiscriminatorConfig
from model.training.baselines import Baseline, BaselineDiscriminator, BaselineGenerator
from model.training.discriminator import Heads, PixelDiscriminator
from model.training.gradient_balancer import GradientBalancer
from model.training.stage import Stage, ramp, update_ema
from model.training.stage1 import LatentEncoder, Stage1
from model.training.stage2 import Stage2, degrade
from model.training.text_match import TextMatchLoss
from tests.training import CPU, EMBEDDING, backbone

LATENT: dict[str, Any] = {"embedding_dim": EMBEDDING, "z_dim": 8, "condition_dim": 8, "style_dim": 16}
BATCH = 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def heads() -> Heads:
    return Heads(embedding_dim=EMBEDDING, width=8)


def matching() -> MatchingHead:
    return MatchingHead(features=backbone().features, embedding_dim=EMBEDDING, hidden=16)


def first() -> Stage1Generator:
    return Stage1Generator(**LATENT, channels=(16, 16, 16, 16, 16))


def make_stage1(config: stage1.Stage1Config | None = None, generator: Stage1Generator | None = None) -> Stage1:
    config = config or stage1.Stage1Config()
    return Stage1(
        generator or first(), heads(), PixelDiscriminator(width=4), LatentEncoder(z_dim=8), backbone(), matching(),
        config, CPU, False,
    )  # fmt: skip


def make_stage2(config: stage2.Stage2Config | None = None) -> Stage2:
    generator = Stage2Generator(**LATENT, channels=(16, 16, 16), depth=1)
    config = config or stage2.Stage2Config()
    return Stage2(
        generator, heads(), heads(), PixelDiscriminator(width=4), first(), backbone(), matching(), config, CPU, False
    )


def make_baseline(conditional: bool) -> Baseline:
    generator = BaselineGenerator(embedding_dim=EMBEDDING, conditional=conditional)
    discriminator = BaselineDiscriminator(embedding_dim=EMBEDDING, conditional=conditional)
    config = baselines.BaselineConfig(conditional=conditional)
    return Baseline(generator, discriminator, config, CPU, False)


def photographs(size: int, batch: int = BATCH) -> Tensor:
    return F.interpolate(torch.rand(batch, 3, 8, 8) * 2 - 1, (size, size))


def embeddings(count: int) -> Tensor:
    return F.normalize(torch.randn(count, EMBEDDING), dim=1) * EMBEDDING**0.5


def step(stage: Stage, kimg: float = 50.0) -> dict[str, Tensor]:
    photos, names = photographs(stage.size), embeddings(BATCH)
    return stage.step(photos, names, embeddings(BATCH - BATCH // 2), kimg)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before: dict[str, Tensor], module: nn.Module) -> bool:
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


STAGES: dict[str, Callable[[], Stage]] = {
    "stage1": make_stage1,
    "stage2": make_stage2,
    "stackgan-v1": lambda: make_baseline(True),
    "dcgan": lambda: make_baseline(False),
}
each_stage = pytest.mark.parametrize("make", STAGES.values(), ids=STAGES)


# ---- every stage -------------------------------------------------------------------------------------------


@each_stage
def test_a_step_moves_every_network_and_tells_how_it_went(make: Callable[[], Stage]) -> None:
    stage = make()
    before = {name: weights(module) for name, module in stage.modules().items()}
    for _ in range(2):
        stats = step(stage)
    for name, module in stage.modules().items():
        assert moved(before[name], module), name
    assert {"d_loss", "g_loss", "kl", "real", "fake", "spread"} <= stats.keys()
    for name, value in stats.items():
        assert value.shape == () and value.isfinite() and not value.requires_grad, name


@each_stage
def test_a_step_follows_from_the_seed(make: Callable[[], Stage]) -> None:
    ends = []
    for _ in range(2):
        torch.manual_seed(5)
        stage = make()
        torch.manual_seed(6)
        step(stage)
        ends.append(weights(stage.modules()["generator"]))
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@each_stage
def test_the_average_paints_and_every_network_that_ships_can_be_built_again(make: Callable[[], Stage]) -> None:
    stage = make()
    embedding, latent = embeddings(2), torch.randn(2, stage.latent_dim)
    picture = stage.sample(embedding, latent)
    assert picture.shape == (2, 3, stage.size, stage.size) and picture.abs().max() <= 1
    with torch.no_grad():  # it is the average that is sampled from
        for parameter in stage.modules()["generator"].parameters():
            parameter.zero_()
    torch.testing.assert_close(stage.sample(embedding, latent), picture)
    for module in stage.shipped().values():
        assert isinstance(module.config, dict)
        again = type(module)(**module.config)
        again.load_state_dict(module.state_dict())


@pytest.mark.parametrize(("name", "watched"), [("stage1", "colour"), ("stage2", "pixels"), ("dcgan", "d_loss")])
def test_a_loss_that_is_pulled_at_gives_way(name: str, watched: str) -> None:
    stage = STAGES[name]()
    photos, names, imagined = photographs(stage.size), embeddings(BATCH), embeddings(BATCH // 2)
    losses = []
    for _ in range(6):
        torch.manual_seed(1)  # one augmentation, one latent: noise would hide so small a step
        losses.append(float(stage.step(photos, names, imagined, 0.0)[watched]))
    assert losses[-1] < losses[0]


def test_frozen_networks_stay_as_they_are() -> None:
    one, two = make_stage1(), make_stage2()
    frozen = [(m, weights(m)) for m in (one.backbone, one.text_match.matching, two.text_match.matching, two.stage1)]
    step(one), step(two)
    for module, before in frozen:
        assert not moved(before, module)
        assert not module.training and not any(p.requires_grad or p.grad is not None for p in module.parameters())


def test_frozen_heads_are_those_over_the_finest_taps() -> None:
    stage = make_stage1(stage1.Stage1Config(discriminator=DiscriminatorConfig(frozen=2)))
    before = [[p.clone() for p in head.parameters()] for head in stage.adversary.heads.heads]
    step(stage)
    stayed = [
        all(torch.equal(a, b) for a, b in zip(old, head.parameters(), strict=True))
        for old, head in zip(before, stage.adversary.heads.heads, strict=True)
    ]
    assert stayed == [True, True, False, False]


def test_one_picture_for_every_name_is_seen_in_the_spread() -> None:
    generator = first()
    nn.init.zeros_(generator.to_rgb.weight)
    narrow, wide = step(make_stage1(generator=generator)), step(make_stage1())
    assert narrow["spread"] < 1e-6
    assert wide["spread"] > 0.05


# ---- stage 1 ----------------------------------------------------------------------------------------------


def test_stage1_reconstructs_photographs_and_imagines_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage1()
    seen: list[tuple[Tensor, Tensor]] = []
    condition = stage.generator.condition

    def conditioning(embedding: Tensor, latent: Tensor) -> tuple[Tensor, ...]:
        seen.append((embedding, latent))
        return condition(embedding, latent)

    drawn: list[Tensor] = []
    draw = stage.encoder.draw

    def drawing(images: Tensor) -> tuple[Tensor, ...]:
        drawn.append(images)
        return draw(images)

    monkeypatch.setattr(stage.generator, "condition", conditioning)
    monkeypatch.setattr(stage.encoder, "draw", drawing)
    photos, names, imagined = photographs(64), embeddings(BATCH), embeddings(BATCH // 2)
    stage.step(photos, names, imagined, 1.0)
    texts, latent = seen[0]
    assert torch.equal(texts, torch.cat([names[: BATCH // 2], imagined]))
    assert latent.shape == (BATCH, stage.latent_dim)
    assert torch.equal(drawn[0], photos[: BATCH // 2])


def test_stage1_without_an_adversary_still_hears_the_other_losses() -> None:
    stage = make_stage1(stage1.Stage1Config(enter=(5.0, 6.0)))
    before = weights(stage.generator)
    step(stage, kimg=1.0)
    assert moved(before, stage.generator)
    assert "g_loss" not in stage.balancer.state_dict()["pulls"]
    step(stage, kimg=7.0)
    assert "g_loss" in stage.balancer.state_dict()["pulls"]


def test_a_latent_of_a_photograph_is_drawn_around_its_mean() -> None:
    encoder = LatentEncoder(z_dim=4)
    z, mean, log_variance = encoder.draw(photographs(64, 1).expand(800, -1, -1, -1))
    assert z.shape == mean.shape == log_variance.shape == (800, 4)
    deviation = ((z - mean) / (log_variance / 2).exp()).flatten()
    assert abs(deviation.mean()) < 0.1 and 0.9 < deviation.std() < 1.1


# ---- stage 2 ----------------------------------------------------------------------------------------------


def test_stage2_starts_with_pairs_and_mixes_sketches_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage2(stage2.Stage2Config(pairs_only=10.0))
    calls: list[Tensor] = []
    stage.stage1.register_forward_hook(lambda _m, _i, out: calls.append(out))
    rendered: list[Tensor] = []
    render = stage.generator.render

    def rendering(sketch: Tensor, condition: Tensor) -> Tensor:
        rendered.append(sketch)
        return render(sketch, condition)

    monkeypatch.setattr(stage.generator, "render", rendering)
    step(stage, kimg=9.9)
    assert not calls and rendered[0].shape == (BATCH, 3, 64, 64)
    step(stage, kimg=10.0)
    assert calls[0].shape == (BATCH // 2, 3, 64, 64)
    assert torch.equal(rendered[1][BATCH // 2 :], calls[0])


def test_stage2_paints_over_its_own_stage1() -> None:
    stage = make_stage2()
    embedding, latent = embeddings(2), torch.randn(2, stage.latent_dim)
    expected = stage.average(stage.stage1(embedding, latent), embedding, latent)
    torch.testing.assert_close(stage.sample(embedding, latent), expected)


def test_degraded_photographs_are_like_sketches() -> None:
    photos = photographs(256, 16)
    small = F.interpolate(photos, (64, 64), mode="area")
    sketch = degrade(photos)
    assert sketch.shape == (16, 3, 64, 64) and sketch.abs().max() <= 1
    # Coarsely the photograph, finely not.
    torch.testing.assert_close(F.avg_pool2d(sketch, 16), F.avg_pool2d(small, 16), atol=0.15, rtol=0)
    assert (sketch - small).abs().mean() > 0.005
    assert not torch.equal(degrade(photos), sketch)


# ---- the originals ----------------------------------------------------------------------------------------


def test_stackgan_reads_the_name_and_dcgan_does_not() -> None:
    for conditional in (True, False):
        generator = BaselineGenerator(embedding_dim=EMBEDDING, conditional=conditional).eval()
        discriminator = BaselineDiscriminator(embedding_dim=EMBEDDING, conditional=conditional).eval()
        latent, photos = torch.randn(2, generator.latent_dim), photographs(64, 2)
        pictures = [generator(embeddings(2), latent) for _ in range(2)]
        logits = [discriminator(photos, embeddings(2)) for _ in range(2)]
        assert torch.equal(*pictures) is not conditional
        assert torch.equal(*logits) is not conditional
        assert logits[0].shape == (2,)


def test_stackgans_relu_keeps_sigma_at_one_or_more() -> None:
    generator = BaselineGenerator(embedding_dim=EMBEDDING).eval()
    assert isinstance(generator.project, nn.Linear)
    nn.init.constant_(generator.project.bias, -100.0)  # asks for no noise at all, and gets it none the less
    noise = torch.randn(2, generator.latent_dim)
    seen: list[Tensor] = []
    generator.start.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    generator(embeddings(2), noise)
    torch.testing.assert_close(seen[0], noise)


# ---- balancing --------------------------------------------------------------------------------------------


def pulls_of(losses: dict[str, tuple[float, Callable[[Tensor], Tensor]]], steps: int = 30) -> tuple[Tensor, Tensor]:
    """The gradient after some steps, and the pictures. Each loss below pulls at a channel of its own."""
    balancer = GradientBalancer()
    for _ in range(steps):
        images = torch.randn(2, 3, 4, 4, requires_grad=True)
        values = {name: (weight, loss(images)) for name, (weight, loss) in losses.items()}
        gradient = balancer.gradient(values, images)
    return gradient, images


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_shares_of_the_pull_are_as_weighted_whatever_a_losss_scale(scale: float) -> None:
    gradient, _ = pulls_of({
        "a": (3.0, lambda x: x[:, 0].mean()),
        "b": (1.0, lambda x: scale * x[:, 1].mean()),
    })  # fmt: skip
    assert gradient[:, 0].norm() == pytest.approx(0.75, rel=1e-3)
    assert gradient[:, 1].norm() == pytest.approx(0.25, rel=1e-3)
    assert gradient[:, 2].norm() == 0
    assert (gradient[:, :2] > 0).all()  # the direction of each loss's own gradient


def test_a_loss_of_no_weight_has_no_say_and_costs_nothing() -> None:
    detached = torch.tensor(7.0)  # nothing could be differentiated here
    gradient, _ = pulls_of({"a": (1.0, lambda x: x[:, 0].mean()), "b": (0.0, lambda _: detached)})
    assert gradient[:, 0].norm() == pytest.approx(1.0, rel=1e-3)


def test_a_pull_is_measured_against_its_mean_and_not_made_equal_each_step() -> None:
    balancer = GradientBalancer()
    norms = []
    for size in [1.0] * 40 + [2.0]:
        images = torch.randn(1, 3, 2, 2, requires_grad=True)
        norms.append(float(balancer.gradient({"a": (1.0, size * images.sum())}, images).norm()))
    assert norms[0] == pytest.approx(1.0, rel=1e-3)
    assert 1.5 < norms[-1] < 2.05  # a strong moment stays strong


def test_a_balancer_goes_on_from_its_state() -> None:
    torch.manual_seed(2)
    pictures = [torch.randn(1, 3, 2, 2, requires_grad=True) for _ in range(60)]

    def run(balancer: GradientBalancer, part: list[Tensor]) -> Tensor:
        for images in part:
            gradient = balancer.gradient({"a": (1.0, images.square().sum()), "b": (2.0, images.pow(4).sum())}, images)
        return gradient

    whole = run(GradientBalancer(), pictures)
    half, rest = GradientBalancer(), GradientBalancer()
    run(half, pictures[:33])
    rest.load_state_dict(copy.deepcopy(half.state_dict()))
    assert torch.equal(run(rest, pictures[33:]), whole)


@pytest.fixture
def beside_another(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes this the first of two processes, of which the other has the same numbers."""

    def start() -> None:
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2))

    return start


def test_two_processes_pull_at_a_picture_as_one_does(beside_another: Callable[[], None]) -> None:
    share = torch.randn(4, 3, 8, 8)

    def gradient(images: Tensor) -> Tensor:
        images = images.clone().requires_grad_()
        losses = {"a": (1.0, images.square().mean()), "b": (3.0, images.pow(4).mean())}
        return GradientBalancer().gradient(losses, images)

    alone = gradient(torch.cat([share, share]))
    beside_another()
    torch.testing.assert_close(gradient(share) / 2, alone[:4])  # halved as the mean over the processes does


# ---- the name ---------------------------------------------------------------------------------------------


def test_a_picture_has_to_match_its_name_better_than_those_of_earlier_steps() -> None:
    text_match, fresh = TextMatchLoss(matching(), CPU), TextMatchLoss(matching(), CPU)
    fresh.matching.load_state_dict(text_match.matching.state_dict())
    features, texts = torch.randn(BATCH, backbone().features), embeddings(BATCH)
    text_match.loss(features, embeddings(BATCH))
    assert text_match.loss(features, texts) > fresh.loss(features, texts)  # more names to be mistaken for
    for _ in range(TextMatchLoss.NAMES // BATCH):
        text_match.loss(features, embeddings(BATCH))
    assert text_match.names is not None and len(text_match.names) == TextMatchLoss.NAMES  # and no more than that


def test_a_name_is_not_held_against_itself() -> None:
    text_match = TextMatchLoss(matching(), CPU)
    features, texts = torch.randn(1, backbone().features), embeddings(1)
    assert [float(text_match.loss(features, texts)) for _ in range(3)] == [0.0] * 3  # nothing to be mistaken for


def test_names_go_on_from_their_state() -> None:
    head = matching()
    text_match, again = TextMatchLoss(head, CPU), TextMatchLoss(head, CPU)
    features, texts = torch.randn(BATCH, backbone().features), embeddings(BATCH)
    text_match.loss(features, embeddings(BATCH))
    again.load_state_dict(copy.deepcopy(text_match.state_dict()))
    assert torch.equal(text_match.loss(features, texts), again.loss(features, texts))


# ---- the adversary ----------------------------------------------------------------------------------------


def taps(shift: float) -> list[Tensor]:
    return [torch.randn(8, c, s, s) + shift for c, s in zip((24, 40, 112, 320), (24, 12, 6, 3), strict=True)]


@pytest.mark.parametrize("loss", ["hinge", "bce"])
def test_an_adversary_learns_to_tell(loss: str) -> None:
    adversary = Adversary(heads(), DiscriminatorConfig(loss=loss, learning_rate=2e-3, ramp=(0, 0)), CPU)
    names = embeddings(8)
    for _ in range(30):
        stats = adversary.update(taps(3.0), taps(-3.0), names, names, 1.0)
    assert stats["real"] > stats["fake"] + 0.5
    assert stats["real_match"] > stats["fake_match"]


def test_an_adversary_learns_whose_name_it_is() -> None:
    """Photographs under their own names against the same photographs under others: only the name can tell."""
    adversary = Adversary(heads(), DiscriminatorConfig(learning_rate=5e-3, mismatched=1.0, ramp=(0, 0)), CPU)
    names, seen = embeddings(8), taps(0.0)
    for _ in range(80):
        stats = adversary.update(seen, taps(0.0), names, names, 1.0)
    assert stats["real_match"] > stats["wrong_match"] + 0.2


def test_an_adversary_learns_to_tell_spoilt_photographs() -> None:
    """Which look like nothing that the generator makes."""
    adversary = Adversary(heads(), DiscriminatorConfig(learning_rate=2e-3, ramp=(0, 0)), CPU)
    names = embeddings(8)
    for _ in range(40):
        spoilt = [t[:4] for t in taps(3.0)]
        stats = adversary.update(taps(0.0), taps(-3.0), names, names, 1.0, spoilt)
    assert stats["spoilt_auc"] > 0.9 and stats["auc"] > 0.9


def test_names_do_not_count_before_the_ramp() -> None:
    adversary = Adversary(heads(), DiscriminatorConfig(ramp=(5.0, 40.0)), CPU)
    before = weights(adversary.heads)
    adversary.update(taps(1.0), taps(-1.0), embeddings(8), embeddings(8), kimg=5.0)
    project = "heads.0.project.parametrizations.weight.original"
    unconditional = "heads.0.unconditional.parametrizations.weight.original"
    after = adversary.heads.state_dict()
    assert torch.equal(after[project], before[project])
    assert not torch.equal(after[unconditional], before[unconditional])
    adversary.update(taps(1.0), taps(-1.0), embeddings(8), embeddings(8), kimg=20.0)
    assert not torch.equal(adversary.heads.state_dict()[project], before[project])


def test_judging_pulls_at_pictures_and_not_at_the_heads() -> None:
    adversary = Adversary(heads(), DiscriminatorConfig(), CPU)
    adversary.update(taps(1.0), taps(-1.0), embeddings(8), embeddings(8), 50.0)
    adversary.optimizer.zero_grad()
    seen = [t.requires_grad_() for t in taps(0.0)]
    adversary.generator_loss(seen, embeddings(8), 50.0).backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in seen)
    assert all(p.grad is None for p in adversary.heads.parameters())


# ---- the ramp and the average -----------------------------------------------------------------------------


def test_a_ramp_rises_over_its_span() -> None:
    assert [ramp(kimg, (5.0, 40.0)) for kimg in (0, 5, 22.5, 40, 900)] == [0, 0, 0.5, 1, 1]
    assert [ramp(kimg, (3.0, 3.0)) for kimg in (2.9, 3)] == [0, 1]


def test_an_average_has_gone_half_the_way_after_its_half_life() -> None:
    module, average = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(1.0)
        average.weight.fill_(0.0)
    for _ in range(100):
        update_ema(average, module, images=20, kimg=1000.0, half_life=2.0)
    assert average.weight.item() == pytest.approx(0.5, abs=1e-4)
    for _ in range(2000):
        update_ema(average, module, images=20, kimg=1000.0, half_life=2.0)
    assert average.weight.item() == pytest.approx(1.0, abs=1e-4)


def test_an_average_counts_what_all_processes_have_shown(beside_another: Callable[[], None]) -> None:
    module, alone = nn.Linear(4, 4), nn.Linear(4, 4)
    shared = copy.deepcopy(alone)
    update_ema(alone, module, images=16, kimg=500.0, half_life=10.0)
    beside_another()
    update_ema(shared, module, images=8, kimg=500.0, half_life=10.0)
    torch.testing.assert_close(shared.weight, alone.weight)


def test_a_young_average_follows_faster() -> None:
    module, young, old = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    old.load_state_dict(young.state_dict())
    update_ema(young, module, 16, kimg=0.0, half_life=10.0)
    update_ema(old, module, 16, kimg=500.0, half_life=10.0)
    assert (young.weight - module.weight).norm() < 0.01 * (old.weight - module.weight).norm()


def test_buffers_are_averaged_and_counters_copied() -> None:
    module, average = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    assert module.running_mean is not None and module.num_batches_tracked is not None
    module.running_mean.fill_(4.0)
    module.num_batches_tracked.fill_(7)
    update_ema(average, module, images=1000, kimg=1000.0, half_life=1.0)
    torch.testing.assert_close(average.running_mean, torch.full((2,), 2.0))
    assert average.num_batches_tracked == 7
