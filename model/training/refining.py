"""Trains the latent refiner on ratings of pictures by eye.

A discriminator's judgement is not that of an eye: it orders textures, and eyes look for whole rims and distinct pieces
of food. A linear function of the backbone's pooled features, fitted to some hundred ratings, predicts those of other
pictures well. It is the reward that the refiner is trained by, as in learning from human feedback (Christiano et al.
2017; Lee et al. 2023 for pictures). Gradients on a generator's weights would soon find pictures that only the reward
likes. Here the generator stays as it is and only the latent moves, by little, so that all it can do is to choose among
the pictures that the generator makes anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from model.features.backbone import Backbone
from model.features.matching import MatchingHead
from model.generators import Stage1Generator
from model.training.gradient_balancer import GradientBalancer
from model.training.mirrors import correlation, look_at_pictures
from model.training.stage import adam, optimizer_step
from model.training.text_match import TextMatchLoss

STEPS = 110
BATCH = 32
WIDTH = 128  # of the refiner
REACH = 0.4  # of the refiner; more of it costs names their forms, and latents their variety
LEARNING_RATE = 2e-3  # at first; falls to 0 linearly
REWARD, MATCH = 0.25, 0.75  # shares of the pull at a picture, see GradientBalancer
RIDGE = 1.0
FOLDS = 8


@dataclass(frozen=True)
class Reward:
    """A prediction of ratings, linear in `Backbone.pool_moments`.

    mean: (F,), of the rated pictures.
    weights: (F,).
    correlation: of what names do not explain of the ratings with predictions of it by the other ratings.
    """

    mean: Tensor
    weights: Tensor
    correlation: float

    def __call__(self, features: Tensor) -> Tensor:
        """(B, F) -> (B,), in standard deviations of the ratings above their mean."""
        return (features - self.mean) @ self.weights


def fit_reward(features: Tensor, names: Tensor, ratings: Tensor) -> Reward:
    """Fits a reward by ridge regression, to what the names do not explain.

    Soups look better than sandwiches. A reward that knew that would make soup of everything.

    Args:
        features: (N, F), `Backbone.pool_moments` of the rated pictures.
        names: (N, E), embeddings of their names.
        ratings: (N,), at least two of which differ.
    """
    mean, deviation = features.mean(0), features.std(0)
    deviation = deviation + 1e-3 * deviation.mean()
    alike = names @ names.T / names.shape[1]
    explained = torch.linalg.solve(alike + RIDGE * torch.eye(len(names)), alike).T
    x, y = (features - mean) / deviation, (ratings - ratings.mean()) / ratings.std()
    x, y = x - explained @ x, y - explained @ y
    kernel = x @ x.T / x.shape[1]

    def solve(rows: Tensor) -> Tensor:
        return torch.linalg.solve(kernel[rows][:, rows] + RIDGE * torch.eye(len(rows)), y[rows])

    fold, predicted = torch.arange(len(y)) % FOLDS, torch.zeros(len(y))
    for i in range(FOLDS):
        rows = (fold != i).nonzero()[:, 0]
        predicted[fold == i] = kernel[fold == i][:, rows] @ solve(rows)
    weights = x.T @ solve(torch.arange(len(y))) / x.shape[1] / deviation
    return Reward(mean, weights, correlation(predicted, y))


@dataclass(frozen=True)
class Refined:
    """What refining has changed, for the same names and latents.

    before, after: mean reward.
    match_before, match_after: text-match loss in nats.
    """

    before: float
    after: float
    match_before: float
    match_after: float


def refine(
    generator: Stage1Generator,
    reward: Reward,
    backbone: Backbone,
    matching: MatchingHead,
    names: Tensor,
    steps: int = STEPS,
    seed: int = 0,
) -> Refined:
    """Trains the generator's refiner, in place, and nothing else of it.

    Args:
        generator: has a refiner, which is trained on from where it is.
        names: (N, E), embeddings of the names to train with.
        seed: of the draws of names and latents.
    """
    if generator.refiner is None:
        raise ValueError("the generator has no refiner")
    random = torch.Generator().manual_seed(seed)
    device = torch.device("cpu")
    text_match, balancer = TextMatchLoss(matching, device), GradientBalancer(device)
    generator.requires_grad_(False).eval()
    learning = list(generator.refiner.requires_grad_(True).parameters())
    optimizer = adam(learning, LEARNING_RATE, device)
    for step in tqdm(range(steps), "refining", unit=" steps", disable=None):
        texts = names[torch.randint(len(names), (BATCH,), generator=random)]
        fakes = generator(texts, torch.randn(BATCH, generator.latent_dim, generator=random))
        features = backbone.pool_moments(backbone(fakes))
        losses = {
            "reward": (REWARD, -reward(features).mean()),
            "match": (MATCH, text_match.loss(features[:, : backbone.features], texts)),
        }
        gradient = balancer.gradient(losses, fakes)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
        optimizer_step(optimizer, (gradient * fakes).sum())  # whose gradient at the fakes is the balanced one
    generator.requires_grad_(True)
    return _compare(generator, reward, backbone, matching, names, random)


@torch.no_grad()
def _compare(
    generator: Stage1Generator,
    reward: Reward,
    backbone: Backbone,
    matching: MatchingHead,
    names: Tensor,
    random: torch.Generator,
) -> Refined:
    count = 8 * BATCH
    texts = names[torch.randint(len(names), (count,), generator=random)]
    latents = torch.randn(count, generator.latent_dim, generator=random)
    refiner, rewards, matches = generator.refiner, [], []
    for chosen in (None, refiner):
        generator.refiner = chosen
        features = look_at_pictures(generator, backbone, texts, latents)
        text_match = TextMatchLoss(matching, torch.device("cpu"))
        rewards.append(float(reward(features).mean()))
        matches.append(float(text_match.loss(features[:, : backbone.features], texts)))
    return Refined(*rewards, *matches)
