"""Error messages of the commands: mistakes that a user can correct take one line, without a traceback."""

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
    """Turns errors about checkpoints, photographs, names, files and missing packages into click's error messages.

    `folder` is named if the operating system names no file.
    """
    try:
        yield
    except (CheckpointError, DataError, InvalidName, ModuleNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror or error}") from error
