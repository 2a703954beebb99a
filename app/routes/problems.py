"""OpenAPI descriptions of errors, for the routes that can return them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from app import texts


class Problem(BaseModel):
    """Every error. `field` names the field at fault, `retry_after` the seconds after which to come back."""

    class Details(BaseModel):
        code: str
        message: str
        field: str | None = None
        retry_after: int | None = None

    error: Details


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": texts.text("en", f"status.{status}")}
    for status in (400, 403, 406, 408, 413, 415, 422, 429, 500, 503)
}

NOT_HERE: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": texts.text("en", "status.404")}
}
