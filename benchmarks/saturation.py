"""Pictures a second while more is asked for than can be made: `python -m benchmarks.saturation OTHER`.

64 connections, as many as the queue holds pictures, each of which asks for one new picture after another: all of one
client, then of sixteen, told apart by loopback addresses (Linux). The servers are this checkout's and, where another
checkout is named, such as an earlier commit's, the other one's, each with its own weights. They work by turns, since
the speed of a machine drifts. Prints a table, and writes it into a page.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import aiohttp
import click

from benchmarks.fairness import picture, session
from benchmarks.results import fill, page_option
from benchmarks.serving import started

MARKS = ("<!-- saturation -->\n", "<!-- end of saturation -->\n")
CONNECTIONS = 64
CROWDS = {
    "one client, 64 connections": ["127.0.0.2"],
    "sixteen clients, four connections each": [f"127.0.0.{k}" for k in range(11, 27)],
}
TURNS = 6  # of each server, for each crowd


@click.command()
@click.argument("other", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True, help="Of each measurement.")
@page_option()
def main(other: Path | None, seconds: float, page: Path) -> None:
    """Measures this checkout's server beside that of OTHER, a checkout; prints, and writes --page."""
    with ExitStack() as stack:
        servers = []
        for checkout in (None, other) if other else (None,):
            process, url = stack.enter_context(started("ours", checkout))
            servers.append((process.pid, url))
            # Where a server is stopped before it is told to end, it never does.
            stack.callback(os.killpg, process.pid, signal.SIGCONT)
        for _, url in servers:
            asyncio.run(saturate(url, CROWDS["one client, 64 connections"], 2.0))
        lines = list(table({crowd: by_turns(servers, addresses, seconds) for crowd, addresses in CROWDS.items()}))
    click.echo("\n".join(lines))
    fill(page, "\n".join([*lines, ""]), MARKS)


def by_turns(servers: Sequence[tuple[int, str]], addresses: Sequence[str], seconds: float) -> list[float]:
    """Each server's pictures a second, where only one of them runs at a time."""
    made, spent = [0] * len(servers), [0.0] * len(servers)
    for turn in range(TURNS):
        order = list(range(len(servers)))
        for k in order if turn % 2 else reversed(order):  # so that a drift does not favour the second
            for pid, _ in servers:
                os.killpg(pid, signal.SIGSTOP)
            pid, url = servers[k]
            os.killpg(pid, signal.SIGCONT)
            more, took = asyncio.run(saturate(url, addresses, seconds / TURNS))
            made[k] += more
            spent[k] += took
    return [count / took for count, took in zip(made, spent, strict=True)]


async def saturate(url: str, addresses: Sequence[str], seconds: float) -> tuple[int, float]:
    """Pictures that all got, and how long it took until the last had come."""
    made, start = 0, time.perf_counter()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(url, address)) for address in addresses]

        async def connection(client: aiohttp.ClientSession) -> None:
            nonlocal made
            while time.perf_counter() - start < seconds:
                status = await picture(client)
                if status != 200:
                    raise click.ClickException(f"{url} answered {status}")
                made += 1

        await asyncio.gather(*(connection(clients[k % len(clients)]) for k in range(CONNECTIONS)))
        return made, time.perf_counter() - start


def table(rates: dict[str, list[float]]) -> Iterator[str]:
    """Lines of Markdown."""
    compared = all(len(each) > 1 for each in rates.values())
    yield "| | pictures/s |" + (" the other’s | ratio |" if compared else "")
    yield "|---|---|" + ("---|---|" if compared else "")
    for crowd, (rate, *others) in rates.items():
        yield f"| {crowd} | {rate:.1f} |" + "".join(f" {other:.1f} | {rate / other:.2f} |" for other in others)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.saturation")
