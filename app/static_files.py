"""Serves the files of static/ from memory. They are read at startup, so that they always match the pages' version and
requests need no file descriptor."""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class StaticFiles:
    """ASGI app, to be mounted. Browsers cache the files but revalidate them each time, so that no page runs a script of
    another version. Range requests are ignored, as RFC 9110, section 14.2, allows: the files are small."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            file.relative_to(folder).as_posix(): (file.read_bytes(), mimetypes.guess_type(file.name)[0])
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        self._tags = {
            name: f'"{hashlib.sha256(data).hexdigest()[:24]}"' for name, (data, _) in self._files.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        if name not in self._files:
            raise HTTPException(404)
        data, media_type = self._files[name]
        headers = {"ETag": self._tags[name], "Cache-Control": "no-cache"}
        tags = [tag.strip() for tag in Request(scope).headers.get("if-none-match", "").split(",")]
        if "*" in tags or self._tags[name] in (tag.removeprefix("W/") for tag in tags):
            response = Response(status_code=304, headers=headers)
        else:
            # Starlette leaves the length of a HEAD's answer to what it is given.
            response = Response(data, media_type=media_type, headers=headers)
            if scope["method"] == "HEAD":
                response.body = b""
        await response(scope, receive, send)
