"""How much memory learners' code takes, and where the system keeps it from taking more."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def taken(family: Iterable[int]) -> int:
    """Bytes of memory that these processes take together, what they share once (Linux).

    Where there is a group of the system's for them, that one counts more: files in memory, too.
    """
    return sum(map(_memory, family))


def _memory(pid: int) -> int:
    """Bytes of a process, what it shares by its share; of one that may not be asked, all of it."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        if found:
            return 1024 * int(found[1])
    with contextlib.suppress(OSError):
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        return int(pages[1]) * resource.getpagesize()
    return 0


def new_group(name: str) -> Path | None:
    """A new group of processes whose memory the system limits; None where that is not allowed."""
    if sys.platform != "linux" or os.getuid() != 0:
        return None
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for _, kinds, path in lines:
        for base in ("memory",) if "memory" in kinds.split(",") else ("", "unified") * (not kinds):
            mine = Path("/sys/fs/cgroup", base, path.lstrip("/"))
            for place in (mine / name, mine.parent / name):
                with contextlib.suppress(OSError):
                    place.mkdir()
                    if any((place / file).exists() for file in MOST):
                        return place
                    place.rmdir()
    return None


def was_full(group: Path) -> bool:
    """Whether the system has ended a process of this group for its memory."""
    for name in ("memory.events", "memory.oom_control"):
        with contextlib.suppress(OSError):
            if re.search(r"^oom_kill [1-9]", (group / name).read_text(), re.M):
                return True
    return False


MOST = ("memory.max", "memory.limit_in_bytes")  # of the second and the first kind of such groups


def join(group: Path, most: int) -> None:
    """This process and all that it starts, in a group of its own that may take so many bytes."""
    group.mkdir()
    for name in (*MOST, "memory.swap.max"):
        if (group / name).exists():
            (group / name).write_text("0" if "swap" in name else str(most))
    (group / "cgroup.procs").write_text(str(os.getpid()))


def remove(group: Path) -> None:
    """The group of processes that have ended, and those in it."""
    for place in (*group.glob("*/"), group):
        with contextlib.suppress(OSError):
            place.rmdir()


@contextlib.contextmanager
def in_memory(most: int) -> Iterator[None]:
    """What asks for more memory stops with an error: a network of a learner's may be made to."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
