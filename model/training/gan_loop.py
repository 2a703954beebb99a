"""The training loop of both GAN stages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.data.crops import load_training
from model.data.name_pairs import rows_in
from model.data.photos import Photos
from model.features.augment import flip
from model.features.matching import has_bfloat16
from model.features.text_reader import embed
from model.generators import SKETCH_SIZE
from model.languages import LANGUAGES, OTHERS
from model.pipeline import choose_device
from model.training import distributed, loop
from model.training.loop import TrainingState, TrainingStopped
from model.training.name_sampler import COMPOSED, NameSampler
from model.training.options import Options, check_data, describe, plain
from model.training.presets import Preset, build, to_record
from model.training.recipe import run_entry
from model.training.run_folder import (
    CHECKPOINT,
    STATE,
    Log,
    SampleGrid,
    read_state,
    resume_hint,
    save_checkpoint,
    start_checkpoint,
    write_state,
)
from model.training.stage import StackGANStage, Stage
from model.training.step_graphs import GraphedStep

SAMPLES = (
    "ピリ辛サーモンパフェ", "smoky beetroot ramen", "抹茶カレー", "green pea soup", "いちごの天ぷら", "chocolate pizza",
    "トマトラーメン", "blueberry sushi", "かぼちゃグラタン", "fried egg salad", "黒ごまアイスクリーム",
    "grilled salmon bowl",
)  # fmt: skip
SMALLEST = 4  # photographs a process and step: half of them are for dishes that do not exist, and one has no spread


@dataclass(frozen=True)
class LoopConfig:
    """Monitoring of a run, which does not affect what is learned; and its components, which benchmarks and tests may
    replace.

    tick: kimg between rows of log.csv.
    patience: number of ticks that the spread may stay under the stage's threshold.
    grace: kimg before which a narrow spread does not count as collapse.
    samples: number of names on the sample grids.
    latents: number of latents per name on a grid.
    composed: number of composed names held ready, equally many in each language.
    experiment: name of what differs from `model.train`. It is recorded, and a run can only be resumed as the same one.
    build: makes the stage of a preset.
    name_sampler: draws the names.
    """

    tick: float = 1.0
    patience: int = 5
    grace: float = 10.0
    samples: tuple[str, ...] = SAMPLES
    latents: int = 4
    composed: int = COMPOSED
    experiment: str | None = None
    build: Callable[[str, Preset, Path, torch.device, bool], tuple[Stage, dict[str, Any]]] = build
    name_sampler: type[NameSampler] = NameSampler


@dataclass
class GanState(TrainingState):
    """kimg, hours: training behind the weights that the run started from."""

    kimg: float = 0.0
    hours: float = 0.0

    @property
    def position(self) -> float:
        """The kimg behind the weights."""
        return self.kimg + self.shown / 1000


class GanTraining:
    """Stage 1 or 2, or a baseline, as the loop sees it. See `model.training.loop.Training`.

    Args:
        draw: returns a batch: photographs, embeddings of their names, and embeddings of dishes that do not exist.
        batch: photographs per step, over all processes.
        kimg, minutes: length of the run, whichever comes first.
        every: seconds between saves.
        options: the run's record.
    """

    def __init__(
        self,
        out: Path,
        stage: Stage,
        state: GanState,
        draw: Callable[[], tuple[Tensor, Tensor, Tensor]],
        grid: SampleGrid,
        *,
        batch: int,
        kimg: float | None,
        minutes: float | None,
        every: float,
        seed: int,
        rank: int,
        options: Options,
        config: LoopConfig,
    ) -> None:
        self.out, self.stage, self.state, self.draw, self.grid, self.batch = out, stage, state, draw, grid, batch
        self.kimg, self.minutes, self.every, self.seed, self.rank = kimg, minutes, every, seed, rank
        self.options, self.config = options, config
        self.update = stage.step
        if isinstance(stage, StackGANStage) and stage.device.type == "cuda" and distributed.count() == 1:
            self.update = GraphedStep(stage).step
        self.narrow, self.spread = 0, 0.0
        self.ticked = self.saved_at = state.shown
        self.saved = time.monotonic()
        reseed(seed, state.shown, rank)

    def position(self) -> float:
        return self.state.position

    def progress(self) -> float:
        state = self.state
        return progress(state, self.kimg, self.minutes)

    def step(self) -> dict[str, Tensor]:
        photos, names, imagined = self.draw()
        return self.update(photos, names, imagined, self.state.position)

    def ticks(self) -> bool:
        return self.state.shown - self.ticked >= self.config.tick * 1000

    def tick(self, row: dict[str, float], stopping: bool) -> str:
        state, now = self.state, self.now()
        self.ticked, self.spread = state.shown, row["spread"]
        if not all(map(math.isfinite, row.values())):
            raise TrainingStopped(f"a loss is not a number any more at {now}: {self.hint()}")
        narrow = self.spread < self.stage.collapsed and state.shown > self.config.grace * 1000
        self.narrow = self.narrow + 1 if narrow else 0
        if self.narrow >= self.config.patience:
            raise TrainingStopped(
                f"collapse at {now}: the spread of a pixel over a batch is {self.spread:.3f} "
                f"(photographs have 0.5). From before it narrowed, {self.hint()}"
            )
        return f"{now} d {row['d_loss']:.2f} spread {self.spread:.2f}"

    def saves(self) -> bool:
        return self.state.shown > self.saved_at and time.monotonic() - self.saved >= self.every

    def save(self, ended: bool, stopping: bool) -> None:
        if self.narrow:
            return
        if not finite(self.stage):
            raise TrainingStopped(f"a weight is not a number any more at {self.now()}: {self.hint()}")
        state = self.state
        self.saved, self.saved_at = time.monotonic(), state.shown
        if self.rank == 0:
            write_state(self.out / STATE, self.stage, state)
            kimg, hours = state.shown / 1000, state.seconds / 3600
            runs = [*self.options.runs, run_entry(self.options, kimg, hours)]
            save_checkpoint(self.out / CHECKPOINT, self.stage, state.position, state.hours + hours, runs)
            self.grid.draw(self.out / "samples" / f"{round(state.position):06d}.png")
        reseed(self.seed, state.shown, self.rank)  # so that a resumed run draws what an uninterrupted one would

    def now(self) -> str:
        return f"{self.state.position:.1f} kimg"

    def hint(self) -> str:
        return resume_hint(self.out / STATE)


def progress(state: TrainingState, kimg: float | None, minutes: float | None) -> float:
    """The share of a run that is done: of its kimg or its minutes, whichever is larger."""
    return max(state.shown / 1000 / kimg if kimg else 0.0, state.seconds / 60 / minutes if minutes else 0.0)


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
    crops: Sequence[Path] = (),
    given: Mapping[str, Any] | None = None,
    begun: Options | None = None,
    dry_run: bool = False,
    config: LoopConfig | None = None,
) -> None:
    """Trains stage "1" or "2".

    Args:
        data, out, source: photographs, run folder, and checkpoint folder that training starts from.
        preset: the resolved preset.
        kimg, minutes: when to stop, whichever comes first.
        every: minutes between saves.
        crops: tables of crops. If given, only the photographs that they list are used, cropped accordingly.
        given: the command's options, for the run's record.
        begun: the record of the run to resume, see `Options.resumed`; None starts a new run.
        dry_run: print what would be done and write nothing.
        config: monitoring and components.

    Raises TrainingStopped, DataError, CheckpointError, and ValueError for incompatible arguments.
    """
    config = config or LoopConfig()
    state_file, target = out / STATE, out / CHECKPOINT
    if begun is not None:
        source = target  # it has all that the run began with, whatever became of that since
    where, rank, processes = distributed.start(choose_device(device))
    main_process = rank == 0
    batch, rest = divmod(preset.batch, processes)
    if rest or batch < SMALLEST:
        raise ValueError(f"--batch has to be shared evenly by {processes} processes, at least {SMALLEST} each")
    torch.manual_seed(seed)  # the same first weights on every process
    stage, past = config.build(stage_name, preset, source, where, has_bfloat16(where))
    if begun is None:
        state = GanState(kimg=past.get("kimg", 0.0), hours=past.get("hours", 0.0))
    else:
        state = read_state(state_file, GanState, stage)

    min_pixels = 150 if stage.size > SKETCH_SIZE else 0
    photos = load_training(data, stage.size, crops, min_pixels)
    if begun is not None:
        check_data(begun.data, photos, data)
    if main_process:
        print(f"stage {stage_name} · {len(photos):,} photographs · batch {batch} × {processes} · {where} · {out}")
    if dry_run:
        if main_process:
            print_plan(stage, photos, data, source if begun is None else state_file, state.position, kimg, minutes)
        return distributed.finish()
    if progress(state, kimg, minutes) >= 1:
        done = f"{state.shown / 1000:.1f} kimg in {state.seconds / 60:.0f} minutes"
        print(f"{out} has {done} already: nothing is left to do")
        return distributed.finish()
    name_sampler = config.name_sampler(photos, source, where, seed, config.composed)
    grid = SampleGrid(stage, config.samples, embed(config.samples, source, where), where, seed, config.latents)
    for module in stage.modules().values():
        distributed.broadcast(module)
    pictures = PhotoBatches(photos, where)

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        index = torch.multinomial(name_sampler.weights, batch, replacement=True)
        names = name_sampler.names(index)
        return flip(pictures[index]), names, name_sampler.imagined(batch - batch // 2)

    record = begun or Options(
        plain(given or {}), to_record(preset), describe(photos, data), runs=past.get("runs", [])
    )

    def begin() -> None:
        if not main_process:
            return
        if begun is None:
            start_checkpoint(target, source)
        record.write(out)

    log = Log(out / "log.csv", None if begun is None else state.position)
    training = GanTraining(
        out, stage, state, draw, grid, batch=preset.batch, kimg=kimg, minutes=minutes, every=60 * every, seed=seed,
        rank=rank, options=record, config=config,
    )  # fmt: skip
    loop.run(training, log, speaks=main_process, begin=begin)
    if main_process:
        print(f"{training.now()} in {state.seconds / 60:.0f} minutes · {target}")
        if training.narrow:
            print(f"Not saved, since the pictures were narrowing (spread {training.spread:.3f}): {training.hint()}")
    distributed.finish()


def print_plan(
    stage: Stage, photos: Photos, data: Path, source: Path, kimg: float, stop_kimg: float | None, minutes: float | None
) -> None:
    """Prints the report of --dry-run, after the line that every run starts with."""
    translated = (f"{len(rows_in(photos, language)):,} photographs with a {LANGUAGES[language].name} one"
                  for language in OTHERS)  # fmt: skip
    print(f"data: {len(set(photos.names)):,} different names, {', '.join(translated)}, in {data}")
    for name, module in stage.modules().items():
        if name != "average":
            print(f"{name}: {sum(p.numel() for p in module.parameters()):,} parameters")
    print(f"starts from {source}, " + (f"at {kimg:g} kimg" if kimg else "which has nothing of this stage yet"))
    stops = [f"{end:g} {unit}" for end, unit in ((stop_kimg, "kimg"), (minutes, "minutes")) if end]
    print(f"stops at {' or '.join(stops)} of this run")


class PhotoBatches:
    """Photographs as tensors: all in GPU memory if there is a GPU, otherwise read from the cache."""

    def __init__(self, photos: Photos, device: torch.device) -> None:
        self.device = device
        self.on_device = torch.from_numpy(photos.images[:]).to(device) if device.type == "cuda" else None
        self.images = photos.images

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B,) indices -> (B, 3, size, size) float32 in [-1, 1]."""
        chosen = torch.from_numpy(self.images[index.numpy()]) if self.on_device is None else self.on_device[index]
        return chosen.permute(0, 3, 1, 2).float() / 127.5 - 1


def finite(stage: Stage) -> bool:
    """Returns whether every weight is a number."""
    modules = stage.modules().values()
    return all(bool(t.isfinite().all()) for module in modules for t in module.state_dict().values())


def reseed(seed: int, shown: int, rank: int) -> None:
    """Reseeds torch from the seed, the training progress and the rank only."""
    torch.manual_seed(seed + 1_000_003 * rank + 7 * shown)
