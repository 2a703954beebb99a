"""Builds the ASGI application from settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app import dependencies, pages, routes
from app.clients import UnbelievedProxies
from app.engine import EngineClosed, QueueFull
from app.errors import ApiError
from app.incoming import ForwardedHeaders, HeadAndAbsoluteTargets
from app.loop_share import LoopShare
from app.metrics import Metrics
from app.pictures import Pictures, Pipeline
from app.rate_limit import Allowance
from app.request_log import Access
from app.request_parsing import fault
from app.responses import ClientGone
from app.security import Guard, SecurityHeaders
from app.settings import Settings, split
from app.static_files import StaticFiles
from model.pipeline import Pipeline as LoadedPipeline

DESCRIPTION = "Pictures of dishes that do not exist, imagined from their names by a StackGAN."


def create_app(settings: Settings, pipeline: Pipeline | None = None, threads: int | None = None) -> FastAPI:
    """Creates the application. Without a `pipeline`, the one in `settings.checkpoint` is loaded at startup. `threads`
    as for `app.pictures.PipelineModel`.

    Startup raises CheckpointError or ValueError if the checkpoint or the device cannot be used. The models are then
    warmed up, and only after that does `/readyz` return 200.
    """

    metrics = Metrics()
    pages.load_templates()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded: Pipeline
        if pipeline is None:
            loaded = await asyncio.to_thread(LoadedPipeline.load, settings.checkpoint, settings.device)
        else:
            loaded = pipeline
        pictures = Pictures(
            loaded,
            queue=settings.queue,
            cache_bytes=settings.cache_mb * 2**20,
            max_wait=settings.wait,
            watch=metrics,
            threads=threads,
        )
        metrics.watch_queue(pictures.engine)
        app.state.pictures = pictures
        try:
            yield
        finally:
            # What was accepted is still made; the server has stopped listening by now.
            await asyncio.to_thread(pictures.engine.close)

    app = FastAPI(
        title="Imaginary Cafeteria",
        description=DESCRIPTION,
        version="1",
        docs_url=None,  # both load their assets from other hosts; ours is in app.pages
        redoc_url=None,
        redirect_slashes=False,  # it would build an address from the Host that the client names
        lifespan=lifespan,
        middleware=_middleware(settings, metrics),
    )
    app.state.metrics = metrics
    app.state.allowance = Allowance(settings.rate, metrics.refused)
    app.state.composing = asyncio.Semaphore(dependencies.MAX_COMPOSED)
    for router in routes.ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(pages.ROOT / "static"), name="static")
    for kind in (ApiError, QueueFull, EngineClosed, HTTPException):
        app.add_exception_handler(kind, _respond)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientGone, _nobody_there)
    app.add_exception_handler(ClientDisconnect, _nobody_there)  # in the middle of its own request
    return app


def _middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    """Lists the middleware, outermost first."""
    origins = split(settings.cors)
    stack = [Middleware(SecurityHeaders), Middleware(UnbelievedProxies, believed=split(settings.proxies))]
    if settings.proxies:
        stack.append(Middleware(ForwardedHeaders, trusted_hosts=settings.proxies))
    if origins:
        exposed = ["Cafeteria-Name", "Cafeteria-Seed", "Cafeteria-Model", "Cafeteria-Notices"]
        stack.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=[*exposed, "ETag", "Retry-After", "X-Request-ID"],
            )
        )
    return [
        *stack,
        Middleware(Access, metrics=metrics),
        Middleware(LoopShare),
        Middleware(HeadAndAbsoluteTargets),
        Middleware(Guard, origins=origins, patience=settings.patience),
    ]


async def _respond(request: Request, error: Exception) -> Response:
    return pages.respond(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return pages.respond(request, fault(error.errors()))


async def _nobody_there(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nginx's "client closed request"; it is never read
