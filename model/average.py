"""Averages the generators of several checkpoints of one run, or of runs that began at one checkpoint.

    python -m model.average --part checkpoints 0.4 --part runs/stage1/checkpoint 0.6 --out runs/averaged

The average makes calmer pictures than any of its parts: what a generator goes round in circles about cancels out (model
soups, Wortsman et al. 2022). Everything but the generators comes from the last part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import torch

from model import checkpoint
from model.checkpoint import CheckpointError
from model.commands import check_out, plain_errors
from model.generators import Stage1Generator, Stage2Generator
from model.training.run_folder import save_networks, start_checkpoint
from model.training.widen import Generator, add_forms

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"show_default": True})
@click.option("--part", "parts", help="Checkpoint folder and its weight; weights are divided by their sum.", type=(FOLDER, click.FloatRange(min=0, min_open=True)), multiple=True, required=True, metavar="DIR WEIGHT")
@click.option("--smooth-colour", help="Low-pass the colours of the sketches from here on.", is_flag=True)
@click.option("--levels", help="Stretch the contrast of the sketches from here on.", is_flag=True)
@click.option("--crisp", help="Keep more of stage 2's detail from here on.", is_flag=True)
@click.option("--out", help="Checkpoint folder to write.", type=FOLDER, required=True)
def main(parts: Sequence[tuple[Path, float]], smooth_colour: bool, levels: bool, crisp: bool, out: Path) -> None:
    """Writes the checkpoint in the last --part with averaged generators into --out."""
    folders, shares = [folder for folder, _ in parts], [share for _, share in parts]
    with plain_errors(out):
        check_out(out, *folders)
        first = with_forms([checkpoint.load_network(folder, "stage1", Stage1Generator) for folder in folders])
        second = [checkpoint.load_network(folder, "stage2", Stage2Generator) for folder in folders]
        drawn, finished = average(first, shares, folders), average(second, shares, folders)
        if smooth_colour:
            drawn.config["smooth_colour"] = True
        if levels:
            drawn.config["levels"] = True
        if crisp:
            finished.config["crisp"] = True
        start_checkpoint(out, folders[-1])
        save_networks(out, {"stage1": drawn, "stage2": finished})
    click.echo(f"{out}: the average of {len(parts)} checkpoints, version {checkpoint.version(out)}")


def with_forms(generators: Sequence[Stage1Generator]) -> list[Stage1Generator]:
    """Gives spatial forms to generators of earlier versions, placed like those of the last that has them."""
    latest = next((generator for generator in reversed(generators) if generator.forms), None)
    if latest is None:
        return list(generators)
    grown = [add_forms(generator, latest.config["forms"]) for generator in generators]
    placed = {
        name: value for name, value in latest.state_dict().items()
        if name.startswith("forms.") and not name.endswith("add.weight")
    }  # fmt: skip
    for before, after in zip(generators, grown, strict=True):
        if after is not before:
            after.load_state_dict(placed, strict=False)
    return grown


@torch.no_grad()
def average(generators: Sequence[Generator], shares: Sequence[float], folders: Sequence[Path]) -> Generator:
    """The last generator with the weighted mean of all weights and buffers.

    Raises CheckpointError, naming the folder, if one has another shape.
    """
    last = generators[-1]
    for generator, folder in zip(generators, folders, strict=True):
        if generator.config != last.config:
            raise CheckpointError(f"{folder} has another {type(last).__name__} than {folders[-1]}: they do not average")
    states = [generator.state_dict() for generator in generators]
    total = sum(shares)
    last.load_state_dict({
        name: sum(share / total * state[name] for share, state in zip(shares, states, strict=True))
        for name in states[-1]
    })  # fmt: skip
    return last


if __name__ == "__main__":
    main()
