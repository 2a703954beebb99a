"""`python -m tests.quality --data DATA`: what the quality gate holds on to, by the checkpoint that ships."""

from pathlib import Path

import click

from model.data.photos import load
from model.pipeline import SIZES
from tests import quality


@click.command()
@click.option("--data", help="Photographs with a validation split.", type=click.Path(path_type=Path), required=True)
@click.option("--checkpoint", help="Whose figures to keep.", type=click.Path(path_type=Path), default="checkpoints")
def main(data: Path, checkpoint: Path) -> None:
    """Stores the references and the figures of the quality gate."""
    photos = {size: load(data, size, "validation", min_pixels=150) for size in SIZES}
    rows = quality.choose(photos[SIZES[0]])
    for chosen in photos.values():
        quality.store(chosen, rows)
    quality.record(checkpoint, [photos[SIZES[0]].names[row] for row in rows])
    click.echo(quality.FIGURES.read_text("utf-8"))


main()
