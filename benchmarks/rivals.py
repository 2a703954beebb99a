"""Serves what the server is measured against, as simple as each can be: `python -m benchmarks.rivals KIND PORT`.

naive: an `async def` route that calls the model. threadpool: a `def` route, which Starlette runs in a thread. Both
answer `GET /dish.png?name=…&seed=…`. `loop` is the ceiling: no server, names to PNG files one after the other.
"""

import json
import sys
import time

import uvicorn
from fastapi import FastAPI, Response

from model import png
from model.checkpoint import CHECKPOINT
from model.pipeline import Pipeline


def paint(pipeline: Pipeline, name: str, seed: int) -> bytes:
    return png.encode(pipeline.generate([name], [seed])[0], png.describe(name, seed, pipeline.version))


def application(kind: str) -> FastAPI:
    app, pipeline = FastAPI(), Pipeline.load(CHECKPOINT, "auto")

    async def naive(name: str, seed: int) -> Response:
        return Response(paint(pipeline, name, seed), media_type="image/png")

    def threadpool(name: str, seed: int) -> Response:
        return Response(paint(pipeline, name, seed), media_type="image/png")

    app.get("/dish.png")({"naive": naive, "threadpool": threadpool}[kind])
    app.get("/readyz")(lambda: "yes")
    return app


def loop() -> None:
    """For each line of the standard input, a number of seconds, a line of JSON: how long every picture took."""
    pipeline = Pipeline.load(CHECKPOINT, "auto")
    paint(pipeline, "warm soup", 0)
    seed = 0
    for line in sys.stdin:
        times, end = [], time.perf_counter() + float(line)
        while (start := time.perf_counter()) < end:
            seed += 1
            paint(pipeline, "smoky beetroot ramen", seed)
            times.append(time.perf_counter() - start)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    kind, *port = sys.argv[1:]
    if kind == "loop":
        loop()
    else:
        uvicorn.run(application(kind), port=int(port[0]), log_level="warning")
