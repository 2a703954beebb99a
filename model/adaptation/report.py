"""The report of an adaptation, in one HTML file: pictures before and after, the photograph nearest to each, curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from model.adaptation.validation import Check, HeldOutValidator, spread
from model.checkpoint import write_file
from model.data.photos import Photos
from model.evaluation.figures import sample
from model.evaluation.report import Picture, page
from model.generators import PICTURE_SIZE
from model.pipeline import Pipeline

SEED = 7  # of the first picture; each has its own
WIDTH, HEIGHT = 320, 120  # of a curve, in the units of its SVG
LOSSES = ("d_loss", "g_loss", "match", "reconstruction", "pixels", "rehearsal")


@dataclass(frozen=True)
class Curve:
    """A curve: points of a polyline within WIDTH × HEIGHT, and the labels at its ends. `kept`: the point that was
    kept."""

    name: str
    points: list[tuple[float, float]]
    first: str
    last: str
    kimg: float
    kept: tuple[float, float] | None = None


@dataclass(frozen=True)
class ReportFacts:
    """The facts shown in the report. `versions`: before and after. `curves` and `ends` are by stage."""

    data: str
    found: list[str]
    plan: str
    minutes: float
    shown: int
    held: int
    versions: tuple[str, str]
    curves: dict[str, list[Curve]]
    ends: dict[str, str]
    aligned: list[tuple[Picture, Picture]]
    """Some photographs before they were aligned, and after."""
    left: list[str]
    """Those that were left as they were."""


@dataclass(frozen=True)
class Comparison:
    """A name's pictures before and after, and the photograph nearest to the latter. `photo`: one with that name, if
    any."""

    name: str
    before: Picture
    after: Picture
    nearest: Picture
    nearest_name: str
    copy: bool
    photo: Picture | None = None


def write(
    path: Path,
    facts: ReportFacts,
    validator: HeldOutValidator,
    pipelines: tuple[Pipeline, Pipeline],
    shown: Photos,
    recombined: Sequence[str],
    names: int,
) -> tuple[Check, Check]:
    """Writes the report; returns the metrics before and after.

    Args:
        validator: for 256 px.
        pipelines: before and after.
        shown: (N, 256, 256, 3), the training photographs.
        recombined: made-up names.
        names: maximum number of photographs' names in the report.
    """
    before, after = (validator.check(partial(_paint, pipeline)) for pipeline in pipelines)
    given = spread(list(dict.fromkeys(shown.names)), names)
    html = page(
        Path(__file__).with_name("report.html"),
        facts=facts,
        before=before,
        after=after,
        given=_comparisons(given, validator, pipelines, shown),
        recombined=_comparisons(recombined, validator, pipelines, shown),
        width=WIDTH,
        height=HEIGHT,
    )
    write_file(path, html.encode())
    return before, after


def _paint(pipeline: Pipeline, names: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    return sample(pipeline, names, seeds, PICTURE_SIZE)


def _comparisons(
    names: Sequence[str],
    validator: HeldOutValidator,
    pipelines: tuple[Pipeline, Pipeline],
    shown: Photos,
) -> list[Comparison]:
    if not names:
        return []
    seeds = range(SEED, SEED + len(names))
    old, new = (_paint(pipeline, names, seeds) for pipeline in pipelines)
    seen = validator.look(new)
    _, rows = validator.nearest(seen)
    copied = validator.copies(seen).tolist()
    return [
        Comparison(
            name, old[i], new[i], np.asarray(shown.images[row]), shown.names[row], copied[i],
            np.asarray(shown.images[shown.names.index(name)]) if name in shown.names else None,
        )
        for i, (name, row) in enumerate(zip(names, rows.tolist(), strict=True))
    ]  # fmt: skip


def curves(log: Path, checks: Sequence[dict[str, float]], kept: int) -> list[Curve]:
    """The curves of a stage: KID and copy rate at its checks, and the losses in its log."""
    kimg = [check["kimg"] for check in checks]
    lines = [
        _curve("KID × 1000, photographs held back", kimg, [1000 * check["kid"] for check in checks], kept),
        _curve("copies, per cent", kimg, [100 * check["copies"] for check in checks], kept),
    ]
    rows: list[dict[str, str]] = []
    if log.exists():
        with log.open(newline="") as file:
            rows = list(csv.DictReader(file))
    for loss in LOSSES:
        if len(rows) > 1 and loss in rows[0]:
            start = float(rows[0]["kimg"])
            lines.append(_curve(loss, [float(row["kimg"]) - start for row in rows], [float(row[loss]) for row in rows]))
    return lines


def _curve(name: str, xs: Sequence[float], ys: Sequence[float], kept: int | None = None) -> Curve:
    low, high, end = min(*ys, 0.0), max(*ys, 0.0) if min(ys) > 0 else max(ys), max(xs)
    wide, tall = end or 1.0, (high - low) or 1.0
    points = [(WIDTH * x / wide, HEIGHT * (1 - (y - low) / tall)) for x, y in zip(xs, ys, strict=True)]
    return Curve(name, points, f"{ys[0]:.3g}", f"{ys[-1]:.3g}", end, None if kept is None else points[kept])
