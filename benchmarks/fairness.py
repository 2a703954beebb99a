"""Measures what a polite visitor gets while one client takes all that it can: `python -m benchmarks.fairness`.

Our server on this machine with the checkpoint that ships. A visitor orders four pictures, waits as long as it is told
to where the kitchen is full, thinks, and comes back; first alone, then beside a greedy client of each kind, then as one
of ten. Clients are told apart by their loopback addresses (Linux: all of 127.0.0.0/8); nothing leaves the machine.
Writes a JSON file, and the table into a page. What the model itself took for a picture stands in each row: where it
differs between rows, other processes had the CPUs, and the rows cannot be compared.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import click

from benchmarks.results import fill, page_option
from benchmarks.serving import quantile, started

MARKS = ("<!-- fairness -->\n", "<!-- end of fairness -->\n")
NAME = "smoky beetroot ramen"
PICTURES = 4  # of a visit
THINK = 0.3  # seconds between two visits
GREEDY, POLITE = "127.0.0.2", "127.0.0.3"
TEN = [f"127.0.0.{k}" for k in range(11, 21)]
LONGEST_VISIT = 60.0  # seconds, after which a visitor gives up
LEAST_VISITS = 10  # of each of several, before their shares are compared: with 4 and 6, chance makes a factor of 1.5
SEEDS = itertools.count(int(time.time()) % 1_000_000 * 1000)  # no picture is asked for twice

Ask = Callable[[aiohttp.ClientSession], Awaitable[int]]


async def read(asking: aiohttp.client._RequestContextManager) -> int:
    """The status of an answer, read to its end."""
    async with asking as answer:
        await answer.read()
        return answer.status


def picture(client: aiohttp.ClientSession) -> Awaitable[int]:
    return read(client.get("/dish.png", params={"name": NAME, "seed": next(SEEDS)}))


def eight(client: aiohttp.ClientSession) -> Awaitable[int]:
    return read(client.post("/generate", json={"name": NAME, "n": 8, "seed": next(SEEDS) * 8}))


def openai(client: aiohttp.ClientSession) -> Awaitable[int]:
    return read(client.post("/v1/images/generations", json={"prompt": NAME, "n": 8, "response_format": "b64_json"}))


def menu(client: aiohttp.ClientSession) -> Awaitable[int]:
    return read(client.get("/menu.zip", params=[("dish", f"name=tea&seed={next(SEEDS)}") for _ in range(24)]))


def table(client: aiohttp.ClientSession) -> Awaitable[int]:
    names = "\n".join(f"{NAME} {k}" for k in range(8))
    return read(client.get("/table", params={"names": names, "n": 8, "seed": 1}))


def nearest(client: aiohttp.ClientSession) -> Awaitable[int]:
    return read(client.get("/nearest", params={"name": NAME, "seed": 1}))


def nearest_to_new(client: aiohttp.ClientSession) -> Awaitable[int]:
    return read(client.get("/nearest", params={"name": NAME, "seed": next(SEEDS)}))


@dataclass(frozen=True)
class Greedy:
    """So many connections that ask, and ask again at once, or so many seconds after they were refused."""

    connections: int
    ask: Ask
    pause: float = 0.0


KINDS = {
    "70 connections, a picture each, retry at once": Greedy(70, picture),
    "66 connections, a picture each, retry after 1 s": Greedy(66, picture, pause=1.0),
    "8 connections, eight pictures each": Greedy(8, eight),
    "16 connections of OpenAI’s route, eight pictures each": Greedy(16, openai),
    "8 connections, menu.zip of 24": Greedy(8, menu),
    "8 connections, /table of 64": Greedy(8, table),
    "8 connections, /nearest to one dish": Greedy(8, nearest),
    "8 connections, /nearest to new dishes": Greedy(8, nearest_to_new),
}


@dataclass(frozen=True)
class Run:
    """p50, p95: seconds of a visit, from first asking to the last of its pictures. fewest, most: pictures that one of
    several visitors got while all of them came. meanwhile: pictures that the server made during a visit, the visitor's
    among them, by the median. model: seconds of forward passes, a picture."""

    title: str
    visits: int
    given_up: int
    told_to_wait: int
    p50: float
    p95: float
    meanwhile: float
    pictures_a_second: float
    model: float
    fewest: int
    most: int

    @property
    def share(self) -> str:
        """Most by fewest, where there are several visitors, and visits enough to tell."""
        if "ten" not in self.title:
            return ""
        return f"{self.most / self.fewest:.2f}" if self.fewest >= LEAST_VISITS * PICTURES else "too few visits"


@click.command()
@click.option("--visits", type=click.IntRange(2), default=100, show_default=True, help="Of each visitor, in each row.")
@click.option("--seconds", type=click.FloatRange(1), default=120.0, show_default=True, help="Of a row, at most.")
@page_option("Gets the table; fairness.json comes beside it.")
def main(visits: int, seconds: float, page: Path) -> None:
    """Measures, prints, and writes --page."""
    runs = []
    with started("ours") as (_, url):
        asyncio.run(visiting(url, [POLITE], 3, seconds))

        def measure(title: str, visitors: list[str], greedy: str | None = None) -> None:
            with flooding(url, greedy, seconds + 30):
                runs.append(asyncio.run(row(title, url, visitors, visits, seconds)))
            click.echo(line(runs[-1], runs[0]))

        measure("nobody else", [POLITE])
        for kind in KINDS:
            measure(kind, [POLITE], kind)
        measure("ten polite visitors", TEN)
        measure("ten polite visitors, and the first of the greedy", TEN, next(iter(KINDS)))
    page.with_name("fairness.json").write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    fill(page, "\n".join([*rows(runs), ""]), MARKS)


def rows(runs: list[Run]) -> Iterator[str]:
    """Lines of Markdown."""
    heads = ["beside the visitor", "visits", "p50, s", "p95, s", "p95 of alone", "pictures made meanwhile"]
    heads += ["told to wait", "gave up", "pictures/s", "model, ms a picture", "most/fewest"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for run in runs:
        yield line(run, runs[0])


def line(run: Run, alone: Run) -> str:
    return (
        f"| {run.title} | {run.visits} | {run.p50:.2f} | {run.p95:.2f} | {run.p95 / alone.p95:.2f} "
        f"| {run.meanwhile:.0f} | {run.told_to_wait} | {run.given_up} | {run.pictures_a_second:.1f} "
        f"| {1000 * run.model:.0f} | {run.share} |"
    )


async def row(title: str, url: str, visitors: list[str], visits: int, seconds: float) -> Run:
    (made, computing), began = await work(url), time.perf_counter()
    waits, counts, meanwhile, told, given_up = await visiting(url, visitors, visits, seconds)
    spent = time.perf_counter() - began
    every = [wait for each in waits for wait in each] or [float("inf")]
    more, computed = (now - then for now, then in zip(await work(url), (made, computing), strict=True))
    return Run(
        title=title,
        visits=len(every),
        given_up=given_up,
        told_to_wait=told,
        p50=statistics.median(every),
        p95=quantile(every, 0.95),
        meanwhile=statistics.median(meanwhile or [0.0]),
        pictures_a_second=more / spent,
        model=computed / max(more, 1.0),
        fewest=min(counts),
        most=max(counts),
    )


async def visiting(
    url: str, addresses: list[str], visits: int, seconds: float
) -> tuple[list[list[float]], list[int], list[float], int, int]:
    """Each visitor's waits, and the pictures that it got; the pictures made during visits; how often visitors were told
    to come back later, and how many gave up.

    All come until the last is through with its visits, and what each gets until then is counted, so that shares can be
    compared. The visits that are not over by then have waits all the same, or long ones would be missing."""
    waits: list[list[float]] = [[] for _ in addresses]
    got = [0] * len(addresses)
    meanwhile: list[float] = []
    told = given_up = 0
    deadline = time.perf_counter() + seconds

    def over() -> bool:
        return min(map(len, waits)) >= visits or time.perf_counter() >= deadline

    async def visitor(number: int) -> None:
        nonlocal told, given_up
        async with session(url, addresses[number]) as client:
            while not over():
                before, _ = await work(url)
                began = time.perf_counter()
                wait: float | None = 0.0
                seed = next(SEEDS) * PICTURES
                while wait is not None and time.perf_counter() - began < LONGEST_VISIT:
                    await asyncio.sleep(wait)
                    wait = await order(client, seed)
                    told += wait is not None
                if wait is None:
                    got[number] += 0 if over() else PICTURES
                    waits[number].append(time.perf_counter() - began)
                    meanwhile.append((await work(url))[0] - before)
                else:
                    given_up += 1
                await asyncio.sleep(THINK if len(addresses) == 1 else 0)

    await asyncio.gather(*map(visitor, range(len(addresses))))
    return waits, got, meanwhile, told, given_up


async def order(client: aiohttp.ClientSession, seed: int) -> float | None:
    """Four pictures as the page orders them. None, or the seconds after which to come back: whoever got three of them
    asks again for all, and has those from memory."""
    fields = {"name": NAME, "n": PICTURES, "seed": seed}
    async with client.post("/generate", json=fields, headers={"Accept": "application/x-ndjson"}) as answer:
        if answer.status == 503:
            return float(answer.headers["Retry-After"])
        if answer.status != 200:
            raise click.ClickException(f"a visitor was answered {answer.status}")
        later = None
        async for event in answer.content:
            told = json.loads(event)
            if told["event"] == "error":
                later = float(told["error"]["retry_after"])
        return later


async def work(url: str) -> tuple[float, float]:
    """Pictures that the server has made, and seconds that the forward passes of all its pictures and sketches took."""
    async with session(url, "127.0.0.1") as client, client.get("/metrics") as answer:
        text = await answer.text()

    def total(pattern: str) -> float:
        return sum(map(float, re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE)))

    return total(r'cafeteria_batch_size_sum\{step="refine"\}'), total(r"cafeteria_forward_seconds_sum\{.*\}")


def session(url: str, address: str) -> aiohttp.ClientSession:
    """A client at one of this machine's loopback addresses, with as many connections as it has requests."""
    connector = aiohttp.TCPConnector(limit=0, local_addr=(address, 0))
    # Lines are long: each carries a picture.
    return aiohttp.ClientSession(
        url, connector=connector, timeout=aiohttp.ClientTimeout(2 * LONGEST_VISIT), read_bufsize=2**21
    )


@contextmanager
def flooding(url: str, kind: str | None, seconds: float) -> Iterator[None]:
    """A greedy client of this kind, in a process of its own, for so many seconds at most."""
    if kind is None:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=flood, args=(url, kind, seconds), daemon=True)
    process.start()
    try:
        time.sleep(4)  # until it has filled the kitchen
        yield
    finally:
        process.terminate()
        process.join()
        time.sleep(1)


def flood(url: str, kind: str, seconds: float) -> None:
    greedy = KINDS[kind]
    deadline = time.perf_counter() + seconds

    async def connection(client: aiohttp.ClientSession) -> None:
        while time.perf_counter() < deadline:
            try:
                status = await greedy.ask(client)
            except aiohttp.ClientError:
                status = 0
            if status != 200:
                await asyncio.sleep(greedy.pause)

    async def everything() -> None:
        async with session(url, GREEDY) as client:
            await asyncio.gather(*(connection(client) for _ in range(greedy.connections)))

    asyncio.run(everything())


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.fairness")
