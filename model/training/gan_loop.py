"""Trains the text encoder and both stages of the StackGAN, one after the other.

    python -m model.train --stage text --data ../shared/dishes --out runs/text --minutes 30
    python -m model.train --stage 1 --data ../shared/dishes --from runs/text --out runs/stage1 --kimg 800
    python -m model.train --stage 2 --data ../shared/dishes --from runs/stage1/checkpoint --out runs/stage2 --kimg 150

Go on after a stop, and go on from a shipped checkpoint:

    python -m model.train --stage 1 --data ../shared/dishes --out runs/stage1 --kimg 1600 --resume
    python -m model.train --stage 1 --data ../shared/dishes --from checkpoints --out runs/more --minutes 60

Two processes of one thread each on two cores, which is twice one process of two threads:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m model.train --stage 1 …

A run folder holds `log.csv`, `samples/`, `state.pt` (what --resume reads) and `checkpoint/`, a checkpoint folder that
`python -m model.generate --checkpoint` understands once both stages are in it.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from tqdm import tqdm

from model import checkpoint, parallel
from model.augment import flip
from model.commands import plainly, reading_state
from model.data.photos import Photos, load
from model.generation import choose_device, to_uint8
from model.graphs import Replay
from model.losses import ADVERSARIAL
from model.matching import has_bfloat16
from model.menu import Menu, embed
from model.presets import ABLATIONS, PRESETS, TEXT_ABLATIONS, build, find
from model.sheet import ContactSheet
from model.signals import stop_on_signal
from model.training.stage import Recordable, Stage

SAMPLES = (
    "ピリ辛サーモンパフェ", "smoky beetroot ramen", "抹茶カレー", "green pea soup", "いちごの天ぷら", "chocolate pizza",
    "トマトラーメン", "blueberry sushi", "かぼちゃグラタン", "fried egg salad", "黒ごまアイスクリーム", "grilled salmon bowl",
)  # fmt: skip
LATENTS = 4  # of each of them on a grid
TICK = 1.0  # kimg between rows of log.csv
PATIENCE = 5  # ticks that the spread may stay under the stage's mark
GRACE = 10.0  # kimg, before which a narrow spread is no collapse
SMALLEST = 4  # photographs a process and step: half of them are for dishes that do not exist, and one has no spread


@click.command(context_settings={"show_default": True, "max_content_width": 110})
@click.option("--stage",   help="What to train.",                                            type=click.Choice(["text", "1", "2"]), required=True)
@click.option("--data",    help="Parquet shards, a folder of photos, or Food-101.",          type=click.Path(path_type=Path), required=True)
@click.option("--out",     help="Run folder.",                                               type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--from",    help="Checkpoint folder with what this stage builds on; where it has this stage too, training goes on from it. Not looked at by --resume.", type=click.Path(path_type=Path, file_okay=False), default=Path("checkpoints"), metavar="DIR")
@click.option("--preset",  help="Widths, batch and recipe; stackgan-v1 and dcgan are the original recipes.", type=click.Choice(list(PRESETS)), default="cpu")
@click.option("--loss",    help="Adversarial loss; otherwise the preset's: bce for the original recipes, hinge for ours.", type=click.Choice(list(ADVERSARIAL)))
@click.option("--augment", help="Share of the pictures that the discriminator sees augmented; otherwise the preset's. 1 for a few hundred photographs.", type=click.FloatRange(0, 1))
@click.option("--without", help="Take one thing away, to see what it is good for: order or pictures from the text stage, the others from our stage 1.", type=click.Choice([*ABLATIONS, *TEXT_ABLATIONS]))
@click.option("--kimg",    help="Stop when this run has shown so many thousands of photographs.", type=click.FloatRange(min=0, min_open=True))
@click.option("--minutes", help="Stop after so many minutes of this run, earlier parts of it included.", type=click.FloatRange(min=0, min_open=True))
@click.option("--resume",  help="Go on where the run in --out stopped.",                     is_flag=True)
@click.option("--batch",   help="Photographs a step, over all processes; otherwise the preset's.", type=click.IntRange(min=SMALLEST))
@click.option("--every",   help="Minutes between checkpoints and grids.",                    type=click.FloatRange(min=0), default=5.0)
@click.option("--seed",    help="Of initial weights and every draw.",                        type=click.IntRange(0, 2**32 - 1), default=0)
@click.option("--device",  help="auto, cpu, cuda or cuda:N.",                                default="auto")
@click.option("--teacher", help="Folder of the teacher's vectors, for --stage text; otherwise OUT/teacher.", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--dry-run", help="Print what would be trained, on what and from where, and stop.", is_flag=True)
def main(**options: Any) -> None:
    """Trains one stage; a kill at any moment loses at most --every minutes."""
    options["source"] = options.pop("from")
    stage, teacher = options.pop("stage"), options.pop("teacher")
    if options["kimg"] is None and options["minutes"] is None:
        raise click.UsageError("say when to stop: --kimg or --minutes")
    if stage == "text" and options["minutes"] is None:
        raise click.UsageError("--stage text stops by --minutes")
    try:
        with plainly(options["out"]):
            if stage == "text":
                names = ("data", "out", "minutes", "seed", "device", "resume", "without", "dry_run")
                train_text(**{name: options[name] for name in names}, teacher=teacher)
            else:
                train(stage, **options)
    except (TrainingStopped, FloatingPointError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except torch.cuda.OutOfMemoryError as error:
        raise click.ClickException(f"the GPU's memory is full: try a smaller --batch ({error})") from error


class TrainingStopped(RuntimeError):
    """The run cannot go on: its numbers are no numbers, or its pictures have collapsed into one."""


def train_text(
    data: Path, out: Path, minutes: float, seed: int, device: str, resume: bool, without: str | None, dry_run: bool,
    teacher: Path | None,
) -> None:  # fmt: skip
    """Trains the text stage, see `model.train_text`, under the same manners as the others."""
    from model import evaluate_text
    from model import train_text as text

    if without not in (None, *TEXT_ABLATIONS):
        raise ValueError(f"--without {without} is for our own stage 1")
    state_file = out / text.STATE
    check_run(out, state_file, resume)
    where = choose_device(device)
    if dry_run:
        photos, pairs = evaluate_text.load_photos(data, "train", None), evaluate_text.read_names(data, "train")
        print(f"stage text into {out}, on {where}")
        print(f"data: {len(photos):,} photographs and {len(pairs):,} pairs of names in {data}")
        print(f"starts from {state_file if resume else 'nothing'} and stops after {minutes:g} minutes")
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    text.train(
        data, out, minutes=minutes, seed=seed, device=where, resume=resume, teacher_store=teacher, without=without
    )


def check_run(out: Path, state_file: Path, resume: bool) -> None:
    """Raises ValueError where a run would overwrite another, or resume none."""
    if state_file.exists() and not resume:
        raise ValueError(f"{out} holds a run already: go on with --resume, or name another --out")
    if resume and not state_file.exists():
        raise ValueError(f"{state_file} does not exist: there is nothing to resume")


def train(
    stage: str,
    data: Path,
    out: Path,
    source: Path,
    preset: str,
    kimg: float | None,
    minutes: float | None,
    resume: bool,
    batch: int | None,
    every: float,
    seed: int,
    device: str,
    loss: str | None = None,
    augment: float | None = None,
    without: str | None = None,
    dry_run: bool = False,
) -> None:
    """Trains stage "1" or "2". The arguments are the command's; raises TrainingStopped, DataError, CheckpointError,
    and ValueError for arguments that do not go together."""
    state_file, target = out / "state.pt", out / "checkpoint"
    check_run(out, state_file, resume)
    if resume:
        source = target  # it has all that the run began with, whatever became of that since
    plan = find(preset, stage, loss, augment, without)
    where, rank, processes = parallel.start(choose_device(device))
    main_process = rank == 0
    batch, rest = divmod(batch or plan.batch, processes)
    if rest or batch < SMALLEST:
        raise ValueError(f"--batch has to be shared evenly by {processes} processes, at least {SMALLEST} each")
    torch.manual_seed(seed)  # the same first weights on every process
    game, past = build(stage, plan, source, where, has_bfloat16(where))
    shown, spent = 0, 0.0  # photographs, seconds
    if resume:
        shown, spent, past = read_state(state_file, game)
    before, hours = past.get("kimg", 0.0), past.get("hours", 0.0)

    photos = load(data, game.size, min_pixels=150 if game.size > 64 else 0)
    if main_process:
        print(f"stage {stage} · {len(photos):,} photographs · batch {batch} × {processes} · {where} · {out}")
    if dry_run:
        if main_process:
            print_plan(game, photos, data, state_file if resume else source, before + shown / 1000, kimg, minutes)
        return parallel.finish()

    def progress() -> float:
        return max(shown / 1000 / kimg if kimg else 0.0, spent / 60 / minutes if minutes else 0.0)

    if progress() >= 1:
        print(f"{out} has {shown / 1000:.1f} kimg in {spent / 60:.0f} minutes already: nothing is left to do")
        return parallel.finish()
    menu = Menu(photos, source, where, seed)
    gallery = Gallery(game, SAMPLES, embed(SAMPLES, source, where), where, seed)
    for module in game.modules().values():
        parallel.broadcast(module)
    pictures = Feed(photos, where)
    step = game.step
    if where.type == "cuda" and processes == 1 and isinstance(game, Recordable):
        step = Replay(game).step
    log, narrow = Log(out / "log.csv", before + shown / 1000 if resume else None), 0
    began, saved, ticked = time.monotonic() - spent, time.monotonic(), shown
    reseed(seed, shown, rank)
    # A terminal sees every step; a log file need not.
    calm = 0.1 if sys.stderr.isatty() else 10.0
    bar = tqdm(unit="img", unit_scale=True, initial=shown, disable=not main_process, dynamic_ncols=True, mininterval=calm)
    with bar, stop_on_signal() as stop:
        if main_process and not resume:
            begin(target, source)
        done = False
        while not done:
            index = torch.multinomial(menu.weights, batch, replacement=True)
            names, half = menu.names(index), batch - batch // 2
            imagined = menu.imagined(half) if plan.imagined else names[-half:]
            log.add(step(flip(pictures[index]), names, imagined, before + shown / 1000))
            shown += batch * processes
            spent = time.monotonic() - began
            bar.total = max(shown, round(shown / progress()))
            bar.update(batch * processes)
            done = parallel.agree(progress() >= 1 or bool(stop))
            now = f"{before + shown / 1000:.1f} kimg"

            if shown - ticked >= TICK * 1000 or done:
                ticked = shown
                row = log.write(before + shown / 1000, spent, main_process)
                bar.set_postfix_str(f"{now} d {row['d_loss']:.2f} spread {row['spread']:.2f}")
                if not all(map(math.isfinite, row.values())):
                    raise TrainingStopped(f"a loss is not a number any more at {now}: {kept(state_file)}")
                narrow = narrow + 1 if row["spread"] < game.collapsed and shown > GRACE * 1000 else 0
                if narrow >= PATIENCE:
                    raise TrainingStopped(
                        f"collapse at {now}: the spread of a pixel over a batch is {row['spread']:.3f} "
                        f"(photographs have 0.5). From before it narrowed, {kept(state_file)}"
                    )
            if (done or parallel.agree(time.monotonic() - saved >= every * 60)) and not narrow:
                if not finite(game):
                    raise TrainingStopped(f"a weight is not a number any more at {now}: {kept(state_file)}")
                saved = time.monotonic()
                if main_process:
                    write_state(state_file, game, shown, spent, past)
                    pack(target, game, before + shown / 1000, hours + spent / 3600)
                    gallery.draw(out / "samples" / f"{round(before + shown / 1000):06d}.png")
                reseed(seed, shown, rank)  # so that a resumed run draws what an uninterrupted one would have drawn
    if main_process:
        print(f"{now} in {spent / 60:.0f} minutes · {target}")
        if narrow:
            print(f"Not saved, since the pictures were narrowing (spread {row['spread']:.3f}): {kept(state_file)}")
    parallel.finish()


def print_plan(
    game: Stage, photos: Photos, data: Path, source: Path, kimg: float, stop_kimg: float | None, minutes: float | None
) -> None:
    """What --dry-run says, below the line that every run begins with."""
    japanese = sum(name is not None for name in photos.names_ja)
    print(f"data: {len(set(photos.names)):,} different names, {japanese:,} photographs with a Japanese one, in {data}")
    for name, module in game.modules().items():
        if name != "average":
            print(f"{name}: {sum(p.numel() for p in module.parameters()):,} parameters")
    print(f"starts from {source}, " + (f"at {kimg:g} kimg" if kimg else "which has nothing of this stage yet"))
    stops = [f"{end:g} {unit}" for end, unit in ((stop_kimg, "kimg"), (minutes, "minutes")) if end]
    print(f"stops at {' or '.join(stops)} of this run")


class Feed:
    """Photographs as tensors: all of them on a GPU, which has the room; read from the cache where there is none."""

    def __init__(self, photos: Photos, device: torch.device) -> None:
        self.device = device
        self.on_device = torch.from_numpy(photos.images[:]).to(device) if device.type == "cuda" else None
        self.images = photos.images

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B,) indices -> (B, 3, size, size) float32 in [-1, 1]."""
        chosen = torch.from_numpy(self.images[index.numpy()]) if self.on_device is None else self.on_device[index]
        return chosen.permute(0, 3, 1, 2).float() / 127.5 - 1


class Gallery:
    """The same names and latents at every checkpoint."""

    def __init__(
        self, game: Stage, names: Sequence[str], embeddings: Tensor, device: torch.device, seed: int
    ) -> None:
        self.game, self.names = game, names
        self.embeddings = embeddings.repeat_interleave(LATENTS, 0)
        generator = torch.Generator().manual_seed(seed)
        self.latents = torch.randn(LATENTS, game.latent_dim, generator=generator).repeat(len(names), 1).to(device)

    def draw(self, path: Path) -> None:
        """Writes the grid: each name's pictures side by side, one column a latent."""
        sheet = ContactSheet(self.names, [""] * len(self.names), LATENTS)
        pairs = zip(self.embeddings.split(LATENTS), self.latents.split(LATENTS), strict=True)
        for group, (embedding, latent) in enumerate(pairs):
            for variant, picture in enumerate(to_uint8(self.game.paint(embedding, latent).cpu())):
                sheet.paste(group, variant, picture)
        buffer = io.BytesIO()
        sheet.image.save(buffer, "PNG", compress_level=1)
        checkpoint.write_file(path, buffer.getvalue())


class Log:
    """`log.csv`: a row a tick, the means of what every step returned since the last.

    Args:
        kimg: where a resumed run goes on. Rows beyond it are of steps that a kill undid, and are dropped.
    """

    def __init__(self, path: Path, kimg: float | None) -> None:
        self.path = path
        self.steps: list[dict[str, Tensor]] = []
        self.columns: list[str] = []
        self.kept: list[dict[str, str]] = []
        if kimg is not None and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                self.kept = [row for row in reader if float(row["kimg"]) <= kimg + 1e-3]
                self.columns = list(reader.fieldnames or ())

    def add(self, stats: dict[str, Tensor]) -> None:
        self.steps.append(stats)

    def write(self, kimg: float, seconds: float, on_disk: bool) -> dict[str, float]:
        means = parallel.mean(torch.stack([torch.stack([s.float() for s in step.values()]) for step in self.steps]).mean(0))
        row = {"kimg": kimg, "seconds": seconds, "steps": len(self.steps)}
        row |= dict(zip(self.steps[0], means.tolist(), strict=True))
        self.steps = []
        if on_disk:
            written = {name: f"{value:.6g}" for name, value in row.items()}
            self._append(written | {"kimg": f"{kimg:.3f}"})  # to the photograph, however long a run is
        return row

    def _append(self, row: dict[str, str]) -> None:
        if list(row) == self.columns and not self.kept:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
            return
        # The first row of a run, or of its going on: the file is written anew, with what is kept of it.
        self.columns = list(dict.fromkeys([*self.columns, *row]))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows([*self.kept, row])
        self.kept = []
        checkpoint.write_file(self.path, text.getvalue().encode())


def write_state(path: Path, game: Stage, shown: int, seconds: float, past: dict[str, Any]) -> None:
    """Everything that --resume needs, in one file, replaced atomically."""
    state = {
        "shown": shown,
        "seconds": seconds,
        "past": past,
        "modules": {name: module.state_dict() for name, module in game.modules().items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in game.optimizers().items()},
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    checkpoint.write_file(path, buffer.getvalue())


def read_state(path: Path, game: Stage) -> tuple[int, float, dict[str, Any]]:
    """Puts a run's state back into the players: photographs shown, seconds spent, and what `build` said of the past."""
    with reading_state(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, module in game.modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in game.optimizers().items():
            optimizer.load_state_dict(state["optimizers"].get(name, {}))
        return state["shown"], state["seconds"], state.get("past", {})


def kept(state_file: Path) -> str:
    """What a run that was stopped leaves."""
    if not state_file.exists():
        return "nothing had been saved yet"
    return f"state and checkpoint of the last save are kept in {state_file.parent}; --resume --seed N goes on from there"


def finite(game: Stage) -> bool:
    """Whether every weight is a number."""
    modules = game.modules().values()
    return all(bool(t.isfinite().all()) for module in modules for t in module.state_dict().values())


def begin(target: Path, source: Path) -> None:
    """Makes the run's checkpoint folder: all that `source` has, which later saves replace this stage's part of."""
    config = checkpoint.read_config(source)
    for file in sorted(source.iterdir()):
        if file.suffix in {".safetensors", ".model"}:
            checkpoint.write_file(target / file.name, checkpoint.read_file(file))
    config.pop("format")
    checkpoint.save_config(target, **config)


def pack(target: Path, game: Stage, kimg: float, hours: float) -> None:
    """Writes this stage's part of the run's checkpoint folder."""
    shipped = game.shipped()
    for name, module in shipped.items():
        checkpoint.save_weights(target, name, module)
    sections: dict[str, Any] = {name: module.config for name, module in shipped.items()}
    training = checkpoint.read_config(target).get("training", {})
    training[next(iter(shipped))] = {"kimg": round(kimg, 3), "hours": round(hours, 3)}
    checkpoint.save_config(target, training=training, **sections)


def reseed(seed: int, shown: int, rank: int) -> None:
    """Draws depend on the seed, on how far training is and on the process, and on nothing else."""
    torch.manual_seed(seed + 1_000_003 * rank + 7 * shown)


if __name__ == "__main__":
    main()
