"""Errors of the commands: mistakes that a user can correct take one line, without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from model.checkpoint import CheckpointError
from model.data.layouts import DataError
from model.names import InvalidName


def check_out(out: Path, *sources: Path) -> None:
    """Raises CheckpointError if `out`, a folder to write, is one of those that are read."""
    if out.resolve() in {source.resolve() for source in sources}:
        raise CheckpointError(f"{out} is what is read: name another --out")


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
