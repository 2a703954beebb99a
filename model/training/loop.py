"""The loop of every training: step, log, save, stop. A `Training` defines what is trained, and when each happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from tqdm import tqdm

from model.training import distributed
from model.training.run_folder import Log
from model.training.signals import stop_on_signal


class TrainingStopped(RuntimeError):
    """The run cannot continue: values are not finite, or the pictures have collapsed into one."""


@dataclass
class TrainingState:
    """The progress of a run: what its state file contains besides weights and optimizers.

    shown: photographs shown, or steps of the text stage.
    seconds: duration of this run, including earlier parts.
    """

    shown: int = 0
    seconds: float = 0.0


class Training(Protocol):
    """The interface of everything that differs between trainings."""

    @property
    def state(self) -> TrainingState: ...

    @property
    def batch(self) -> int:
        """The increase of `state.shown` per step, over all processes."""

    def position(self) -> float:
        """The first column of the log."""

    def progress(self) -> float:
        """The share of the run that is done; it stops at 1."""

    def step(self) -> dict[str, Tensor]:
        """Draws a batch and takes one step; returns scalars for the log, always with the same keys."""

    def ticks(self) -> bool:
        """Returns whether a row of the log is due."""

    def tick(self, row: dict[str, float], stopping: bool) -> str:
        """Checks the means since the last row, and may add to them; returns the text for the progress bar. Raises
        TrainingStopped. `stopping`: a signal has asked to stop."""

    def saves(self) -> bool:
        """Returns whether it is time to save; also called before the first step."""

    def save(self, ended: bool, stopping: bool) -> None:
        """Saves the state for --resume, and the checkpoint."""


def run(
    training: Training,
    log: Log,
    unit: str = "img",
    title: str = "",
    speaks: bool = True,
    begin: Callable[[], None] = lambda: None,
) -> int:
    """Takes steps until the training's progress is 1, or a signal asks it to stop; saves before it returns.

    Args:
        unit, title: of the progress bar.
        speaks: whether this process writes the log and shows the bar.
        begin: called before the first step, once signals no longer kill the process: writes the first files of a run
            folder.

    Returns:
        The signal's number, or 0.
    """
    state = training.state
    began = time.monotonic() - state.seconds
    # A terminal sees every step; a log file need not.
    calm = 0.1 if sys.stderr.isatty() else 10.0
    bar = tqdm(desc=title or None, unit=unit, unit_scale=True, initial=state.shown, disable=not speaks,
               dynamic_ncols=True, mininterval=calm)  # fmt: skip
    with bar, stop_on_signal() as stop:
        begin()
        if training.saves():
            training.save(False, False)
        ended = training.progress() >= 1
        while True:
            if not ended:
                log.add(training.step())
                state.shown += training.batch
                state.seconds = time.monotonic() - began
                progress = training.progress()
                bar.total = max(state.shown, round(state.shown / max(progress, 1e-6)))
                bar.update(training.batch)
                ended = distributed.agree(progress >= 1 or bool(stop))
            if log.steps and (ended or training.ticks()):
                row = log.means(training.position(), state.seconds)
                try:
                    bar.set_postfix_str(training.tick(row, bool(stop)))
                finally:
                    if speaks:
                        log.write(row)
            if ended or distributed.agree(training.saves()):
                training.save(ended, bool(stop))
                ended = ended or training.progress() >= 1
            if ended:
                return stop[0] if stop else 0
