"""The loop of both GAN stages."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from model.data.photos import Photos, load
from model.features.augment import flip
from model.features.matching import has_bfloat16
from model.features.text_reader import embed
from model.pipeline import choose_device
from model.training import distributed
from model.training.name_sampler import NameSampler
from model.training.options import Options, check_data, describe, plain
from model.training.presets import Preset, build, to_record
from model.training.run_folder import (
    Log,
    SampleGrid,
    read_state,
    resume_hint,
    save_checkpoint,
    start_checkpoint,
    write_state,
)
from model.training.signals import stop_on_signal
from model.training.stage import StackGANStage, Stage
from model.training.step_graphs import GraphedStep

SAMPLES = (
    "ピリ辛サーモンパフェ", "smoky beetroot ramen", "抹茶カレー", "green pea soup", "いちごの天ぷら", "chocolate pizza",
    "トマトラーメン", "blueberry sushi", "かぼちゃグラタン", "fried egg salad", "黒ごまアイスクリーム",
    "grilled salmon bowl",
)  # fmt: skip
TICK = 1.0  # kimg between rows of log.csv
PATIENCE = 5  # ticks that the spread may stay under the stage's mark
GRACE = 10.0  # kimg, before which a narrow spread is no collapse
SMALLEST = 4  # photographs a process and step: half of them are for dishes that do not exist, and one has no spread


class TrainingStopped(RuntimeError):
    """The run cannot go on: its numbers are no numbers, or its pictures have collapsed into one."""


def train(
    stage_name: str,
    data: Path,
    out: Path,
    source: Path,
    preset: Preset,
    *,
    kimg: float | None,
    minutes: float | None,
    every: float,
    seed: int,
    device: str,
    given: Mapping[str, Any] | None = None,
    begun: Options | None = None,
    dry_run: bool = False,
) -> None:
    """Trains stage "1" or "2".

    Args:
        data, out, source: photographs, run folder, and checkpoint folder that training starts from.
        preset: resolved.
        kimg, minutes: when to stop, whichever comes first.
        every: minutes between saves.
        given: the command's options, for the run's record.
        begun: the record of the run that goes on, see `Options.resumed`; None begins one.
        dry_run: print what would be done and write nothing.

    Raises TrainingStopped, DataError, CheckpointError, and ValueError for arguments that do not go together.
    """
    state_file, target, resume = out / "state.pt", out / "checkpoint", begun is not None
    if resume:
        source = target  # it has all that the run began with, whatever became of that since
    where, rank, processes = distributed.start(choose_device(device))
    main_process = rank == 0
    batch, rest = divmod(preset.batch, processes)
    if rest or batch < SMALLEST:
        raise ValueError(f"--batch has to be shared evenly by {processes} processes, at least {SMALLEST} each")
    torch.manual_seed(seed)  # the same first weights on every process
    stage, past = build(stage_name, preset, source, where, has_bfloat16(where))
    shown, spent = 0, 0.0  # photographs, seconds
    if resume:
        shown, spent, past = read_state(state_file, stage)
    before, hours = past.get("kimg", 0.0), past.get("hours", 0.0)

    photos = load(data, stage.size, min_pixels=150 if stage.size > 64 else 0)
    if begun is not None:
        check_data(begun.data, photos, data)
    if main_process:
        print(f"stage {stage_name} · {len(photos):,} photographs · batch {batch} × {processes} · {where} · {out}")
    if dry_run:
        if main_process:
            print_plan(stage, photos, data, state_file if resume else source, before + shown / 1000, kimg, minutes)
        return distributed.finish()

    def progress() -> float:
        return max(shown / 1000 / kimg if kimg else 0.0, spent / 60 / minutes if minutes else 0.0)

    if progress() >= 1:
        print(f"{out} has {shown / 1000:.1f} kimg in {spent / 60:.0f} minutes already: nothing is left to do")
        return distributed.finish()
    name_sampler = NameSampler(photos, source, where, seed)
    grid = SampleGrid(stage, SAMPLES, embed(SAMPLES, source, where), where, seed)
    for module in stage.modules().values():
        distributed.broadcast(module)
    pictures = PhotoBatches(photos, where)
    step = stage.step
    if where.type == "cuda" and processes == 1 and isinstance(stage, StackGANStage):
        step = GraphedStep(stage).step
    log, narrow = Log(out / "log.csv", before + shown / 1000 if resume else None), 0
    began, saved, ticked = time.monotonic() - spent, time.monotonic(), shown
    reseed(seed, shown, rank)
    # A terminal sees every step; a log file need not.
    calm = 0.1 if sys.stderr.isatty() else 10.0
    bar = tqdm(unit="img", unit_scale=True, initial=shown, disable=not main_process, dynamic_ncols=True,
               mininterval=calm)  # fmt: skip
    with bar, stop_on_signal() as stop:
        if main_process:
            if begun is None:
                start_checkpoint(target, source)
                begun = Options(plain(given or {}), to_record(preset), describe(photos, data))
            begun.write(out)
        done = False
        while not done:
            index = torch.multinomial(name_sampler.weights, batch, replacement=True)
            names, half = name_sampler.names(index), batch - batch // 2
            imagined = name_sampler.imagined(half) if preset.imagined else names[-half:]
            log.add(step(flip(pictures[index]), names, imagined, before + shown / 1000))
            shown += batch * processes
            spent = time.monotonic() - began
            bar.total = max(shown, round(shown / progress()))
            bar.update(batch * processes)
            done = distributed.agree(progress() >= 1 or bool(stop))
            now = f"{before + shown / 1000:.1f} kimg"

            if shown - ticked >= TICK * 1000 or done:
                ticked = shown
                row = log.write(before + shown / 1000, spent, main_process)
                bar.set_postfix_str(f"{now} d {row['d_loss']:.2f} spread {row['spread']:.2f}")
                if not all(map(math.isfinite, row.values())):
                    raise TrainingStopped(f"a loss is not a number any more at {now}: {resume_hint(state_file)}")
                narrow = narrow + 1 if row["spread"] < stage.collapsed and shown > GRACE * 1000 else 0
                if narrow >= PATIENCE:
                    raise TrainingStopped(
                        f"collapse at {now}: the spread of a pixel over a batch is {row['spread']:.3f} "
                        f"(photographs have 0.5). From before it narrowed, {resume_hint(state_file)}"
                    )
            if (done or distributed.agree(time.monotonic() - saved >= every * 60)) and not narrow:
                if not finite(stage):
                    raise TrainingStopped(f"a weight is not a number any more at {now}: {resume_hint(state_file)}")
                saved = time.monotonic()
                if main_process:
                    write_state(state_file, stage, shown, spent, past)
                    save_checkpoint(target, stage, before + shown / 1000, hours + spent / 3600)
                    grid.draw(out / "samples" / f"{round(before + shown / 1000):06d}.png")
                reseed(seed, shown, rank)  # so that a resumed run draws what an uninterrupted one would have drawn
    if main_process:
        print(f"{now} in {spent / 60:.0f} minutes · {target}")
        if narrow:
            narrowing = f"the pictures were narrowing (spread {row['spread']:.3f})"
            print(f"Not saved, since {narrowing}: {resume_hint(state_file)}")
    distributed.finish()


def print_plan(
    stage: Stage, photos: Photos, data: Path, source: Path, kimg: float, stop_kimg: float | None, minutes: float | None
) -> None:
    """What --dry-run says, below the line that every run begins with."""
    japanese = sum(name is not None for name in photos.names_ja)
    print(f"data: {len(set(photos.names)):,} different names, {japanese:,} photographs with a Japanese one, in {data}")
    for name, module in stage.modules().items():
        if name != "average":
            print(f"{name}: {sum(p.numel() for p in module.parameters()):,} parameters")
    print(f"starts from {source}, " + (f"at {kimg:g} kimg" if kimg else "which has nothing of this stage yet"))
    stops = [f"{end:g} {unit}" for end, unit in ((stop_kimg, "kimg"), (minutes, "minutes")) if end]
    print(f"stops at {' or '.join(stops)} of this run")


class PhotoBatches:
    """Photographs as tensors: all of them on a GPU, which has the room; read from the cache where there is none."""

    def __init__(self, photos: Photos, device: torch.device) -> None:
        self.device = device
        self.on_device = torch.from_numpy(photos.images[:]).to(device) if device.type == "cuda" else None
        self.images = photos.images

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B,) indices -> (B, 3, size, size) float32 in [-1, 1]."""
        chosen = torch.from_numpy(self.images[index.numpy()]) if self.on_device is None else self.on_device[index]
        return chosen.permute(0, 3, 1, 2).float() / 127.5 - 1


def finite(stage: Stage) -> bool:
    """Whether every weight is a number."""
    modules = stage.modules().values()
    return all(bool(t.isfinite().all()) for module in modules for t in module.state_dict().values())


def reseed(seed: int, shown: int, rank: int) -> None:
    """Draws depend on the seed, on how far training is and on the process, and on nothing else."""
    torch.manual_seed(seed + 1_000_003 * rank + 7 * shown)
