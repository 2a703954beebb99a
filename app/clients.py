"""Identifies clients. A client is an IPv4 address, or the /64 network of an IPv6 one: that of the connection or, behind
a trusted proxy, the one that the proxy names."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)


def client(request: HTTPConnection) -> str:
    """The client that sent this request."""
    return network(request.client.host if request.client else "")


def network(address: str) -> str:
    """The client with this address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # a unix socket has none
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


class UnbelievedProxies:
    """ASGI middleware that warns once when an untrusted proxy names clients, since all of them then count as one."""

    def __init__(self, app: ASGIApp, believed: Sequence[str]) -> None:
        """`believed`: addresses and networks that are trusted, or "*"."""
        self._app = app
        self._everybody = "*" in believed
        self._believed = [ipaddress.ip_network(text) for text in believed if text != "*"]
        self._said = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._said and scope["type"] == "http" and "x-forwarded-for" in Headers(scope=scope):
            peer = scope["client"][0] if scope.get("client") else ""
            if not self._believes(peer):
                self._said = True
                logger.warning(
                    "X-Forwarded-For came from %s, which CAFETERIA_PROXIES does not name: it is not believed, and all "
                    "who come through there share one line and one allowance", peer or "a socket without an address",
                )  # fmt: skip
        await self._app(scope, receive, send)

    def _believes(self, peer: str) -> bool:
        try:
            return self._everybody or any(ipaddress.ip_address(peer) in each for each in self._believed)
        except ValueError:
            return False
