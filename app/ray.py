"""Runs the application on several machines with Ray Serve: `serve run app.ray:deployment`, with the `ray` extra
installed.

Ray's proxy assigns each request to a replica that is not busy. A replica is a process with its own GPU or CPUs,
pipeline and queue. docs/scaling.md says when this is worth it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from click import ClickException
from fastapi import FastAPI
from pydantic import BaseModel, Field, ValidationError
from ray import serve
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import cpus, logs
from app.application import create_app
from app.settings import SettingError, Settings, read
from model.checkpoint import CheckpointError, read_config

WARM_SECONDS = 120  # as the startup probe of deploy/kubernetes.yaml


class Replicas(BaseModel, extra="forbid"):
    """The arguments of `serve run app.ray:deployment min_replicas=2 …`."""

    min_replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(None, ge=1, description="by default what this machine has room for")
    cpus: int = Field(1, ge=1, description="of each replica, and threads of its model")


class Replica:
    """The methods that Ray calls on a replica, besides serving requests."""

    app: FastAPI

    async def check_health(self) -> None:
        """Waits until the model is warm. Ray sends requests only after the first health check."""
        async with asyncio.timeout(WARM_SECONDS):
            while not self.app.state.pictures.engine.ready:
                await asyncio.sleep(0.1)


def deployment(arguments: Mapping[str, str]) -> serve.Application:
    """Builds the deployment, for `serve run` and for configuration files.

    Settings are the environment variables of `python -m app`. They are read here, once, and are the same for every
    replica. Ray's own proxy replaces `host`, `port` and `patience`.
    """
    try:
        return _application(Replicas.model_validate(arguments), read(os.environ))
    except (ValidationError, SettingError, CheckpointError) as error:
        raise ClickException(str(error)) from None  # which `serve` prints without a traceback


def _application(given: Replicas, settings: Settings) -> serve.Application:
    read_config(settings.checkpoint)
    if settings.device not in ("auto", "cpu", "cuda"):
        raise SettingError(
            f"CAFETERIA_DEVICE={settings.device!r}: Ray hands out the GPUs, so auto, cpu or cuda"
        )
    on_gpu = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    room = torch.cuda.device_count() if on_gpu else cpus.usable() // given.cpus
    settings = replace(
        settings,
        checkpoint=str(Path(settings.checkpoint).resolve()),  # replicas work in folders of their own
        device="cuda" if on_gpu else "cpu",  # Ray shows each replica its own GPU only
    )

    def build() -> FastAPI:
        logs.configure(settings.log_level)
        torch.set_num_threads(1)  # the model's own thread gets them
        app = create_app(settings, threads=given.cpus)
        app.add_middleware(_OneId)
        return app

    return serve.deployment(
        serve.ingress(build)(Replica),
        name="cafeteria",
        ray_actor_options={"num_cpus": given.cpus, "num_gpus": int(on_gpu)},
        # The queue and as much again for what costs no picture: files, pages, and refusals, which say when to return.
        max_ongoing_requests=2 * settings.queue,
        # At the proxy; a burst passes through it in the moment that it takes to hand out.
        max_queued_requests=4 * settings.queue,
        backpressure_config={"retry_after_s": 5},
        autoscaling_config={
            "min_replicas": given.min_replicas,
            "max_replicas": given.max_replicas or max(given.min_replicas, room),
            "target_ongoing_requests": settings.queue / 4,
            "upscale_delay_s": 5,
            "downscale_delay_s": 300,
        },
        graceful_shutdown_timeout_s=settings.drain,
        logging_config={"enable_access_log": False},  # app.request_log has its own line
    ).bind()


class _OneId:
    """ASGI middleware that removes our request id header, since Ray's proxy passes us the id and sets the header
    itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["X-Request-ID"]
            await send(message)

        await self._app(scope, receive, send_without_id)
