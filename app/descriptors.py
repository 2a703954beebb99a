"""The limit on this process's file descriptors, and so on its connections."""

from __future__ import annotations

import math

RESERVED = 64  # descriptors for everything that is no connection


def raise_limit() -> None:
    """Raises the soft limit to the hard one, as far as the system allows."""
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
    """The number of connections that the descriptors allow; infinity without a limit."""
    try:
        import resource
    except ImportError:
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else max(16, soft - RESERVED)
