"""Adapts the shipped checkpoint to a folder of photographs named after their dishes.

    python -m model.adapt PHOTOS --dry-run             # what is there, and how the names are understood
    python -m model.adapt PHOTOS --out checkpoints/mine
    make serve CHECKPOINT=checkpoints/mine

Both stages are adapted, one after the other, within --minutes. Every few minutes a validation generates pictures for
the names of held-out photographs. A stage ends early when its pictures get no closer to these, or get too close to the
training photographs. --out keeps the best of all validations, including that of the unadapted checkpoint.

--out is a complete checkpoint folder from the first minute on. Its `report.html` shows the findings and results;
`adaptation/` has grids, logs and, until the end, everything that --resume needs. See docs/small-data.md.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click
import torch
from click.core import ParameterSource

from model.adaptation import run as adaptation
from model.adaptation.loop import Stopped, adapt
from model.checkpoint import CHECKPOINT
from model.commands import plain_errors

MINUTES = 30.0


@click.command(context_settings={"show_default": True, "max_content_width": 110})
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--out",     help="Checkpoint folder to make.",                               type=click.Path(path_type=Path, file_okay=False))
@click.option("--minutes", help="Time for all of it, the report included; a resumed run keeps its own.  [default: 30]", type=click.FloatRange(min=0, min_open=True))
@click.option("--resume",  help="Go on where the adaptation in --out stopped, with the options of then; PHOTOS is not read again.", is_flag=True)
@click.option("--from", "source", help="Checkpoint folder to adapt.",                       type=click.Path(path_type=Path, file_okay=False), default=CHECKPOINT, show_default="the one that ships", metavar="DIR")
@click.option("--align/--no-align", help="Cut photographs so that the plate or bowl, or else the dish, fills the frame.", default=True)
@click.option("--seed",    help="Of the photographs held back and of every draw.",          type=click.IntRange(0, 2**32 - 1), default=0)
@click.option("--device",  help="auto, cpu, cuda or cuda:N.",                               default="auto")
@click.option("--dry-run", help="Say what is found in PHOTOS and how names are understood, and stop.", is_flag=True)
@click.pass_context
def main(
    context: click.Context, photos: Path, out: Path | None, minutes: float | None, resume: bool, source: Path, align: bool,
    seed: int, device: str, dry_run: bool,
) -> None:  # fmt: skip
    """Adapts a checkpoint to a folder of PHOTOS: of phones as they are, named after their dishes, or with a
    metadata.csv (file_name, name). A kill at any moment loses minutes; --resume goes on."""
    if dry_run:
        with plain_errors(photos):
            findings, alignment, held, _ = adaptation.examine(photos, source, seed, align)
        click.echo("\n".join([*findings.lines(), *alignment.lines(len(held))]))
        click.echo(f"{(~held).sum()} would be trained on and {held.sum()} held back")
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    config = context.obj or adaptation.AdaptationConfig()  # a test's, otherwise the usual one
    try:
        with plain_errors(out), adaptation.lock(out):
            if resume:
                stated = {flag: value for name, flag, value in (("seed", "seed", seed), ("source", "from", source),
                          ("align", "align", align)) if context.get_parameter_source(name) is not ParameterSource.DEFAULT}  # fmt: skip
                run = adaptation.resume_run(photos, out, minutes, device, stated, config)
            else:
                run = adaptation.start(photos, out, source, minutes or MINUTES, seed, device, align, config)
            adapt(run)
    except Stopped as stopped:
        command = shlex.join(["python", "-m", "model.adapt", str(photos), "--out", str(out), "--resume"])
        click.echo(f"Stopped and saved: go on with {command}")
        sys.exit(128 + stopped.signal)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except torch.cuda.OutOfMemoryError as error:
        raise click.ClickException(f"the GPU's memory is full: try --device cpu ({error})") from error


if __name__ == "__main__":
    main()
