"""Trains the text encoder and both stages of the StackGAN, one after the other.

    python -m model.train --stage text --data ../shared/dishes --out runs/text --minutes 30
    python -m model.train --stage 1 --data ../shared/dishes --from runs/text --out runs/stage1 --kimg 800
    python -m model.train --stage 2 --data ../shared/dishes --from runs/stage1/checkpoint --out runs/stage2 --kimg 150

Go on after a stop, and go on from a shipped checkpoint:

    python -m model.train --stage 1 --data ../shared/dishes --from runs/text --out runs/stage1 --kimg 1600 --resume
    python -m model.train --stage 1 --data ../shared/dishes --from checkpoints --out runs/more --minutes 60

Two processes of one thread each on two cores, which is twice one process of two threads:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m model.train --stage 1 …

A run folder holds `log.csv`, `samples/`, `state.pt` (what --resume reads) and `checkpoint/`, a checkpoint folder that
`python -m model.generate --checkpoint` understands once both stages are in it.
"""

from __future__ import annotations

import csv
import io
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from tqdm import tqdm

from model import checkpoint, parallel
from model.augment import flip
from model.checkpoint import CheckpointError
from model.data import DataError, Photos, load
from model.game import Stage
from model.generation import choose_device, to_uint8
from model.matching import has_bfloat16
from model.menu import Menu, embed
from model.presets import PRESETS, build, find
from model.sheet import ContactSheet

SAMPLES = (
    "ピリ辛サーモンパフェ", "smoky beetroot ramen", "抹茶カレー", "green pea soup", "いちごの天ぷら", "chocolate pizza",
    "トマトラーメン", "blueberry sushi", "かぼちゃグラタン", "fried egg salad", "黒ごまアイスクリーム", "grilled salmon bowl",
)  # fmt: skip
LATENTS = 4  # of each of them on a grid
TICK = 1.0  # kimg between rows of log.csv
PATIENCE = 5  # ticks that the spread may stay under the stage's mark
GRACE = 10.0  # kimg, before which a narrow spread is no collapse


@click.command(context_settings={"show_default": True})
@click.option("--stage",   help="What to train.",                                            type=click.Choice(["text", "1", "2"]), required=True)
@click.option("--data",    help="Parquet shards, a folder of photos, or Food-101.",          type=click.Path(path_type=Path), required=True)
@click.option("--out",     help="Run folder.",                                               type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--from",    help="Checkpoint folder with what this stage builds on; where it has this stage too, training goes on from it.", type=click.Path(path_type=Path, file_okay=False), default=Path("checkpoints"), callback=lambda _c, _p, v: v, metavar="DIR")
@click.option("--preset",  help="Widths and batch.",                                         type=click.Choice(list(PRESETS)), default="cpu")
@click.option("--kimg",    help="Stop when so many thousands of photographs have been shown.", type=click.FloatRange(min=0, min_open=True))
@click.option("--minutes", help="Stop after so many minutes of this run, earlier parts of it included.", type=click.FloatRange(min=0, min_open=True))
@click.option("--resume",  help="Go on where the run in --out stopped.",                     is_flag=True)
@click.option("--batch",   help="Photographs a step, over all processes; otherwise the preset's.", type=click.IntRange(min=2))
@click.option("--every",   help="Minutes between checkpoints and grids.",                    type=click.FloatRange(min=0), default=5.0)
@click.option("--seed",    help="Of initial weights and every draw.",                        type=click.IntRange(min=0), default=0)
@click.option("--device",  help="auto, cpu, cuda or cuda:N.",                                default="auto")
def main(**options: Any) -> None:
    """Trains one stage; a kill at any moment loses at most --every minutes."""
    options["source"] = options.pop("from")
    stage = options.pop("stage")
    if options["kimg"] is None and options["minutes"] is None:
        raise click.UsageError("say when to stop: --kimg or --minutes")
    try:
        if stage == "text":
            from model.train_text import train as train_text

            if options["minutes"] is None:
                raise click.UsageError("--stage text stops by --minutes")
            names = ("data", "out", "minutes", "seed", "device", "resume")
            train_text(**{name: options[name] for name in names})
        else:
            train(stage, **options)
    except (CheckpointError, DataError, TrainingStopped, ValueError) as error:
        raise click.ClickException(str(error)) from error


class TrainingStopped(RuntimeError):
    """The run cannot go on: its numbers are no numbers, or its pictures have collapsed into one."""


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
) -> None:
    """Trains stage "1" or "2". The arguments are the command's; raises TrainingStopped, DataError, CheckpointError."""
    state_file, target = out / "state.pt", out / "checkpoint"
    if state_file.exists() and not resume:
        raise ValueError(f"{out} holds a run already: go on with --resume, or name another --out")
    if resume and not state_file.exists():
        raise ValueError(f"{state_file} does not exist: there is nothing to resume")

    where = choose_device(device)
    rank, processes = parallel.start(where)
    main_process = rank == 0
    torch.manual_seed(seed)  # the same first weights on every process
    plan = find(preset, stage)
    batch = (batch or plan.batch) // processes
    game, before = build(stage, plan, source, where, has_bfloat16(where))

    photos = load(data, game.size, min_pixels=150 if game.size > 64 else 0)
    menu = Menu(photos, source, where, seed)
    gallery = Gallery(game, embed(SAMPLES, source, where), where, seed)

    shown, spent = 0, 0.0  # photographs, seconds
    if resume:
        shown, spent = read_state(state_file, game)
    for module in game.modules().values():
        parallel.broadcast(module)
    pictures = Feed(photos, where)
    if main_process:
        print(f"stage {stage} · {len(photos):,} photographs · batch {batch} × {processes} · {where} · {out}")

    stop = _stop_on_signal()
    log, narrow = Log(out / "log.csv", resume), 0
    bar = tqdm(unit="img", unit_scale=True, initial=shown, disable=not main_process, dynamic_ncols=True)
    began, saved, ticked = time.monotonic() - spent, time.monotonic(), shown
    reseed(seed, shown, rank)
    while True:
        index = torch.multinomial(menu.weights, batch, replacement=True)
        names, imagined = menu.names(index), menu.imagined(batch - batch // 2)
        stats = game.step(flip(pictures[index]), names, imagined, before + shown / 1000)
        shown += batch * processes
        log.add(stats)
        now = time.monotonic()
        progress = max(shown / 1000 / kimg if kimg else 0.0, (now - began) / 60 / minutes if minutes else 0.0)
        bar.total = max(shown, round(shown / progress))
        bar.update(batch * processes)
        done = parallel.agree(progress >= 1 or bool(stop))

        if shown - ticked >= TICK * 1000 or done:
            ticked = shown
            row = log.write(before + shown / 1000, now - began, main_process)
            bar.set_postfix_str(f"{before + shown / 1000:.0f} kimg d {row['d_loss']:.2f} spread {row['spread']:.2f}")
            if not all(map(_finite, row.values())):
                raise TrainingStopped(f"not a number at {before + shown / 1000:.1f} kimg: {state_file} is from before")
            narrow = narrow + 1 if row["spread"] < game.collapsed and shown > GRACE * 1000 else 0
            if narrow >= PATIENCE:
                raise TrainingStopped(
                    f"collapse at {before + shown / 1000:.1f} kimg: the spread of a pixel over a batch is "
                    f"{row['spread']:.3f} (photographs: 0.5). The checkpoint from before it narrowed is kept in {out}"
                )
        if done or parallel.agree(now - saved >= every * 60):
            saved = now
            if main_process and not narrow:
                write_state(state_file, game, shown, now - began)
                pack(target, source, stage, game, before + shown / 1000, now - began)
                gallery.draw(out / "samples" / f"{round(before + shown / 1000):06d}.png")
            reseed(seed, shown, rank)  # so that a resumed run draws what an uninterrupted one would have drawn
        if done:
            break
    bar.close()
    if main_process:
        print(f"{before + shown / 1000:.1f} kimg in {(time.monotonic() - began) / 60:.0f} minutes · {target}")


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

    def __init__(self, game: Stage, embeddings: Tensor, device: torch.device, seed: int) -> None:
        self.game = game
        self.embeddings = embeddings.repeat_interleave(LATENTS, 0)
        generator = torch.Generator().manual_seed(seed)
        self.latents = torch.randn(LATENTS, game.latent_dim, generator=generator).repeat(len(SAMPLES), 1).to(device)

    def draw(self, path: Path) -> None:
        """Writes the grid: each name's pictures side by side, one column a latent."""
        sheet = ContactSheet(SAMPLES, [""] * len(SAMPLES), LATENTS)
        pairs = zip(self.embeddings.split(LATENTS), self.latents.split(LATENTS), strict=True)
        for group, (embedding, latent) in enumerate(pairs):
            for variant, picture in enumerate(to_uint8(self.game.paint(embedding, latent))):
                sheet.paste(group, variant, picture)
        buffer = io.BytesIO()
        sheet.image.save(buffer, "PNG")
        checkpoint.write_file(path, buffer.getvalue())


class Log:
    """`log.csv`: a row a tick, the means of what every step returned since the last."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.steps: list[dict[str, Tensor]] = []
        if not resume:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)

    def add(self, stats: dict[str, Tensor]) -> None:
        self.steps.append(stats)

    def write(self, kimg: float, seconds: float, on_disk: bool) -> dict[str, float]:
        means = parallel.mean(torch.stack([torch.stack([s.float() for s in step.values()]) for step in self.steps]).mean(0))
        row = {"kimg": kimg, "seconds": seconds, "steps": len(self.steps)}
        row |= dict(zip(self.steps[0], means.tolist(), strict=True))
        self.steps = []
        if on_disk:
            new = not self.path.exists()
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                if new:
                    writer.writeheader()
                writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
        return row


def write_state(path: Path, game: Stage, shown: int, seconds: float) -> None:
    """Everything that --resume needs, in one file, replaced atomically."""
    state = {
        "shown": shown,
        "seconds": seconds,
        "modules": {name: module.state_dict() for name, module in game.modules().items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in game.optimizers().items()},
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    checkpoint.write_file(path, buffer.getvalue())


def read_state(path: Path, game: Stage) -> tuple[int, float]:
    """Puts a run's state back into the players: (photographs shown, seconds spent)."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, module in game.modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in game.optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is not the state of such a run: {error}") from error
    return state["shown"], state["seconds"]


def pack(target: Path, source: Path, stage: str, game: Stage, kimg: float, seconds: float) -> None:
    """Writes the run's checkpoint folder: this stage from the game, everything else as `source` has it."""
    target.mkdir(parents=True, exist_ok=True)
    shipped = game.shipped()
    for file in source.iterdir():
        if file.suffix in {".safetensors", ".model"} and file.stem not in shipped and not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)
    config = checkpoint.read_config(source)
    config["training"] = config.get("training", {}) | {
        f"stage{stage}": {"kimg": round(kimg, 1), "hours": round(seconds / 3600, 2)}
    }
    for name, module in shipped.items():
        checkpoint.save_weights(target, name, module)
        config[name] = module.config
    config.pop("format")
    checkpoint.save_config(target, **config)


def reseed(seed: int, shown: int, rank: int) -> None:
    """Draws depend on the seed, on how far training is and on the process, and on nothing else."""
    torch.manual_seed(seed + 1_000_003 * rank + 7 * shown)


def _stop_on_signal() -> list[int]:
    """A list that SIGTERM and SIGINT are put into, so that the loop can finish its step and save."""
    seen: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if seen:
            sys.exit(128 + number)  # asked twice: now
        seen.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return seen


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


if __name__ == "__main__":
    main()
