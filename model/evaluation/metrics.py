"""The evaluator's statistics: distances between two sets of pictures, and how well pictures match their names.

All of them take features or embeddings, never pictures. KID is from torchmetrics. The Fréchet distance is not:
torchmetrics uses the eigenvalues of a product of two D × D covariances, which have rank N < D here, and itself calls
this unstable; singular values of an N × M matrix give the same number. It lacks improved precision and recall.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

SUBSETS = 100
SUBSET_SIZE = 200  # pictures; small enough for the smaller of two photographers
NEIGHBOURS = 3  # as in Kynkäänniemi et al. 2019
CHUNK = 4096  # rows of a distance matrix at a time


@dataclass(frozen=True)
class Measure:
    """A value and its uncertainty."""

    value: float
    spread: float
    """Standard deviation over subsets (KID), or standard error of the mean (shares)."""
    n: int
    """Pictures it was measured on."""


class _Given(nn.Module):
    """Takes the place of torchmetrics' network, since the features are already computed."""

    def forward(self, features: Tensor) -> Tensor:
        return features


def kid(real: Tensor, other: Tensor, seed: int = 0) -> tuple[Measure, int]:
    """Kernel distance (Bińkowski et al. 2018): squared MMD with the kernel (x·y/D + 1)³.

    Unbiased for any number of pictures: 0 is no difference, and it may come out slightly negative.

    Args:
        real, other: (N, D) and (M, D) features.
        seed: for drawing the subsets.

    Returns:
        The mean and standard deviation over `SUBSETS` random subsets, and the size of a subset.
    """
    size = max(2, min(SUBSET_SIZE, min(len(real), len(other)) // 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # says that features are kept in memory, which they are anyhow
        metric = KernelInceptionDistance(_Given(), subsets=SUBSETS, subset_size=size)
    metric.update(real.float(), real=True)
    metric.update(other.float(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, deviation = metric.compute()
    return Measure(float(mean), float(deviation), min(len(real), len(other))), size


def frechet(real: Tensor, other: Tensor) -> float:
    """Fréchet distance between the normal distributions fit to two sets of features, (N, D) and (M, D).

    Badly biased upwards unless N is many times D: only compare values with the same N and M.
    """
    x, y = real.double(), other.double()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    x, y = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    # tr (XᵀX YᵀY)^½ is the sum of the singular values of X Yᵀ: both have the eigenvalues of X Yᵀ Y Xᵀ, squared.
    return float(shift + x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum())


def precision_recall(real: Tensor, other: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019), of features (N, D) and (M, D).

    Precision is the share of `other` on the manifold of the real ones, meaning no farther from one of them than its
    k-th real neighbour; recall is the same with the roles swapped. Both depend on N, so compare at the same N.

    Features are normalized to unit length first. Pictures that hardly activate the network have short vectors, which
    are close to all others: unnormalized, uniform noise had a precision of 1.00 where photographs had 0.69; normalized,
    noise has 0.00 and photographs 0.87.
    """
    x, y = F.normalize(real.float(), dim=1), F.normalize(other.float(), dim=1)
    return _covered(x, y, k), _covered(y, x, k)


def _covered(base: Tensor, queries: Tensor, k: int) -> float:
    within = torch.cdist(base, base)
    radius = within.kthvalue(min(k + 1, len(base)), dim=1).values  # the nearest is the point itself
    return float((torch.cdist(queries, base) <= radius).any(1).float().mean())


def r_precision(pictures: Tensor, own: Sequence[int], names: Tensor, among: int = 100) -> Measure:
    """The share of pictures whose own name ranks first among `among` names: its own and random others.

    Exact: instead of drawing, it computes for every picture the probability that no better name is drawn, which is the
    mean over all possible draws.

    Args:
        pictures: (N, E).
        own: for each picture, the row index of its own name in `names`.
        names: (M, E), of M different names. With fewer than `among`, all of them compete.
    """
    scores = F.normalize(pictures.float(), dim=1) @ F.normalize(names.float(), dim=1).T
    index = torch.as_tensor(list(own))[:, None]
    others = len(names) - 1
    # A tie is lost: pictures that do not depend on the name must not win.
    better = (scores >= scores.gather(1, index)).sum(1).double() - 1
    chance = torch.ones(len(pictures), dtype=torch.float64)
    for i in range(min(among, len(names)) - 1):
        chance *= ((others - better - i) / (others - i)).clamp(min=0)
    return share(chance)


def share(values: Tensor | Sequence[float] | Sequence[bool]) -> Measure:
    """The mean of N values in [0, 1], with its standard error."""
    x = torch.as_tensor(values, dtype=torch.float64)
    return Measure(float(x.mean()), float(x.std(correction=0) / len(x) ** 0.5), len(x))


def pairwise(features: Tensor) -> float:
    """The mean Euclidean distance between any two of N rows, (N, D)."""
    return float(torch.pdist(features.float()).mean())


def nearest(queries: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of (N, D), the distance to the nearest row of (M, D), of any dtype, and its index: (N,), (N,).

    Vectors are normalized to unit length: those of blurred pictures are short, and otherwise close to all others.
    Without this, a checkpoint would seem to copy 6 of 100 photographs that it has never seen, instead of 1.
    """
    x = F.normalize(queries.float(), dim=1)
    best = torch.full((len(queries),), torch.inf)
    row = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(base), CHUNK):
        distance, index = torch.cdist(x, F.normalize(base[start : start + CHUNK].float(), dim=1)).min(1)
        row = torch.where(distance < best, index + start, row)
        best = torch.minimum(best, distance)
    return best, row
