"""Moves stage 1's latents to where pictures are rated higher by eye.

    python -m model.refine --from checkpoints --out runs/refined
    python -m model.refine --from checkpoints --out runs/refined --ratings mine.tsv

No weight of the generator changes: it gets a small network in front (`model.training.refining`), or another in place of
the one it has. RATINGS is a table with the columns name, seed and rating, of pictures that --from makes without one.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from model import checkpoint
from model.commands import check_out, plain_errors
from model.data.layouts import DataError
from model.data.ratings import read_ratings
from model.features.backbone import Backbone
from model.features.matching import MatchingHead
from model.generators import Stage1Generator
from model.pipeline import Pipeline
from model.training import mirrors, refining
from model.training.name_sampler import composed
from model.training.run_folder import save_networks, start_checkpoint

RATINGS = Path(__file__).parent.parent / "ratings" / "pictures.tsv"
NAMES = 4000  # composed, that the refiner is trained with, besides the rated ones
LEAST = 32  # ratings
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"show_default": True})
@click.option("--from", "source", help="Checkpoint folder.", type=FOLDER, default="checkpoints", metavar="DIR")
@click.option("--out", help="Checkpoint folder to write.", type=FOLDER, required=True)
@click.option("--ratings", help="Table of ratings.", type=click.Path(path_type=Path, dir_okay=False), default=RATINGS)
@click.option("--steps", help=f"Of {refining.BATCH} pictures each.", type=click.IntRange(1), default=refining.STEPS)
@click.option("--seed", help="Of every draw.", type=click.IntRange(0, 2**32 - 1), default=0)
def main(source: Path, out: Path, ratings: Path, steps: int, seed: int) -> None:
    """Writes the checkpoint in --from with a latent refiner trained on --ratings into --out."""
    with plain_errors(out):
        check_out(out, source)
        rated = read_ratings(ratings)
        if len(rated) < LEAST or len({one.rating for one in rated}) < 2:
            raise DataError(f"{ratings} has {len(rated)} ratings: {LEAST} are needed at least, and not all the same")
        matching = checkpoint.load_network(source, checkpoint.MATCHING, MatchingHead)
        trained = checkpoint.load_network(source, "stage1", Stage1Generator)
        torch.manual_seed(seed)
        generator = Stage1Generator(**{**trained.config, "refiner": refining.WIDTH, "reach": refining.REACH})
        kept = {name: value for name, value in trained.state_dict().items() if not name.startswith("refiner.")}
        generator.load_state_dict({**generator.state_dict(), **kept})
        pipeline, backbone = Pipeline.load(source, "cpu"), Backbone()
        latents = pipeline.latents([one.seed for one in rated])
        rows = {name: row for row, name in enumerate(dict.fromkeys(one.name for one in rated))}
        names = pipeline.prompts([*rows, *composed(seed, NAMES)])
        named = names[[rows[one.name] for one in rated]]
        features = mirrors.look_at_pictures(generator, backbone, named, latents)
        reward = refining.fit_reward(features, named, torch.tensor([one.rating for one in rated]))
        found = refining.refine(generator, reward, backbone, matching, names, steps, seed)
        start_checkpoint(out, source)
        save_networks(out, {"stage1": generator})
    click.echo(
        f"{out}: {len(rated):,} ratings, predicted with a correlation of {reward.correlation:.2f}; the mean prediction rose "
        f"from {found.before:.2f} to {found.after:.2f} of their deviations, the text-match loss went from "
        f"{found.match_before:.2f} to {found.match_after:.2f} nats"
    )


if __name__ == "__main__":
    main()
