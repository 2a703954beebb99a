"""Trains the text encoder and both stages of the StackGAN, one after the other.

    python -m model.train --stage text --data ../shared/dishes --out runs/text --minutes 30
    python -m model.train --stage 1 --data ../shared/dishes --from runs/text --out runs/stage1 --kimg 800
    python -m model.train --stage 2 --data ../shared/dishes --from runs/stage1/checkpoint --out runs/stage2 --kimg 150

Resume after a stop, or continue from the shipped checkpoint:

    python -m model.train --stage 1 --data ../shared/dishes --out runs/stage1 --kimg 1600 --resume
    python -m model.train --stage 1 --data ../shared/dishes --from checkpoints --out runs/more --minutes 60

Two single-threaded processes on two cores, which is twice as fast as one process with two threads:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m model.train --stage 1 …

A run folder contains `log.csv`, `samples/`, `state.pt` (for --resume) and `checkpoint/`, a checkpoint folder that
`python -m model.generate --checkpoint` can use once both stages are in it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from click.core import ParameterSource

from model.commands import plain_errors
from model.data.name_pairs import read_names
from model.features.matching import load_photos
from model.pipeline import choose_device
from model.training import text_stage
from model.training.gan_loop import SMALLEST, LoopConfig, train
from model.training.loop import TrainingStopped
from model.training.losses import ADVERSARIAL_LOSSES
from model.training.options import Options
from model.training.options import read as read_options
from model.training.presets import PRESETS, find, from_record
from model.training.run_folder import check_run
from model.training.text_stage import TextConfig

# What is said of one call and not of the run.
OF_THIS_CALL = {"out", "resume", "dry_run"}
# What may be another when a run goes on; the photographs are compared by their names.
CHANGEABLE = {"data", "kimg", "minutes", "every", "seed", "device", "teacher"}
TEXT_OPTIONS = ("stage", "data", "minutes", "seed", "device", "teacher")


@click.command(context_settings={"show_default": True, "max_content_width": 110})
@click.option("--stage",   help="What to train.",                                            type=click.Choice(["text", "1", "2"]), required=True)
@click.option("--data",    help="Parquet shards, a folder of photos, or Food-101.",          type=click.Path(path_type=Path), required=True)
@click.option("--out",     help="Run folder.",                                               type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--from",    help="Checkpoint folder with what this stage builds on; where it has this stage too, training goes on from it; --resume needs none.", type=click.Path(path_type=Path, file_okay=False), default=Path("checkpoints"), metavar="DIR")
@click.option("--preset",  help="Widths, batch and recipe; stackgan-v1 and dcgan are the original recipes.", type=click.Choice(list(PRESETS)), default="cpu")
@click.option("--loss",    help="Adversarial loss; otherwise the preset's: bce for the original recipes, hinge for ours.", type=click.Choice(list(ADVERSARIAL_LOSSES)))
@click.option("--augment", help="Share of the pictures that the discriminator sees augmented; otherwise the preset's. 1 for a few hundred photographs.", type=click.FloatRange(0, 1))
@click.option("--kimg",    help="Stop when this run has shown so many thousands of photographs.", type=click.FloatRange(min=0, min_open=True))
@click.option("--minutes", help="Stop after so many minutes of this run, earlier parts of it included.", type=click.FloatRange(min=0, min_open=True))
@click.option("--resume",  help="Go on where the run in --out stopped, with the options that it was begun with.",                     is_flag=True)
@click.option("--batch",   help="Photographs a step, over all processes; otherwise the preset's.", type=click.IntRange(min=SMALLEST))
@click.option("--crops",   help="Train on the photographs of these tables alone, each cut by its crop (docs/training.md). May be given several times.", type=click.Path(path_type=Path, dir_okay=False), multiple=True)
@click.option("--every",   help="Minutes between checkpoints and grids.",                    type=click.FloatRange(min=0), default=5.0)
@click.option("--seed",    help="Of initial weights and every draw.",                        type=click.IntRange(0, 2**32 - 1), default=0)
@click.option("--device",  help="auto, cpu, cuda or cuda:N.",                                default="auto")
@click.option("--teacher", help="Folder of the teacher's vectors, for --stage text; otherwise OUT/teacher.", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--dry-run", help="Print what would be trained, on what and from where, and stop.", is_flag=True)
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Trains one stage; a kill at any moment loses at most --every minutes."""
    if options["kimg"] is None and options["minutes"] is None:
        raise click.UsageError("say when to stop: --kimg or --minutes")
    if options["stage"] == "text" and options["minutes"] is None:
        raise click.UsageError("--stage text stops by --minutes")
    stated = {name: value for name, value in options.items() if name not in OF_THIS_CALL
              and context.get_parameter_source(name) is not ParameterSource.DEFAULT}  # fmt: skip
    try:
        with plain_errors(options["out"]):
            if options["stage"] == "text":
                train_text(options, stated, context.obj or TextConfig())
            else:
                train_stage(options, stated, context.obj or LoopConfig())  # an experiment's or a test's, or our own
    except (TrainingStopped, FloatingPointError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except torch.cuda.OutOfMemoryError as error:
        raise click.ClickException(f"the GPU's memory is full: try a smaller --batch ({error})") from error


def train_stage(options: Mapping[str, Any], stated: Mapping[str, Any], config: LoopConfig) -> None:
    """Trains stage 1 or 2, see `model.training.gan_loop`. `stated`: options that were given explicitly."""
    out, begun = options["out"], None
    check_run(out, out / "state.pt", options["resume"])
    given = {name: value for name, value in options.items() if name not in OF_THIS_CALL}
    given |= {"experiment": config.experiment}
    if options["resume"]:
        begun = read_begun(out, stated, config.experiment)
        preset, given = from_record(begun.config), begun.given
    else:
        preset = find(options["preset"], options["stage"], options["loss"], options["augment"])
        preset = replace(preset, batch=options["batch"] or preset.batch)
    train(
        options["stage"], options["data"], out, options["from"], preset, kimg=options["kimg"],
        minutes=options["minutes"], every=options["every"], seed=given["seed"], device=options["device"],
        crops=[Path(table) for table in given["crops"]],
        given=given, begun=begun, dry_run=options["dry_run"], config=config,
    )  # fmt: skip


def train_text(options: Mapping[str, Any], stated: Mapping[str, Any], config: TextConfig) -> None:
    """Trains the text stage, see `model.training.text_stage`. Arguments are as in `train_stage`."""
    data, out, resume = (options[name] for name in ("data", "out", "resume"))
    state_file = out / text_stage.STATE
    check_run(out, state_file, resume)
    given = {name: value for name, value in options.items() if name in TEXT_OPTIONS} | {"experiment": config.experiment}
    begun = None
    if resume:
        begun = read_begun(out, stated, config.experiment)
        given = begun.given
    minutes, seed = options["minutes"], given["seed"]
    where = choose_device(options["device"])
    if options["dry_run"]:
        photos, pairs = load_photos(data, "train", None), read_names(data, "train")
        print(f"stage text into {out}, on {where}")
        print(f"data: {len(photos):,} photographs and {len(pairs):,} pairs of names in {data}")
        print(f"starts from {state_file if resume else 'nothing'} and stops after {minutes:g} minutes")
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    text_stage.train(
        data, out, minutes=minutes, seed=seed, device=where, resume=resume, teacher_store=options["teacher"],
        config=config, given=given, begun=begun,
    )  # fmt: skip


def read_begun(out: Path, stated: Mapping[str, Any], experiment: str | None) -> Options:
    """Reads the record of the run to resume, updated with the options that may change. Raises ValueError for others."""
    begun = read_options(out).resumed(stated, CHANGEABLE, out)
    if (was := begun.given.get("experiment")) != experiment:
        raise ValueError(f"the run in {out} was begun as experiment {was or 'none'}, and goes on only as it was")
    return begun


if __name__ == "__main__":
    main()
