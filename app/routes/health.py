"""What orchestrators and Prometheus ask."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app import dependencies, metrics
from app.errors import ApiError
from app.routes.problems import PROBLEMS

router = APIRouter()


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether pictures can be ordered", responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> dict[str, str]:
    pictures = dependencies.of(request)
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
