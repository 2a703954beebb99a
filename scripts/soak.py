"""Send a server a crowd that comes and goes, and check that nothing of it stays behind.

    .venv/bin/python scripts/soak.py --minutes 10

Starts `python -m app`, or takes one that runs already (--url). The clients order, read on, leave in the middle, hang
up without a word, send half a request, and are killed. A leak is what is more at the end than after the first quarter,
both measured with nobody there: memory, file descriptors, tasks, places in the queue.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("smoky beetroot ramen", "ピリ辛サーモンパフェ", "blue cheese taiyaki", "月夜のかぼちゃグラタン")

# A process of its own, to be killed in the middle of a stream.
VICTIM = """
import sys, urllib.request
stream = urllib.request.urlopen(sys.argv[1] + "/generate", b"name=tea&n=8")
print(stream.readline(), flush=True)
sys.stdin.read()
"""


class Footprint(NamedTuple):
    memory: float  # bytes
    descriptors: float
    tasks: float
    depth: float


def figures(url: str) -> dict[str, float]:
    """The server's figures that have no labels."""
    with urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if re.match(r"\w+ ", line))}


def footprint(url: str, patience: float = 60) -> Footprint:
    """What the server holds once the last client's work is done. TimeoutError where it never is."""
    deadline = time.monotonic() + patience
    while True:
        now = figures(url)
        if now["cafeteria_queue_depth"] == 0 and now["cafeteria_requests_in_progress"] == 1:
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"work is left that nobody waits for: {now}")
        time.sleep(0.1)
    time.sleep(0.5)  # sockets that were hung up on
    now = figures(url)
    return Footprint(
        now["process_resident_memory_bytes"],
        now["process_open_fds"],
        now["cafeteria_tasks"],
        now["cafeteria_queue_depth"],
    )


def leaks(before: Footprint, after: Footprint) -> list[str]:
    """What has grown by more than chance. An allocator's memory goes up and down by some percent."""
    found = []
    if after.memory > before.memory * 1.1 + 32 * 2**20:
        found.append(f"memory: {before.memory / 2**20:.0f} MiB to {after.memory / 2**20:.0f} MiB")
    for what in ("descriptors", "tasks", "depth"):
        was, now = getattr(before, what), getattr(after, what)
        if now > was + (4 if what == "descriptors" else 2 if what == "tasks" else 0):
            found.append(f"{what}: {was:.0f} to {now:.0f}")
    return found


async def crowd(url: str, clients: int, seconds: float, seed: int = 0) -> Counter[str]:
    """So many clients at once for so long; what came of their requests, by status or by how they ended."""
    deadline = time.monotonic() + seconds
    seen: Counter[str] = Counter()

    async def client(rng: random.Random) -> None:
        while time.monotonic() < deadline:
            try:
                seen[await asyncio.wait_for(_visit(url, rng), 60)] += 1
            except TimeoutError:
                seen["left"] += 1  # a minute is long enough
            except OSError:
                seen["hung up on"] += 1
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for k in range(clients):
            group.create_task(client(random.Random(f"{seed} {k}")))
        while (left := deadline - time.monotonic()) > 0:
            await _killed(url)
            seen["killed"] += 1
            await asyncio.sleep(min(10, left))
    return seen


async def _visit(url: str, rng: random.Random) -> str:
    """One connection and what happens on it: a status, or "left" where the client did not wait for one."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        request = _request(rng)
        if rng.random() < 0.05:
            writer.write(request[: rng.randrange(len(request))])
            await asyncio.sleep(rng.random())
            return "left"
        writer.write(request)
        if rng.random() < 0.5:
            # Sooner or later, and so in every state that an order can be in.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(), rng.choice((0.0, 0.05, 0.5, 2.0)) * rng.random())
            return "left"
        answer = await reader.read()
        return answer.split(b" ", 2)[1].decode() if answer else "hung up on"
    finally:
        if rng.random() < 0.5:
            writer.transport.abort()
        writer.close()


def _request(rng: random.Random) -> bytes:
    fields = {"name": rng.choice(NAMES), "seed": rng.randrange(10_000), "size": rng.choice((64, 64, 256))}
    close = "Host: soak\r\nConnection: close\r\n"
    if rng.random() < 0.3:
        return f"GET /dish.png?{urlencode(fields)} HTTP/1.1\r\n{close}\r\n".encode()
    body = json.dumps(fields | {"n": rng.randint(1, 8)}).encode()
    accept = rng.choice(("application/x-ndjson", "application/json", "text/html", "*/*"))
    head = (
        f"POST /generate HTTP/1.1\r\n{close}Accept: {accept}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _killed(url: str) -> None:
    """A client that reads the first line of a stream and is then killed, without a word to anybody."""
    pipe = asyncio.subprocess.PIPE
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VICTIM, url, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    assert victim.stdout
    await victim.stdout.readline()
    with contextlib.suppress(ProcessLookupError):  # it was refused, and has ended by itself
        victim.kill()
    await victim.wait()


def soak(url: str, clients: int, seconds: float) -> tuple[Footprint, Footprint, Counter[str]]:
    """What the server held after the first quarter and at the end, and what came of the requests."""
    seen = asyncio.run(crowd(url, clients, seconds / 4, seed=0))
    before = footprint(url)
    seen += asyncio.run(crowd(url, clients, seconds * 3 / 4, seed=1))
    return before, footprint(url), seen


@contextlib.contextmanager
def served(checkpoint: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of our own: with little memory for pictures, which would look like a leak while it fills."""
    environment = os.environ | {
        "CAFETERIA_PORT": "0",
        "CAFETERIA_CHECKPOINT": checkpoint,
        "CAFETERIA_CACHE_MB": "1",
        "CAFETERIA_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "app"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            sys.exit("soak: the server did not start")
        yield found[0], process
    finally:
        process.kill()
        process.wait()


def stopped_under_load(url: str, process: subprocess.Popen[str], orders: int = 4) -> list[str]:
    """SIGTERM while orders are in the making; what went wrong, if anything did."""
    streams = [
        urlopen(f"{url}/generate", f"name=tea&n=8&seed={k * 8}".encode(), timeout=60) for k in range(orders)
    ]
    for stream in streams:
        stream.readline()  # accepted
    process.send_signal(signal.SIGTERM)
    faults = []
    for stream in streams:
        events = [json.loads(line)["event"] for line in stream]
        if events.count("picture") != 8 or events[-1] != "done":
            faults.append(f"an accepted order was lost at SIGTERM: {events}")
    if process.wait(60) != 0:
        faults.append(f"the server ended with {process.returncode}")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--checkpoint", default=str(ROOT / "checkpoints"))
    parser.add_argument("--url", help="a server that runs already; it is not stopped in the end")
    given = parser.parse_args()
    with (
        contextlib.nullcontext((given.url, None)) if given.url else served(given.checkpoint) as (url, process)
    ):
        before, after, seen = soak(url, given.clients, given.minutes * 60)
        faults = leaks(before, after)
        faults += [
            f"{count} answers of {status}" for status, count in seen.items() if status in ("500", "502")
        ]
        if process is not None:
            faults += stopped_under_load(url, process)
    print("requests:", ", ".join(f"{count} × {what}" for what, count in seen.most_common()))
    for name, was, now in zip(Footprint._fields, before, after, strict=True):
        print(f"{name:12} {was:>14,.0f} {now:>14,.0f}")
    sys.exit("\n".join(faults) if faults else 0)


if __name__ == "__main__":
    main()
