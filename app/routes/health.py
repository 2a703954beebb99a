"""Routes for orchestrators, Prometheus and crawlers: health checks, /metrics, robots.txt."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app import metrics
from app.dependencies import ServedPictures
from app.errors import ApiError
from app.routes.problems import PROBLEMS

router = APIRouter()


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether pictures can be ordered", responses={503: PROBLEMS[503]})
async def readyz(pictures: ServedPictures) -> dict[str, str]:
    if not pictures.engine.ready:
        raise ApiError(503, "not_ready", retry_after=1)
    return {"status": "ready", "model": pictures.version, "device": pictures.device}


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def figures(request: Request) -> Response:
    return Response(request.app.state.metrics.text(), media_type=metrics.CONTENT_TYPE)


# Every dish has links to others, without end. Who shows a link that somebody has posted may look at that one page.
ROBOTS = """\
User-agent: Twitterbot
User-agent: facebookexternalhit
User-agent: Slackbot-LinkExpanding
User-agent: Discordbot
User-agent: LinkedInBot
Disallow:

User-agent: *
Disallow: {root}/dish
Disallow: {root}/table
Disallow: {root}/menu
Disallow: {root}/nearest
Disallow: {root}/surprise
Disallow: {root}/omakase
Disallow: {root}/?name=
"""


@router.get("/robots.txt", include_in_schema=False)
async def robots(request: Request) -> Response:
    return PlainTextResponse(ROBOTS.format(root=request.scope["root_path"]))
