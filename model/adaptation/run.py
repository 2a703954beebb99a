"""The run folder of an adaptation: its photographs, and everything needed to resume it."""

from __future__ import annotations

import io
import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image

from model import checkpoint
from model.adaptation.alignment import Alignment, align
from model.adaptation.recombine import recombine
from model.adaptation.regularization import PLANS, AdaptationPlan, adaptation_preset, choose_plan
from model.checkpoint import SHIPPED
from model.data.inspection import SMALL, Findings, look
from model.data.layouts import DataError
from model.data.photos import Photos, by_photo
from model.generators import PICTURE_SIZE
from model.languages import OTHERS
from model.pipeline import Pipeline, choose_device
from model.text_encoder import Tokenizer
from model.training.name_sampler import COMPOSED, NameSampler
from model.training.options import Options, describe, plain
from model.training.options import read as read_options
from model.training.presets import Preset, to_record
from model.training.run_folder import start_checkpoint

SHARE = 0.45  # of the time for stage 1; what it leaves is stage 2's
REPORT = 90.0  # seconds kept for the report at most, or a tenth of the time
HELD_BACK = 0.2  # of the photographs, and of their groups
FEWEST = 2  # photographs held back, and shown: a distance between sets of one is none
LARGE = 0.3  # of the photographs: a group of more is not held back
RECORDED = ("minutes", "seed", "data", "version", "found")


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings of an adaptation: what it trains, checks and shows.

    plans: what may be trained, by the number of photographs.
    batch: photographs per step; None: as in the preset.
    checks: number of checks per stage, spread over its kimg or over half of the minutes, whichever comes first.
    check_share: maximum share of the time that checks may take, on any machine.
    patience: number of checks without improvement after which a stage stops.
    pictures: maximum number of either kind in a check, by size; None: as in `model.adaptation.validation`.
    tick: number of steps between rows of the log.
    grid: number of names on a grid, a third of them recombined.
    latents: number of latents per name on a grid.
    recombined: number of made-up names for grids and the report.
    report_names: number of photographs' names in the report.
    report: whether to write one; without it, the files for --resume are kept too.
    composed: number of composed names held ready.
    """

    plans: tuple[AdaptationPlan, ...] = PLANS
    batch: int | None = None
    checks: int = 10
    check_share: float = 0.1
    patience: int = 4
    pictures: Mapping[int, int] | None = None
    tick: int = 50
    grid: int = 12
    latents: int = 4
    recombined: int = 20
    report_names: int = 24
    report: bool = True
    composed: int = COMPOSED


@dataclass
class AdaptationRun:
    """An adaptation and its folder.

    found: the report's lines about the findings.
    photos: (N, 256, 256, 3), all photographs that are used.
    held, small: (N,) bool, which of them are held out, and which are used in stage 1 only.
    alignment: how they were cropped.
    seconds: time spent so far.
    """

    out: Path
    minutes: float
    seed: int
    data: str
    version: str
    found: list[str]
    photos: Photos
    held: np.ndarray
    small: np.ndarray
    alignment: Alignment
    device: torch.device
    seconds: float = 0.0
    config: AdaptationConfig = AdaptationConfig()

    def __post_init__(self) -> None:
        self.began = time.monotonic() - self.seconds

    @property
    def folder(self) -> Path:
        return self.out / "adaptation"

    @property
    def base(self) -> Path:
        """The folder with a copy of the base checkpoint, which may change or disappear while the run is interrupted."""
        return self.folder / "base"

    @property
    def plan(self) -> AdaptationPlan:
        return choose_plan(len(self.photos), self.config.plans)

    def preset(self, stage: str) -> Preset:
        """The preset of a stage, "1" or "2"."""
        preset = adaptation_preset(stage)
        return replace(preset, batch=self.config.batch or preset.batch)

    @cached_property
    def name_sampler(self) -> NameSampler:
        return NameSampler(self.part(~self.held), self.base, self.device, self.seed, self.config.composed)

    @cached_property
    def recombined(self) -> list[str]:
        """Made-up names from the photographs' words, for the report and the grids; never trained on."""
        names = self.photos.all_names()
        tokenizer = Tokenizer.load(self.base / checkpoint.TOKENIZER)
        return recombine(names, self.config.recombined, self.seed, tokenizer.pieces)

    def part(self, chosen: np.ndarray, size: int = PICTURE_SIZE) -> Photos:
        """The photographs selected by `chosen` (N,), at 256 or 64 px."""
        images = self.photos.images[chosen]
        if size != PICTURE_SIZE:
            smaller = (Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS) for image in images)
            images = np.stack([np.asarray(image) for image in smaller])
        return replace(self.photos.take(np.flatnonzero(chosen)), images=images)

    def spent(self) -> float:
        """Seconds spent, including those before an interruption."""
        self.seconds = time.monotonic() - self.began
        return self.seconds

    def until(self, stage: str) -> float:
        """The time in seconds at which a stage has to end."""
        time_for_both = 60 * self.minutes - min(REPORT, 6 * self.minutes)
        return time_for_both * (SHARE if stage == "1" else 1.0)

    def save(self, finished: bool = False) -> None:
        """Writes run.json, which marks the folder as a run."""
        record = {name: getattr(self, name) for name in RECORDED} | {"seconds": self.spent(), "finished": finished}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        checkpoint.write_file(self.folder / "run.json", text.encode())


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Locks a folder against other adaptations. Raises ValueError if one is already running in it."""
    folder, new = out / "adaptation", not out.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            try:
                yield
            finally:
                if not (folder / "run.json").exists():  # it was refused before it began
                    with suppress(OSError):
                        (folder / ".lock").unlink()
                        folder.rmdir()
                        if new:
                            out.rmdir()
    except Timeout:
        raise ValueError(f"another adaptation is at work in {out}") from None


def start(
    data: Path,
    out: Path,
    source: Path,
    minutes: float,
    seed: int,
    device: str,
    aligned: bool = True,
    config: AdaptationConfig = AdaptationConfig(),  # it is frozen
) -> AdaptationRun:
    """Starts a new run: inspects the photographs, prints the findings, and writes its folder.

    Args:
        aligned: whether to align the photographs, see `model.adaptation.alignment`.
    """
    if (out / "adaptation" / "run.json").exists():
        raise ValueError(f"{out} holds an adaptation already: go on with --resume, or name another --out")
    if (out / checkpoint.CONFIG).exists():
        raise ValueError(f"{out} holds a checkpoint already: name another --out")
    if others := [path.name for path in out.glob("[!.]*") if path.name != "adaptation"]:
        raise ValueError(f"{out} is not empty ({others[0]} is in it): name another --out")
    if out.resolve().is_relative_to(data.resolve()):
        raise ValueError(f"{out} is in {data}, where its grids would be taken for photographs: name an --out elsewhere")
    for path in (data.resolve(), out.resolve()):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise ValueError(f"the name of {str(path)!r} is not UTF-8: rename it") from None
    _finite(minutes)
    where = choose_device(device)
    # What is missing is said before anything is looked at.
    version = Pipeline.load(source, "cpu").version
    sections = checkpoint.read_config(source)
    for part in SHIPPED:
        if part not in sections or not checkpoint.weights_path(source, part).exists():
            raise checkpoint.CheckpointError(f"{source} has no {part}: adapting needs what training goes on from")
    began = time.monotonic()
    findings, alignment, held, small = examine(data, source, seed, aligned)
    photos = findings.photos
    run = AdaptationRun(
        out, minutes, seed, str(data.resolve()), version, [*findings.lines(), *alignment.lines(len(photos))], photos,
        held, small, alignment, where, time.monotonic() - began, config,
    )  # fmt: skip
    start_checkpoint(run.base, source)
    buffer = io.BytesIO()
    translated = {f"names_{language}": [name or "" for name in photos.names_in(language)] for language in OTHERS}
    texts = {"names": photos.names, **translated, "kinds": photos.kinds, "sources": photos.sources,
             "left": alignment.left, "rows": alignment.rows}  # fmt: skip
    np.savez(buffer, images=photos.images, held=held, small=small, before=alignment.before,
             texts=np.array(json.dumps(texts)))  # fmt: skip
    checkpoint.write_file(run.folder / "photos.npz", buffer.getvalue())
    given = {"photos": data, "minutes": minutes, "seed": seed, "from": source, "device": device, "align": aligned}
    stages = {stage: to_record(run.preset(stage)) for stage in ("1", "2")}
    Options(plain(given), {"plan": asdict(run.plan), "stages": stages}, describe(photos, data)).write(run.folder)
    run.save()
    return run


def examine(
    data: Path, source: Path, seed: int, aligned: bool
) -> tuple[Findings, Alignment, np.ndarray, np.ndarray]:
    """Inspects a folder of photographs and aligns them if asked; also returns `held` and `small` of `AdaptationRun`.

    Raises:
        DataError: they cannot be used.
    """
    findings = look(data, Tokenizer.load(source / checkpoint.TOKENIZER))
    held, small = hold_out(findings.groups, seed), np.zeros(len(findings.photos), bool)
    report = "\n".join(["", *findings.lines()])
    if min(held.sum(), (~held).sum()) < FEWEST:
        raise DataError(
            f"{data}: too many photographs have one name or look the same, so that too few others can be held back. "
            f"Name each file after its dish, or add photographs of other dishes{report}"
        )
    small[findings.small] = True
    if (held | small).all():
        raise DataError(
            f"{data}: all photographs that are not held back are too small for stage 2, which needs some of "
            f"{SMALL} pixels a side{report}"
        )
    photos, alignment = align(findings.photos, findings.labels) if aligned else (findings.photos, Alignment())
    return replace(findings, photos=photos), alignment, held, small


def resume_run(
    data: Path,
    out: Path,
    minutes: float | None,
    device: str,
    stated: Mapping[str, Any] | None = None,
    config: AdaptationConfig = AdaptationConfig(),
) -> AdaptationRun:
    """Restores an interrupted run. Raises ValueError if `data`, which may no longer exist, is not what it was started
    with.

    Args:
        minutes: for the whole run; None keeps its own.
        stated: other options that were given, by their names in the command. Raises ValueError if they contradict the
            run.
    """
    file = out / "adaptation" / "run.json"
    if not file.exists():
        raise ValueError(f"{file} does not exist: there is nothing to resume")
    another = "name another --out (make adapt: OUT=FOLDER)"
    try:
        record = json.loads(file.read_text("utf-8"))
        known, finished = {name: record[name] for name in (*RECORDED, "seconds")}, record["finished"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error!r}): {another}") from error
    known["minutes"] = minutes or known["minutes"]
    _finite(known["minutes"])
    if known["data"] != str(data.resolve()):
        raise ValueError(f"{out} holds an adaptation to {known['data']}: for {data}, {another}")
    if finished:
        raise ValueError(f"{out} is finished: nothing is left to do. To adapt once more, {another}")
    asked = {**(stated or {}), "device": device, "minutes": known["minutes"]}
    read_options(file.parent).resumed(asked, {"device", "minutes"}, out).write(file.parent)
    with np.load(file.with_name("photos.npz")) as stored:
        texts = json.loads(str(stored["texts"]))
        translations = by_photo({language: texts[f"names_{language}"] for language in OTHERS})
        photos = Photos(stored["images"], texts["names"], translations, texts["kinds"], texts["sources"])
        masks = {"held": stored["held"], "small": stored["small"]}
        # Runs that an earlier version began are not aligned.
        alignment = Alignment(texts["left"], texts["rows"], stored["before"]) if "before" in stored else Alignment()
    where = choose_device(device)
    return AdaptationRun(out=out, photos=photos, alignment=alignment, device=where, config=config, **masks, **known)


def hold_out(groups: Sequence[int], seed: int) -> np.ndarray:
    """(N,) bool: the photographs to hold out, a fifth of them or of their groups, whichever is less, without splitting
    groups.

    If most photographs share one name, a fifth of all may be everything with other names; if those are fewer than
    FEWEST, the smallest of the large groups is held out with them.
    """
    sizes = Counter(groups)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    small = [group for group in order if sizes[group] <= LARGE * len(groups)]
    large = sorted((group for group in order if sizes[group] > LARGE * len(groups)), key=sizes.__getitem__)
    most = min(math.ceil(HELD_BACK * len(order)), len(small))
    held = np.zeros(len(groups), bool)
    for n, group in enumerate([*small, *large]):
        if (n >= most or held.sum() >= HELD_BACK * len(groups)) and held.sum() >= FEWEST:
            break
        held |= np.array(groups) == group
    return held


def _finite(minutes: float) -> None:
    if not math.isfinite(minutes):
        raise ValueError(f"--minutes {minutes:g} is no time to end at")
