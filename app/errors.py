"""All errors, in one shape: {"error": {"code", "message", …}}, or in OpenAI's under /v1/."""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.exceptions import HTTPException

from app import texts
from app.engine import EngineClosed, QueueFull, WaitedTooLong
from model.languages import Language


class ApiError(Exception):
    """An error response. `code` is for programs; its text is `texts["error." + code]`."""

    def __init__(
        self,
        status: int,
        code: str,
        *,
        field: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        **values: object,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.field = field
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        self.values = values

    def message(self, language: Language) -> str:
        return texts.text(language, f"error.{self.code}", **self.values)

    def message_on_page(self, language: Language) -> str:
        return texts.problem(language, self.code, **self.values)

    def body(self, language: Language) -> dict[str, object]:
        error: dict[str, object] = {"code": self.code, "message": self.message(language)}
        if self.field is not None:
            error["field"] = self.field
        if self.retry_after is not None:
            error["retry_after"] = self.retry_after
        return {"error": error}

    def as_openai(self, language: Language) -> tuple[int, dict[str, object]]:
        """Status and body as clients of OpenAI's API expect them (https://platform.openai.com/docs/api-reference):
        there a wrong parameter is 400, and the name is called the prompt."""
        status = 400 if self.status == 422 else self.status
        param = "prompt" if self.field == "name" else self.field
        kind = "rate_limit_error" if self.status == 429 else "invalid_request_error"
        kind = "server_error" if self.status >= 500 else kind
        error = {"message": self.message(language), "type": kind, "param": param, "code": self.code}
        return status, {"error": error}


def from_exception(error: BaseException) -> ApiError:
    """The error to report for any exception. Details of an unexpected one only go to the log."""
    match error:
        case ApiError():
            return error
        case QueueFull():
            return ApiError(503, "queue_full", retry_after=max(1, math.ceil(error.retry_after)))
        case WaitedTooLong():
            return ApiError(503, "waited_too_long", retry_after=max(1, math.ceil(error.retry_after)))
        case EngineClosed():
            return ApiError(503, "closing", retry_after=10)
        case HTTPException(status_code=404):
            return ApiError(404, "not_found")
        case HTTPException(status_code=405):
            methods = (error.headers or {}).get("Allow", "").split(", ")
            # HEAD goes with GET (app.incoming), of which the routes know nothing.
            allowed = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
            return ApiError(405, "method_not_allowed", allowed=allowed, headers={"Allow": allowed})
        case HTTPException() if error.status_code < 500:
            return ApiError(error.status_code, "bad_request")
    return ApiError(500, "failed")
