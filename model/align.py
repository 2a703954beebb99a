"""Finds the crops in which a dish's vessel is centred and just touches the frame, for `--crops` of the other commands.

    python -m model.align crops DATA --out crops.tsv
    python -m model.train --stage 1 --data DATA --crops crops.tsv ...

DATA is anything that --data of model.train accepts. The table leaves out photographs in which neither a vessel nor a
dish is found with confidence. `fit` retrains the head that finds them (docs/training.md).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import click
import torch
from tqdm import tqdm

from model import checkpoint
from model.commands import plain_errors
from model.data.crops import Crop, write_crops
from model.data.decoding import decode
from model.data.layouts import DataError, listing
from model.features import vessel_training
from model.features.vessels import BATCH, KINDS, WEIGHTS, VesselFinder

SEEN = 256  # pixels that a photograph is decoded to
NAMED = 5  # how many that cannot be read are named one by one
BOXES = Path(__file__).parent.parent / "crops" / "boxes.tsv"
DATA = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Photographs cut so that a plate, or a dish, just fills the frame."""


@main.command()
@click.argument("data", type=DATA)
@click.option("--out", type=FILE, required=True, help="Table to write.")
@click.option("--split", type=click.Choice(["train", "validation"]), default="train", help="Which photographs.")
def crops(data: Path, out: Path, split: str) -> None:
    """Writes a table of the crops of the photographs in DATA."""
    with plain_errors(out):
        finder, listed = VesselFinder(), listing(data, split)
        found: dict[str, Crop] = {}
        unread = [*listed.skipped]
        pairs = zip(listed.rows, listed.photos(), strict=True)
        with tqdm(pairs, "looking", len(listed.rows), unit=" photos", disable=None) as progress:
            while batch := list(itertools.islice(progress, BATCH)):
                rows, images = [], []
                for row, photo in batch:
                    try:
                        images.append(decode(photo, SEEN).image)
                        rows.append(row)
                    except Exception as error:  # Pillow meets a damaged file with nearly any
                        unread.append(f"{row.label}: {error}")
                for row, crop in zip(rows, finder.crops(images, [row.name for row in rows]), strict=True):
                    if crop:
                        found[row.label] = crop
        if unread:
            more = f"; and {len(unread) - NAMED} more" if len(unread) > NAMED else ""
            click.echo(f"{len(unread)} left out ({'; '.join(unread[:NAMED])}{more})", err=True)
        if not found:
            raise DataError(f"{data}: no vessel and no dish in {len(listed.rows)} photographs is whole and sure")
        write_crops(out, found)
    click.echo(f"{out}: {len(found):,} crops of {len(listed.rows):,} photographs; in the others nothing is whole and sure")


@main.command()
@click.argument("data", type=DATA)
@click.option("--labels", type=FILE, multiple=True, default=[BOXES], help="Boxes drawn by eye; may be given several times.")
@click.option("--out", type=FILE, default=WEIGHTS, help="File of weights to write.")
@click.option("--folds", type=click.IntRange(2), default=3, help="Heads fitted for the figures, each without one part of the photographs.")
@click.option("--steps", type=click.IntRange(1), default=vessel_training.STEPS, help=f"Of {vessel_training.BATCH} views each.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of the views, the draws and the folds.")
def fit(data: Path, labels: tuple[Path, ...], out: Path, folds: int, steps: int, seed: int) -> None:
    """Fits the head to boxes of the photographs in DATA: for the figures, without a part of them in turn, and then to all."""
    if out.suffix != ".safetensors":
        raise click.BadParameter(f"{out} does not end in .safetensors.", param_hint="--out")
    with plain_errors(out):
        views = vessel_training.look_at(data, vessel_training.read_labels(labels), seed)
        boxes = vessel_training.cross_validate(views, folds, steps, seed)
        for kind, name in enumerate(KINDS):
            for view, size in enumerate(("as they are", f"at {vessel_training.LOW} px")):
                rows = (views.kinds == kind) & (views.views == view)
                if rows.any():
                    figures = vessel_training.box_error(boxes[rows], views.boxes[rows])
                    click.echo(
                        f"{name}, {figures.n} photographs {size}: an edge is off by {figures.error:.1%} of the side in the "
                        f"median; IoU {figures.median_iou:.2f} in the median, {figures.mean_iou:.2f} in the mean"
                    )
        head = vessel_training.fit(views, torch.ones_like(views.kinds, dtype=torch.bool), steps, seed)
        checkpoint.save_weights(out.parent, out.stem, head)
        click.echo(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
