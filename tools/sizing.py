"""Write into docs/hub.md how many machines a class needs: python tools/sizing.py

deploy/jupyterhub/measured.json holds what each lesson took on two cores; `make notebooks` notes it.
How long a person needs for a lesson is read from the lesson.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "hub.md"
MEASURED = ROOT / "deploy" / "jupyterhub" / "measured.json"
MARKS = re.compile(r"(<!-- sizes:.*?-->\n).*?(<!-- end of sizes -->)", re.DOTALL)
CLASSES = (30, 200, 2000)
CORES = 2  # on which the lessons were measured
MACHINE = (16, 128)  # cores and GiB of the machines that are counted
FREE = 0.9  # share of a machine that learners may fill


class Need(NamedTuple):
    """What one learner needs in a lesson: GiB of memory at its peak, cores on average."""

    memory: float
    cores: float


def minutes_of(lesson: str) -> int:
    """The minutes that the lesson itself says it takes a person."""
    text = (ROOT / "notebooks" / f"{lesson}.ipynb").read_text("utf-8")
    return int(re.findall(r"\*\*Time\*\* about (\d+) minutes", text)[0])


def needs(measured: Mapping[str, Any]) -> dict[str, Need]:
    """Lesson → its `Need`; the learner's JupyterLab is counted with it."""
    server = measured["server_mib"]
    return {
        lesson: Need((one["peak_mib"] + server) / 1024, CORES * one["minutes"] / minutes_of(lesson))
        for lesson, one in measured["lessons"].items()
    }


def machines(learners: int, need: Need) -> int:
    """How many machines hold so many learners in the same lesson.

    >>> machines(30, Need(2.0, 0.2)), machines(200, Need(2.0, 0.2))
    (1, 4)
    """
    cores, memory = MACHINE
    return math.ceil(
        max(learners * need.memory / (FREE * memory), learners * need.cores / (FREE * cores))
    )


def largest(found: Mapping[str, Need]) -> Need:
    """The most that any of these lessons needs.

    >>> largest({"a": Need(1.0, 0.3), "b": Need(2.0, 0.2)})
    Need(memory=2.0, cores=0.3)
    """
    return Need(*(max(one[i] for one in found.values()) for i in (0, 1)))


def tables(measured: Mapping[str, Any]) -> str:
    """What each lesson needs, and what classes need, as two tables."""
    found = needs(measured)
    rows = [
        "| lesson | memory at its peak, GiB | minutes of computing | of a person | cores, on average |"
    ]
    rows.append("|---|---|---|---|---|")
    for lesson, need in found.items():
        number = lesson.partition("_")[0].lstrip("0").replace("2", "2a").replace("2ab", "2b")
        computed = measured["lessons"][lesson]["minutes"]
        rows.append(
            f"| {number} | {need.memory:.1f} | {computed} | {minutes_of(lesson)} | {need.cores:.2f} |"
        )
    last = list(found)[-1]
    groups = {
        "1 to 6": largest({name: need for name, need in found.items() if name != last}),
        "7": found[last],
    }
    rows += [
        "",
        "| learners at once | lessons | memory, GiB | cores | machines |",
        "|---|---|---|---|---|",
    ]
    for learners in CLASSES:
        for name, need in groups.items():
            memory, cores = math.ceil(learners * need.memory), math.ceil(learners * need.cores)
            rows.append(
                f"| {learners:,} | {name} | {memory:,} | {cores:,} | {machines(learners, need):,} |"
            )
    return "\n".join(rows)


def main() -> None:
    """Replace the tables."""
    text = PAGE.read_text("utf-8")
    if not MARKS.search(text):
        sys.exit(f"{PAGE.name} has no place for the tables.")
    made = tables(json.loads(MEASURED.read_text("utf-8")))
    PAGE.write_text(MARKS.sub(lambda marks: f"{marks[1]}{made}\n{marks[2]}", text), "utf-8")


if __name__ == "__main__":
    main()
