"""The number of CPUs that this process may use, since a container's share is often smaller than its machine."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """The number of CPUs by the affinity mask or the cgroup's quota, whichever is lower; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, _quota(membership, cgroups))))


def _quota(membership: Path, cgroups: Path) -> float:
    """The lowest CPU quota of this process's cgroup and its ancestors, in CPUs; infinity if there is none.

    Version 2 has "quota period" in cpu.max, version 1 a file for each
    (https://docs.kernel.org/admin-guide/cgroup-v2.html).
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux
        return math.inf
    strictest = math.inf
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        path = PurePosixPath(own.lstrip("/"))
        for group in (path, *path.parents):
            folder = cgroups / controllers / group
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
            try:
                quota, period = " ".join((folder / name).read_text() for name in names).split()
                if int(quota) > 0:
                    strictest = min(strictest, int(quota) / int(period))
            except (OSError, ValueError):  # no such group in this namespace, or "max"
                continue
    return strictest
