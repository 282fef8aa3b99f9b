"""How long does nbgrader take for a class of 30, with one process and with two?

    python benchmarks/bench_autograde.py             # 30 submissions of lab 3, minutes
    python benchmarks/bench_autograde.py --quick     # 4 submissions

Each process grades its own part of the class in a folder of its own (`nbgrader autograde --student`),
so that they do not wait for each other's database. The time holds all: starting nbgrader, the sandbox,
the judge, the points. Half of the submissions are right, half are half-right. What is computed is the
time of a processor, of all processes together: it is much the same on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `tools` itself is not installed

from nbgrader import utils as nbgrader_utils  # noqa: E402

from course_lib.grading import sandbox  # noqa: E402
from tools import make_class, notebooks  # noqa: E402

LAB = "03_distillation_loss"


def hand_in(folder: Path, students: int) -> None:
    """The submissions of lab 3 of so many learners."""
    master = notebooks.build(ROOT / "solutions" / "src" / f"{LAB}.py")
    right = [cell.source for cell in master.cells if nbgrader_utils.is_solution(cell)]
    for student in range(students):
        notebook = notebooks.read(folder / "release" / "lab3" / f"{LAB}.ipynb")
        cells = [cell for cell in notebook.cells if nbgrader_utils.is_solution(cell)]
        pairs = list(zip(cells, right, strict=True))
        for cell, source in pairs if student % 2 else pairs[::2]:
            cell.source = source
        name = f"student{student:02}"
        notebooks.write(notebook, folder / "submitted" / name / "lab3" / f"{LAB}.ipynb")


def seconds(folders: list[Path]) -> tuple[float, float]:
    """How long it takes to grade these classes side by side: on the clock, and computed."""
    command = [sys.executable, "-m", "nbgrader", "autograde", "lab3"]
    start, before = time.perf_counter(), computed()
    running = [
        subprocess.Popen(
            command,
            cwd=folder,
            env=make_class.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for folder in folders
    ]
    for process in running:
        _, said = process.communicate()
        if process.returncode:
            raise RuntimeError(said.decode()[-2000:])
    return time.perf_counter() - start, computed() - before


def computed() -> float:
    """Seconds for which the processes that were started here and have ended had a processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    students = 4 if parser.parse_args().quick else 30
    print(f"{students} submissions of lab 3, {os.cpu_count()} cores, sandbox: {sandbox.level()}")
    with tempfile.TemporaryDirectory() as place:
        empty = Path(place, "class")
        maker = [sys.executable, str(ROOT / "tools" / "make_class.py"), str(empty)]
        subprocess.run(maker, env=make_class.environment(), check=True, capture_output=True)
        for processes in (1, 2):
            folders = [Path(place, f"{processes}-{i}") for i in range(processes)]
            for folder in folders:
                hand_in(shutil.copytree(empty, folder), students // processes)
            took, worked = (all_of_them / students for all_of_them in seconds(folders))
            noun = "process" if processes == 1 else "processes"
            print(f"{processes} {noun}: computed {worked:.2f} s each, took {took:.2f} s each")


if __name__ == "__main__":
    main()
