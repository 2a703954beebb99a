"""Measures how many pictures a second the server makes, and how long visitors wait: `make bench`.

Our server, LitServe, a threadpool and a naive FastAPI app, one after the other on this machine with the checkpoint that
ships, each under 1, 8 and 64 clients that ask for one new picture after another. Each works by turns with a bare loop
over the model, since the speed of a machine drifts by more than the servers differ. Then our server under ten times
what the loop makes. Writes a JSON file and a plot, and prints tables.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import aiohttp
import click
import httpx

from benchmarks.results import fill, page_option

CLIENTS = (1, 8, 64)
SERVERS = {"ours": "ours", "LitServe": "litserve", "threadpool FastAPI": "threadpool", "naive FastAPI": "naive"}
LOOP = "bare loop"
TURNS = 6  # of the loop and of a server, for a measurement
NAME = "smoky beetroot ramen"
OVERLOAD = 10.0
SEEDS = itertools.count()  # no picture is asked for twice


@dataclass(frozen=True)
class Run:
    """Times in seconds. loop_pictures_a_second, loop_p50: of the loop, in its turns. memory: of all the server's
    processes, in MiB, afterwards."""

    server: str
    clients: int
    pictures_a_second: float
    loop_pictures_a_second: float
    p50: float
    loop_p50: float
    p99: float
    memory: float

    @property
    def of_loop(self) -> float:
        return self.pictures_a_second / self.loop_pictures_a_second

    @property
    def p50_of_loop(self) -> float:
        return self.p50 / self.loop_p50


@dataclass(frozen=True)
class Overload:
    """accepted_p99 and refused_p99 in seconds; queue: its length, in pictures; picture: the loop's seconds for one.
    made_a_second: what those who asked, who run on this machine too, left for pictures."""

    asked_a_second: float
    made_a_second: float
    accepted: int
    refused: int
    others: int
    accepted_p99: float
    queue: int
    picture: float
    refused_p99: float
    memory_before: float
    memory_after: float


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=12.0, show_default=True, help="Of each measurement.")
@page_option("Gets the table; serving.json and serving.png come beside it.")
def main(seconds: float, page: Path) -> None:
    """Measures, prints, and writes --page."""
    runs = []
    with looping() as loop:
        loop(1.0)
        for title, kind in SERVERS.items():
            with started(kind) as (process, url):
                for clients in CLIENTS:
                    runs.append(by_turns(loop, title, kind, clients, seconds, process.pid, url))
                    show(runs[-1])
        pictures = loop(seconds)
    with started("ours") as (process, url):
        overload = asyncio.run(flood(url, OVERLOAD, seconds, process.pid, statistics.mean(pictures)))
    told = tell(overload)
    click.echo(told)
    content = {"seconds": seconds, "runs": [asdict(run) for run in runs], "overload": asdict(overload)}
    page.with_name("serving.json").write_text(json.dumps(content, indent=1) + "\n")
    plot(runs, page.with_name("serving.png"))
    fill(page, "\n".join([*table(runs), "", told, ""]))


def by_turns(
    loop: Callable[[float], list[float]], title: str, kind: str, clients: int, seconds: float, pid: int, url: str
) -> Run:
    """Some seconds of the loop while the server is stopped, as many of the server, and so on."""
    pictures: list[float] = []
    waits: list[float] = []
    spent = 0.0
    for _ in range(TURNS):
        os.killpg(pid, signal.SIGSTOP)  # LitServe's worker asks for work without a pause, and takes a core for it
        pictures += loop(seconds / TURNS)
        os.killpg(pid, signal.SIGCONT)
        more, took = asyncio.run(closed(url, kind, clients, seconds / TURNS))
        waits += more
        spent += took
    return Run(
        server=title,
        clients=clients,
        pictures_a_second=len(waits) / spent,
        loop_pictures_a_second=len(pictures) / sum(pictures),
        p50=statistics.median(waits),
        loop_p50=statistics.median(pictures),
        p99=quantile(waits, 0.99),
        memory=memory(pid),
    )


def show(run: Run) -> None:
    click.echo(
        f"{run.server:20}{run.clients:4} clients {run.pictures_a_second:7.1f} pictures/s ({run.of_loop:4.2f} of the"
        f" loop)   p50 {1000 * run.p50:7.0f} ms ({run.p50_of_loop:5.2f})   p99 {1000 * run.p99:7.0f} ms"
        f"   {run.memory:6.0f} MiB"
    )


def table(runs: list[Run]) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| | clients | pictures/s | the loop's | ratio | p50, ms | the loop's | ratio | p99, ms | memory, MiB |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for run in runs:
        yield (
            f"| {run.server} | {run.clients} | {run.pictures_a_second:.1f} | {run.loop_pictures_a_second:.1f} "
            f"| {run.of_loop:.2f} | {1000 * run.p50:.0f} | {1000 * run.loop_p50:.0f} | {run.p50_of_loop:.2f} "
            f"| {1000 * run.p99:.0f} | {run.memory:.0f} |"
        )


def tell(overload: Overload) -> str:
    """The flood in words."""
    o = overload
    own, loops = o.queue / o.made_a_second, o.queue * o.picture
    return (
        f"Asked for {o.asked_a_second:.0f} pictures a second, ours accepted {o.accepted} and made them at "
        f"{o.made_a_second:.1f} a second; p99 of their waits {o.accepted_p99:.1f} s. The {o.queue} pictures that its "
        f"queue holds are {own:.1f} s at that pace, and {loops:.1f} s at the loop's. It refused {o.refused} with 503, "
        f"p99 {1000 * o.refused_p99:.0f} ms; {o.others} got another answer. Memory went from {o.memory_before:.0f} to "
        f"{o.memory_after:.0f} MiB."
    )


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


@contextmanager
def looping() -> Iterator[Callable[[float], list[float]]]:
    """Makes pictures for so many seconds where nothing but the model and the encoder runs, and says how long each
    took. In a process of its own, as the servers are."""
    command = [sys.executable, "-m", "benchmarks.rivals", "loop"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        asked, told = process.stdin, process.stdout

        def loop(seconds: float) -> list[float]:
            print(seconds, file=asked, flush=True)
            times: list[float] = json.loads(told.readline())
            return times

        try:
            yield loop
        finally:
            asked.close()


@contextmanager
def started(
    kind: str, checkout: Path | None = None, under: Sequence[str] = (), log: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server on a free port, ready; of this checkout by default. `under` is a command that runs it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    commands = {"ours": ["-m", "app"], "litserve": ["-m", "benchmarks.lit", str(port)]}
    command = commands.get(kind, ["-m", "benchmarks.rivals", kind, str(port)])
    # No picture comes from memory: every one is new, but a cache costs time too, so it stays on.
    environment = {**os.environ, "CAFETERIA_PORT": str(port)}
    process = subprocess.Popen(
        [*under, sys.executable, *command], cwd=checkout, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=log,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"{kind} did not start: run it alone to see why ({' '.join(command)})")
            time.sleep(0.2)
        yield process, url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


@asynccontextmanager
async def visiting(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """For requests without end, over as many connections. aiohttp, since clients share the CPUs with the server: httpx
    takes several times as long for a request, and the more the more of them wait."""
    timeout, connector = aiohttp.ClientTimeout(120), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, timeout=timeout, connector=connector) as client:
        yield client


async def ask(client: aiohttp.ClientSession, kind: str) -> tuple[int, float]:
    """Status and seconds of one new picture."""
    seed, start = next(SEEDS), time.perf_counter()
    if kind == "litserve":
        asking = client.post("/predict", json={"name": NAME, "seed": seed})
    else:
        asking = client.get("/dish.png", params={"name": NAME, "seed": seed})
    async with asking as answer:
        await answer.read()
        return answer.status, time.perf_counter() - start


async def closed(url: str, kind: str, clients: int, seconds: float) -> tuple[list[float], float]:
    """Clients that ask again as soon as they are served: their waits, and how long it took in all."""
    waits: list[float] = []
    async with visiting(url) as client:
        await asyncio.gather(*(ask(client, kind) for _ in range(2)))
        start = time.perf_counter()

        async def visitor() -> None:
            while time.perf_counter() - start < seconds:
                status, wait = await ask(client, kind)
                if status != 200:
                    raise click.ClickException(f"{kind} answered {status}")
                waits.append(wait)

        await asyncio.gather(*(visitor() for _ in range(clients)))
        return waits, time.perf_counter() - start


async def flood(url: str, times: float, seconds: float, pid: int, picture: float) -> Overload:
    """Requests at so many times the rate of a loop that takes `picture` seconds for one, answered or not."""
    tasks, rate = [], times / picture
    before = memory(pid)
    async with visiting(url) as client:
        start = time.perf_counter()
        for k in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + k / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(ask(client, "ours")))
        answers = await asyncio.gather(*tasks)
        spent = time.perf_counter() - start
    accepted = [wait for status, wait in answers if status == 200]
    refused = [wait for status, wait in answers if status == 503]
    from app.settings import Settings

    return Overload(
        asked_a_second=rate,
        made_a_second=len(accepted) / spent,
        accepted=len(accepted),
        refused=len(refused),
        others=len(answers) - len(accepted) - len(refused),
        accepted_p99=quantile(accepted, 0.99),
        queue=Settings().queue,
        picture=picture,
        refused_p99=quantile(refused, 0.99),
        memory_before=before,
        memory_after=memory(pid),
    )


def memory(pid: int) -> float:
    """MiB that a process and its descendants hold, by /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    children = itertools.chain(*(f.read_text().split() for f in Path(f"/proc/{pid}/task").glob("*/children")))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 + sum(memory(int(child)) for child in children)


def plot(runs: list[Run], path: Path) -> None:
    """Pictures a second and median wait over clients, a line a server."""
    from matplotlib import pyplot as plt

    figure, (rate, wait) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for server in SERVERS:
        mine = [run for run in runs if run.server == server]
        rate.plot([run.clients for run in mine], [run.pictures_a_second for run in mine], marker="o", label=server)
        wait.plot([run.clients for run in mine], [run.p50 for run in mine], marker="o", label=server)
    ceiling = statistics.mean(run.loop_pictures_a_second for run in runs)
    rate.axhline(ceiling, color="grey", linestyle=":", label=LOOP)
    rate.set(xlabel="clients", ylabel="pictures a second", xscale="log", ylim=0)
    wait.set(xlabel="clients", ylabel="median wait, seconds", xscale="log", yscale="log")
    for axes in (rate, wait):
        axes.set_xticks(CLIENTS, [str(clients) for clients in CLIENTS])
        axes.minorticks_off()
    rate.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.serving")
