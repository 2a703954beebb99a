"""Measures the cost of idle connections, and of answers that nobody reads: `python -m benchmarks.exhaustion`.

Our server on this machine (Linux) with the checkpoint that ships, and no more than 1,024 file descriptors. One client
holds 1,100 idle connections, then asks 300 times for the largest answer that there is, a menu.zip of 24 pictures, and
reads none. Meanwhile another asks /healthz. Prints a table, and writes it into a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlencode, urlsplit

import aiohttp
import click

from benchmarks.fairness import session
from benchmarks.results import fill, page_option
from benchmarks.serving import memory, started

MARKS = ("<!-- exhaustion -->\n", "<!-- end of exhaustion -->\n")
DESCRIPTORS = 1024  # that the server may have
IDLE, UNREAD = 1100, 300  # connections
ATTACKER, POLITE = "127.0.0.2", "127.0.0.3"
MENU = [("dish", f"name=smoky beetroot ramen&seed={k}") for k in range(24)]


@dataclass(frozen=True)
class Run:
    """log_lines, log_bytes: in all that time. grown: MiB of the process, at most. kernel: MiB that the system's sockets
    hold, both ends of each, at most; kernel_after: in the end. answers: of /healthz. worst: seconds that one took."""

    title: str
    log_lines: int
    log_bytes: int
    grown: float
    kernel: float
    kernel_after: float
    answers: int
    failures: int
    worst: float


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True, help="Of each attack.")
@page_option()
def main(seconds: float, page: Path) -> None:
    """Measures, prints, and writes --page."""
    needed = IDLE + DESCRIPTORS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise click.ClickException(f"needs {needed} file descriptors, and ulimit -Hn says {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    runs = []
    under = ("prlimit", f"--nofile={DESCRIPTORS}")
    with tempfile.TemporaryFile() as log, started("ours", under=under, log=log) as (process, url):
        for title, attack in ATTACKS.items():
            runs.append(asyncio.run(measured(title, attack, url, process.pid, log, seconds)))
            time.sleep(1)
    lines = list(table(runs, seconds))
    click.echo("\n".join(lines))
    fill(page, "\n".join([*lines, ""]), MARKS)


async def measured(
    title: str, attack: Callable[[str, list[socket.socket]], Awaitable[None]], url: str, pid: int, log: IO[bytes],
    seconds: float,
) -> Run:  # fmt: skip
    """An attack, for so many seconds, and what it does to the server meanwhile."""
    lines, size, before, in_kernel = len(written(log)), log_size(log), memory(pid), kernel()
    grown = held = worst = 0.0
    answers = failures = 0
    sockets: list[socket.socket] = []
    attacking = asyncio.ensure_future(attack(url, sockets))
    deadline = time.perf_counter() + seconds
    try:
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            try:
                async with session(url, POLITE) as client, client.get("/healthz") as answer:
                    answers += answer.status == 200
                    failures += answer.status != 200
            except aiohttp.ClientError:
                failures += 1
            worst = max(worst, time.perf_counter() - began)
            grown, held = max(grown, memory(pid) - before), max(held, kernel() - in_kernel)
            await asyncio.sleep(0.2)
    finally:
        attacking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await attacking
        left = kernel() - in_kernel
        for each in sockets:
            each.close()
    return Run(
        title=title,
        log_lines=len(written(log)) - lines,
        log_bytes=log_size(log) - size,
        grown=grown,
        kernel=held,
        kernel_after=left,
        answers=answers,
        failures=failures,
        worst=worst,
    )


async def idle(url: str, sockets: list[socket.socket]) -> None:
    """Connections that ask for nothing."""
    while len(sockets) < IDLE:
        sockets.append(await connected(url))


async def unread(url: str, sockets: list[socket.socket]) -> None:
    """Large answers of which nothing is read."""
    target = f"/menu.zip?{urlencode(MENU)}"
    async with session(url, ATTACKER) as client, client.get(target) as answer:
        await answer.read()  # the pictures are in memory from here
    for _ in range(UNREAD):
        sockets.append(await connected(url))
        await asyncio.get_running_loop().sock_sendall(sockets[-1], f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


ATTACKS: dict[str, Callable[[str, list[socket.socket]], Awaitable[None]]] = {
    f"{IDLE:,} idle connections": idle,
    f"{UNREAD} unread copies of menu.zip": unread,
}


async def connected(url: str) -> socket.socket:
    """A connection of the attacker's, whose own buffer is small, so that what is unread lies with the server."""
    address = urlsplit(url)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.bind((ATTACKER, 0))
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, (address.hostname, address.port))
    return made


def kernel() -> float:
    """MiB that all TCP sockets of this machine hold (/proc/net/sockstat)."""
    found = re.search(r"^TCP:.* mem (\d+)$", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def log_size(log: IO[bytes]) -> int:
    return os.fstat(log.fileno()).st_size


def written(log: IO[bytes]) -> list[bytes]:
    """The lines of a file that another process writes, whose place in it this one must not move."""
    return os.pread(log.fileno(), log_size(log), 0).splitlines()


def table(runs: list[Run], seconds: float) -> Iterator[str]:
    """Lines of Markdown."""
    yield (
        "| | lines in the log a minute | KiB | memory grew by, MiB | sockets held, MiB | in the end "
        "| /healthz answered | failed | the longest, s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for run in runs:
        minutes = seconds / 60
        yield (
            f"| {run.title} | {run.log_lines / minutes:.0f} | {run.log_bytes / minutes / 2**10:.1f} "
            f"| {run.grown:.0f} | {run.kernel:.0f} | {run.kernel_after:.0f} | {run.answers} | {run.failures} "
            f"| {run.worst:.2f} |"
        )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.exhaustion")
