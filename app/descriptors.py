"""How many file descriptors, and so connections, this process may have."""

from __future__ import annotations

import math

RESERVED = 64  # descriptors for everything that is no connection


def raise_limit() -> None:
    """The soft limit up to the hard one, as far as the system lets it."""
    try:
        import resource
    except ImportError:  # no POSIX
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS calls it unlimited and takes less
            return


def for_connections() -> float:
    """Connections that there are descriptors for; infinity without a limit."""
    try:
        import resource
    except ImportError:
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else max(16, soft - RESERVED)
