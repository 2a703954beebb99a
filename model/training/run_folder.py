"""A training run's folder: its log, its grids, its state and its checkpoint."""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model import checkpoint
from model.contact_sheet import ContactSheet
from model.pipeline import to_uint8
from model.training import distributed
from model.training.stage import Stage

LATENTS = 4  # of each name on a grid


def check_run(out: Path, state_file: Path, resume: bool) -> None:
    """Raises ValueError where a run would overwrite another, or resume none."""
    if state_file.exists() and not resume:
        raise ValueError(f"{out} holds a run already: go on with --resume, or name another --out")
    if resume and not state_file.exists():
        raise ValueError(f"{state_file} does not exist: there is nothing to resume")


class SampleGrid:
    """The same names and latents at every checkpoint."""

    def __init__(
        self, stage: Stage, names: Sequence[str], embeddings: Tensor, device: torch.device, seed: int
    ) -> None:
        self.stage, self.names = stage, names
        self.embeddings = embeddings.repeat_interleave(LATENTS, 0)
        generator = torch.Generator().manual_seed(seed)
        self.latents = torch.randn(LATENTS, stage.latent_dim, generator=generator).repeat(len(names), 1).to(device)

    def draw(self, path: Path) -> None:
        """Writes the grid: each name's pictures side by side, one column a latent."""
        sheet = ContactSheet(self.names, [""] * len(self.names), LATENTS)
        pairs = zip(self.embeddings.split(LATENTS), self.latents.split(LATENTS), strict=True)
        for group, (embedding, latent) in enumerate(pairs):
            for variant, picture in enumerate(to_uint8(self.stage.sample(embedding, latent).cpu())):
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
        self.resume_hint: list[dict[str, str]] = []
        if kimg is not None and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                self.resume_hint = [row for row in reader if float(row["kimg"]) <= kimg + 1e-3]
                self.columns = list(reader.fieldnames or ())

    def add(self, stats: dict[str, Tensor]) -> None:
        self.steps.append(stats)

    def write(self, kimg: float, seconds: float, on_disk: bool) -> dict[str, float]:
        steps = torch.stack([torch.stack([s.float() for s in step.values()]) for step in self.steps])
        means = distributed.mean(steps.mean(0))
        row = {"kimg": kimg, "seconds": seconds, "steps": len(self.steps)}
        row |= dict(zip(self.steps[0], means.tolist(), strict=True))
        self.steps = []
        if on_disk:
            written = {name: f"{value:.6g}" for name, value in row.items()}
            self._append(written | {"kimg": f"{kimg:.3f}"})  # to the photograph, however long a run is
        return row

    def _append(self, row: dict[str, str]) -> None:
        if list(row) == self.columns and not self.resume_hint:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
            return
        # The first row of a run, or of its going on: the file is written anew, with what is kept of it.
        self.columns = list(dict.fromkeys([*self.columns, *row]))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows([*self.resume_hint, row])
        self.resume_hint = []
        checkpoint.write_file(self.path, text.getvalue().encode())


def write_state(path: Path, stage: Stage, shown: int, seconds: float, past: dict[str, Any]) -> None:
    """Everything that --resume needs, in one file, replaced atomically."""
    state = {
        "shown": shown,
        "seconds": seconds,
        "past": past,
        "modules": {name: module.state_dict() for name, module in stage.modules().items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in stage.optimizers().items()},
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    checkpoint.write_file(path, buffer.getvalue())


def read_state(path: Path, stage: Stage) -> tuple[int, float, dict[str, Any]]:
    """Puts a run's state back into the stage: photographs shown, seconds spent, and what `build` said of the past."""
    with reading_state(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, module in stage.modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in stage.optimizers().items():
            optimizer.load_state_dict(state["optimizers"].get(name, {}))
        return state["shown"], state["seconds"], state.get("past", {})


@contextmanager
def reading_state(path: Path) -> Iterator[None]:
    """What a run goes on from is read: ValueError names the file where it is another run's, or damaged."""
    try:
        yield
    except (KeyError, TypeError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not the state of such a run, or is damaged: {error}") from error


def resume_hint(state_file: Path) -> str:
    """What a run that was stopped leaves."""
    if not state_file.exists():
        return "nothing had been saved yet"
    folder = state_file.parent
    return f"state and checkpoint of the last save are kept in {folder}; --resume --seed N goes on from there"


def start_checkpoint(target: Path, source: Path) -> None:
    """Makes the run's checkpoint folder: all that `source` has, which later saves replace this stage's part of."""
    config = checkpoint.read_config(source)
    for file in sorted(source.iterdir()):
        if file.suffix in {".safetensors", ".model"}:
            checkpoint.write_file(target / file.name, checkpoint.read_file(file))
    config.pop("format")
    checkpoint.save_config(target, **config)


def save_checkpoint(target: Path, stage: Stage, kimg: float, hours: float) -> None:
    """Writes this stage's part of the run's checkpoint folder."""
    shipped = stage.shipped()
    for name, module in shipped.items():
        checkpoint.save_weights(target, name, module)
    sections: dict[str, Any] = {name: module.config for name, module in shipped.items()}
    training = checkpoint.read_config(target).get("training", {})
    training[stage.name] = {"kimg": round(kimg, 3), "hours": round(hours, 3)}
    checkpoint.save_config(target, training=training, **sections)
