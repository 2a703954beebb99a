"""Puts what surrounds dishes out of focus in a checkpoint's pictures.

    python -m model.focus --data DATA --crops crops/best.tsv --from checkpoints --out runs/focused

No weight of the generators changes: the checkpoint gets a small network behind them (`model.depth_of_field`), or
another in place of the one it has. It is trained on photographs alone, so it stays good when generators are trained on.
"""

from __future__ import annotations

from pathlib import Path

import click

from model import checkpoint
from model.commands import check_out, plain_errors
from model.data.crops import load_training
from model.data.layouts import DataError
from model.features.vessels import RESOLUTION
from model.training import focusing
from model.training.run_folder import save_networks, start_checkpoint

LEAST = 2 * focusing.HELD_OUT  # photographs
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"show_default": True})
@click.option("--data", help="Photographs, as for model.train.", type=click.Path(path_type=Path), required=True)
@click.option("--crops", help="Tables that they are cut by, as for model.train.", type=click.Path(path_type=Path, dir_okay=False), multiple=True)
@click.option("--from", "source", help="Checkpoint folder.", type=FOLDER, default="checkpoints", metavar="DIR")
@click.option("--out", help="Checkpoint folder to write.", type=FOLDER, required=True)
@click.option("--steps", help=f"Of {focusing.BATCH} photographs each.", type=click.IntRange(1), default=focusing.STEPS)
@click.option("--seed", help="Of every draw.", type=click.IntRange(0, 2**32 - 1), default=0)
def main(data: Path, crops: tuple[Path, ...], source: Path, out: Path, steps: int, seed: int) -> None:
    """Writes the checkpoint in --from with a depth of field into --out."""
    with plain_errors(out):
        check_out(out, source)
        checkpoint.read_config(source)  # what is missing is said before anything is looked at
        photos = load_training(data, RESOLUTION, crops)
        if len(photos) < LEAST:
            raise DataError(f"{data} has {len(photos)} photographs: {LEAST} are needed at least")
        network, error = focusing.fit(*focusing.look(photos), steps, seed)
        start_checkpoint(out, source)
        save_networks(out, {checkpoint.FOCUS: network})
    click.echo(f"{out}: {len(photos):,} photographs; masks of others are off by {error:.1%} in the mean")


if __name__ == "__main__":
    main()
