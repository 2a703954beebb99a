"""Keeps trained generators out of the halves of the latent space where pictures are worse, whatever the name.

    python -m model.mirror --data DATA --from checkpoints --out runs/mirrored

Nothing is trained: both generators get one more direction along which z is never negative (`model.training.mirrors`).
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import nn

from model import checkpoint
from model.commands import check_out, plain_errors
from model.data.crops import load_training
from model.features.backbone import Backbone
from model.generators import SKETCH_SIZE, Stage1Generator, Stage2Generator
from model.training import mirrors
from model.training.gan_loop import PhotoBatches
from model.training.name_sampler import NameSampler
from model.training.run_folder import save_networks, start_checkpoint

PHOTOS = 4000  # that pictures are compared with
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"show_default": True})
@click.option("--data", help="The photographs that stage 1 was trained on.", type=click.Path(path_type=Path), required=True)
@click.option("--crops", help="Tables that they are cut by, as for model.train.", type=click.Path(path_type=Path, dir_okay=False), multiple=True)
@click.option("--from", "source", help="Checkpoint folder.", type=FOLDER, default="checkpoints", metavar="DIR")
@click.option("--out", help="Checkpoint folder to write.", type=FOLDER, required=True)
@click.option("--latents", help="How many are looked at.", type=click.IntRange(8), default=mirrors.LATENTS)
@click.option("--seed", help="Of every draw.", type=click.IntRange(0, 2**32 - 1), default=0)
def main(data: Path, crops: tuple[Path, ...], source: Path, out: Path, latents: int, seed: int) -> None:
    """Writes the checkpoint in --from with one mirror more into --out."""
    with plain_errors(out):
        check_out(out, source)
        first = checkpoint.load_network(source, "stage1", Stage1Generator).eval()
        second = checkpoint.load_network(source, "stage2", Stage2Generator).eval()
        photos = load_training(data, SKETCH_SIZE, crops)
        torch.manual_seed(seed)
        device, backbone = torch.device("cpu"), Backbone()
        sampler, pictures = NameSampler(photos, source, device, seed, mirrors.NAMES), PhotoBatches(photos, device)
        chosen = torch.multinomial(sampler.weights, PHOTOS, replacement=True)
        looks = torch.cat([mirrors.look(backbone, pictures[index]) for index in chosen.split(mirrors.BATCH)])
        half = mirrors.NAMES // 2
        names = torch.cat([sampler.names(chosen[:half]), sampler.imagined(half)])
        mirror = mirrors.find(first, backbone, looks, names, latents, seed)
        count = len(first.normals) + 1
        networks: dict[str, nn.Module] = {}
        for name, generator in (("stage1", first), ("stage2", second)):
            networks[name] = type(generator)(**{**generator.config, "mirrors": count})
            normals = torch.cat([generator.normals, mirror.normal[None]])
            networks[name].load_state_dict({**generator.state_dict(), "normals": normals})
        start_checkpoint(out, source)
        save_networks(out, networks)
    click.echo(
        f"{out}: mirror {count}; two pictures of a latent agree by {mirror.agreement:.2f}, and with the direction by "
        f"{mirror.fit:.2f}"
    )


if __name__ == "__main__":
    main()
