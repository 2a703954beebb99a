"""How many pictures a second the server makes, and how long visitors wait: `make bench`.

Our server, a bare loop over the model, a naive and a threadpool FastAPI app and LitServe, one after the other on this
machine with the checkpoint that ships, each under 1, 8 and 64 clients that ask for one new picture after another. Then
our server under ten times what it can do. Writes a JSON file and a plot, and prints tables.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import httpx

CLIENTS = (1, 8, 64)
SERVERS = {"ours": "ours", "LitServe": "litserve", "threadpool FastAPI": "threadpool", "naive FastAPI": "naive"}
NAME = "smoky beetroot ramen"
OVERLOAD = 10.0
SEEDS = itertools.count()  # no picture is asked for twice


@dataclass(frozen=True)
class Run:
    """Times in seconds. memory: of all the server's processes, in MiB, afterwards."""

    server: str
    clients: int
    pictures_a_second: float
    p50: float
    p99: float
    memory: float


@dataclass(frozen=True)
class Overload:
    """accepted_p99 and refused_p99 in seconds; bound: queue length times the time of a picture."""

    asked_a_second: float
    accepted: int
    refused: int
    others: int
    accepted_p99: float
    bound: float
    refused_p99: float
    memory_before: float
    memory_after: float


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Of each measurement.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="docs/serving", show_default=True, help="Of .json and .png."
)
def main(seconds: float, out: Path) -> None:
    """Measures, prints, and writes --out."""
    ceiling = loop(seconds)
    runs = [Run("bare loop", 1, len(ceiling) / sum(ceiling), statistics.median(ceiling), quantile(ceiling, 0.99), 0.0)]
    show(runs[0], runs[0])
    for title, kind in SERVERS.items():
        with started(kind) as (process, url):
            for clients in CLIENTS:
                waits, spent = asyncio.run(closed(url, kind, clients, seconds))
                figures = (len(waits) / spent, statistics.median(waits), quantile(waits, 0.99), memory(process.pid))
                runs.append(Run(title, clients, *figures))
                show(runs[-1], runs[0])
    rate = OVERLOAD * runs[0].pictures_a_second
    with started("ours") as (process, url):
        overload = asyncio.run(flood(url, rate, seconds, process.pid, runs[0].p50))
    for name, value in asdict(overload).items():
        click.echo(f"{name:16} {value:10.3f}")
    content = {"seconds": seconds, "runs": [asdict(run) for run in runs], "overload": asdict(overload)}
    out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    plot(runs, out.with_suffix(".png"))


def show(run: Run, ceiling: Run) -> None:
    share = run.pictures_a_second / ceiling.pictures_a_second
    click.echo(
        f"{run.server:20}{run.clients:4} clients {run.pictures_a_second:7.1f} pictures/s ({share:4.2f} of the loop)"
        f"   p50 {1000 * run.p50:7.0f} ms ({run.p50 / ceiling.p50:5.2f})   p99 {1000 * run.p99:7.0f} ms"
        f"   {run.memory:6.0f} MiB"
    )


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def loop(seconds: float) -> list[float]:
    """Seconds that each picture takes where nothing but the model and the encoder runs."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rivals", "loop", str(seconds)], check=True, capture_output=True, text=True
    )
    return [float(line) for line in done.stdout.split()]


@contextmanager
def started(kind: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server on a free port, ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    commands = {"ours": ["-m", "app"], "litserve": ["-m", "benchmarks.lit", str(port)]}
    command = commands.get(kind, ["-m", "benchmarks.rivals", kind, str(port)])
    # No picture comes from memory: every one is new, but a cache costs time too, so it stays on.
    environment = {**os.environ, "CAFETERIA_PORT": str(port)}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *command], env=environment, start_new_session=True, **silent)
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


async def ask(client: httpx.AsyncClient, kind: str) -> tuple[int, float]:
    """Status and seconds of one new picture."""
    seed, start = next(SEEDS), time.perf_counter()
    if kind == "litserve":
        answer = await client.post("/predict", json={"name": NAME, "seed": seed})
    else:
        answer = await client.get("/dish.png", params={"name": NAME, "seed": seed})
    return answer.status_code, time.perf_counter() - start


async def closed(url: str, kind: str, clients: int, seconds: float) -> tuple[list[float], float]:
    """Clients that ask again as soon as they are served: their waits, and how long it took in all."""
    waits: list[float] = []
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
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


async def flood(url: str, rate: float, seconds: float, pid: int, picture: float) -> Overload:
    """Requests at a steady rate, whether they are answered or not."""
    tasks = []
    before = memory(pid)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=httpx.Limits(max_connections=None)) as client:
        start = time.perf_counter()
        for k in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + k / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(ask(client, "ours")))
        answers = await asyncio.gather(*tasks)
    accepted = [wait for status, wait in answers if status == 200]
    refused = [wait for status, wait in answers if status == 503]
    from app.settings import Settings

    return Overload(
        asked_a_second=rate,
        accepted=len(accepted),
        refused=len(refused),
        others=len(answers) - len(accepted) - len(refused),
        accepted_p99=quantile(accepted, 0.99),
        bound=Settings().queue * picture,
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
    rate.axhline(runs[0].pictures_a_second, color="grey", linestyle=":", label="bare loop")
    rate.set(xlabel="clients", ylabel="pictures a second", xscale="log", ylim=0)
    wait.set(xlabel="clients", ylabel="median wait, seconds", xscale="log", yscale="log")
    for axes in (rate, wait):
        axes.set_xticks(CLIENTS, [str(clients) for clients in CLIENTS])
        axes.minorticks_off()
    rate.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.serving")
