"""How the commands say what a user can put right: in a line, without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from model.checkpoint import CheckpointError
from model.data.layouts import DataError
from model.names import InvalidName


@contextmanager
def plain_errors(folder: Path) -> Iterator[None]:
    """Faults of checkpoints, photographs, names, files and of what is not installed.

    `folder` is named where the operating system names none.
    """
    try:
        yield
    except (CheckpointError, DataError, InvalidName, ModuleNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror or error}") from error
