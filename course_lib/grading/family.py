"""A process and all that it has started: which they are, and how long they have computed (Linux)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def of(pid: int) -> set[int]:
    """This process, its children, their children, and so on; also those that have just ended."""
    found, todo = set[int](), [pid]
    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        return _searched(pid)  # such files are an option of the kernel's
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            with contextlib.suppress(OSError):  # it may be gone by now
                for thread in os.listdir(f"/proc/{one}/task"):
                    children = Path(f"/proc/{one}/task/{thread}/children").read_bytes()
                    todo += map(int, children.split())
    return found


def _searched(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if numbers := _numbers(int(entry.name)):
            parents[int(entry.name)] = numbers[0]
    family = {pid}
    while more := {one for one, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _numbers(pid: int) -> list[int]:
    """What stands in /proc about a process behind its name and its state; [] if it is gone."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return [int(number) for number in text.rpartition(")")[2].split()[1:]]
    return []


def computed(family: Iterable[int]) -> float:
    """Seconds for which they have had a processor, with those children that have ended."""
    found = (sum(numbers[10:14]) for one in family if (numbers := _numbers(one)))
    return sum(found) / os.sysconf("SC_CLK_TCK")
