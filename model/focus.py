"""Puts what surrounds dishes out of focus in a checkpoint's pictures.

    python -m model.focus --data DATA --crops crops/best.tsv --from checkpoints --out runs/focused

No weight of the generators changes: the checkpoint gets a small network behind them (`model.depth_of_field`), or
another in place of the one it has. It learns from photographs and from the checkpoint's own pictures.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from model import checkpoint
from model.commands import check_out, plain_errors
from model.data.crops import load_training
from model.data.layouts import DataError
from model.features.vessels import RESOLUTION
from model.generators import Stage1Generator, Stage2Generator
from model.pipeline import Pipeline
from model.training import focusing
from model.training.run_folder import save_networks, start_checkpoint

LEAST = 2 * focusing.HELD_OUT  # photographs
PICTURES = 3000  # of their names
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"show_default": True})
@click.option("--data", help="Photographs, as for model.train.", type=click.Path(path_type=Path), required=True)
@click.option("--crops", help="Tables that they are cut by, as for model.train.", type=click.Path(path_type=Path, dir_okay=False), multiple=True)
@click.option("--from", "source", help="Checkpoint folder.", type=FOLDER, default="checkpoints", metavar="DIR")
@click.option("--out", help="Checkpoint folder to write.", type=FOLDER, required=True)
@click.option("--pictures", help="The checkpoint's own that it learns from.", type=click.IntRange(LEAST), default=PICTURES)
@click.option("--steps", help=f"Of {focusing.BATCH} photographs and pictures each.", type=click.IntRange(1), default=focusing.STEPS)
@click.option("--seed", help="Of every draw.", type=click.IntRange(0, 2**32 - 1), default=0)
def main(data: Path, crops: tuple[Path, ...], source: Path, out: Path, pictures: int, steps: int,
         seed: int) -> None:  # fmt: skip
    """Writes the checkpoint in --from with a depth of field into --out."""
    with plain_errors(out):
        check_out(out, source)
        pipeline = Pipeline.load(source, "cpu")  # what is missing is said before anything is looked at
        stage1 = checkpoint.load_network(source, "stage1", Stage1Generator).eval()
        stage2 = checkpoint.load_network(source, "stage2", Stage2Generator).eval()
        photos = load_training(data, RESOLUTION, crops)
        if len(photos) < LEAST:
            raise DataError(f"{data} has {len(photos)} photographs: {LEAST} are needed at least")
        random = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(photos), (pictures,), generator=random).tolist()
        prompts = pipeline.prompts([photos.names[row] for row in rows])
        latents = torch.randn(pictures, stage1.latent_dim, generator=random)
        imagined = focusing.imagine(stage1, stage2, prompts, latents)
        network, errors = focusing.fit(focusing.look(photos), imagined, steps, seed)
        start_checkpoint(out, source)
        save_networks(out, {checkpoint.FOCUS: network})
    click.echo(
        f"{out}: {len(photos):,} photographs and {pictures:,} pictures; masks of others are off by {errors[0]:.1%} and "
        f"{errors[1]:.1%} in the mean"
    )


if __name__ == "__main__":
    main()
