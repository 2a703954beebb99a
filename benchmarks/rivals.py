"""What the server is measured against, as simple as each can be: `python -m benchmarks.rivals KIND PORT`.

naive: an `async def` route that calls the model. threadpool: a `def` route, which Starlette runs in a thread. Both
answer `GET /dish.png?name=…&seed=…`. `loop SECONDS` is the ceiling: no server, names to PNG files one after the other.
"""

import sys
import time

import uvicorn
from fastapi import FastAPI, Response

from model import png
from model.generate import CHECKPOINT
from model.generation import Pipeline


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


def loop(seconds: float) -> None:
    """Prints how long each picture took, in seconds, for so many seconds."""
    pipeline = Pipeline.load(CHECKPOINT, "auto")
    paint(pipeline, "warm soup", 0)
    end, seed = time.perf_counter() + seconds, 0
    while (start := time.perf_counter()) < end:
        seed += 1
        paint(pipeline, "smoky beetroot ramen", seed)
        print(time.perf_counter() - start)


if __name__ == "__main__":
    kind, number = sys.argv[1:]
    if kind == "loop":
        loop(float(number))
    else:
        uvicorn.run(application(kind), port=int(number), log_level="warning")
