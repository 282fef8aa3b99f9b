"""A class of sixteen, most of them hostile, graded by nbgrader as a teacher runs it.

It runs where HOSTILE_CLASS is set: to 1 for all sixteen in lab 3 and `SOME` in each other lab, to "all"
for all of them in each lab. Where the system has no namespaces, it is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import class_of_sixteen as sixteen
import pytest
from nbgrader import utils as nbgrader_utils
from nbgrader.api import Gradebook

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from course_lib.grading import sandbox
from tools import exercises, make_class, notebooks

MASTERS = {int(path.name[:2]): path for path in notebooks.find_sources([], exercises.SOURCES)}
HOSTILE = os.environ.get("HOSTILE_CLASS")
SOME = ["steals", "replaces-modules", "os-exit"]
CLASS = [
    (lab, name)
    for lab in (3, *(other for other in MASTERS if other != 3))
    for name in (sixteen.NAMES if lab == 3 or HOSTILE == "all" else SOME)
]
# Six times as long does one sleep; an honest cell computes for a second.
AUTOGRADE = ("-m", "nbgrader", "autograde", "--Judge.cell_seconds=10")
# Two processes grade at a time: the learners of lab 3 in two parts, by the first letter of their names.
PARTS = [(3, "[a-m]*"), (3, "[n-z]*"), *((lab, "*") for lab in MASTERS if lab != 3)]
each = pytest.mark.parametrize(("lab", "name"), CLASS, ids=lambda one: str(one))
pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not HOSTILE, reason="hostile code: set HOSTILE_CLASS=1"),
    pytest.mark.skipif(
        bool(HOSTILE) and sandbox.level() != "namespaces",
        reason="hostile code was NOT tried: this system has no namespaces",
    ),
]


def run(folder: Path, *command: str) -> str:
    command = (sys.executable, *command)
    environment = make_class.environment()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sandboxes() -> set[str]:
    """The processes that run a sandbox, of whatever class."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout
    return set(re.findall(r"(\d+) .*course_lib\.grading\.sandbox", listed))


def lab_of(folder: Path, number: int) -> sixteen.Lab:
    master = MASTERS[number]
    released = notebooks.read(folder / "release" / f"lab{number}" / f"{master.stem}.ipynb")
    cells = filter(nbgrader_utils.is_solution, notebooks.build(master).cells)
    right = {cell.metadata.nbgrader.grade_id: cell.source for cell in cells}
    graded = filter(nbgrader_utils.is_grade, released.cells)
    points = [cell.metadata.nbgrader.points for cell in graded]
    return sixteen.Lab(released, right, dict(zip(right, points, strict=True)), str(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The teacher's folder after `make class`; run twice, it changes nothing."""
    folder = tmp_path_factory.mktemp("class")
    run(folder, str(notebooks.ROOT / "tools" / "make_class.py"), str(folder))
    before = files(folder)
    again = run(folder, str(notebooks.ROOT / "tools" / "make_class.py"), str(folder))
    assert "nothing has changed" in again
    assert files(folder) == before
    return folder


@pytest.fixture(scope="module")
def graded(folder):
    """Submissions and autograde of all labs, once: lab → what autograde has logged."""
    for lab, learner in CLASS:
        place = folder / "submitted" / learner / f"lab{lab}" / f"{MASTERS[lab].stem}.ipynb"
        notebooks.write(sixteen.submission(learner, lab_of(folder, lab)), place)
    handed_in, before = files(folder / "submitted"), sandboxes()

    def log(part: tuple[int, str]) -> str:
        return run(folder, *AUTOGRADE, f"lab{part[0]}", f"--student={part[1]}")

    with ThreadPoolExecutor(2) as two:
        logs = list(zip(PARTS, two.map(log, PARTS), strict=True))
    assert sandboxes() <= before
    assert files(folder / "submitted") == handed_in
    return {lab: "".join(said for (one, _), said in logs if one == lab) for lab in MASTERS}


@each
def test_each_gets_exactly_its_points(folder, graded, lab, name):
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "compression") as gradebook:
        found = gradebook.find_submission_notebook(MASTERS[lab].stem, f"lab{lab}", name)
        points = {grade.name: grade.score for grade in found.grades}
        assert not any(grade.needs_manual_grade for grade in found.grades)
    assert sum(points.values()) == sixteen.points(name, lab_of(folder, lab)), points


@each
def test_no_learner_is_shown_an_expected_value_or_a_hidden_file(folder, graded, lab, name):
    place = folder / "autograded" / name / f"lab{lab}" / f"{MASTERS[lab].stem}.ipynb"
    outputs = [out for cell in notebooks.read(place).cells for out in cell.get("outputs", [])]
    text = "\n".join(out.get("text", "") + "\n".join(out.get("traceback", [])) for out in outputs)
    assert not re.search(r"^  expected  ", text, re.MULTILINE)
    assert "FOUND /" not in text


def test_feedback_is_what_the_learner_may_see(folder, graded):
    run(folder, "-m", "nbgrader", "generate_feedback", "lab3", "--student=half")
    (page,) = (folder / "feedback" / "half" / "lab3").rglob("*.html")
    text = page.read_text("utf-8")
    assert "not yet" in text and not re.search(r"^  expected  ", text, re.MULTILINE)


def test_how_well_the_sandbox_is_closed_is_said(graded):
    for log in graded.values():
        assert re.search(r"Sandbox: namespaces, memory: (limited|watched)$", log, re.MULTILINE)


def test_who_deletes_checks_is_reported(folder, graded):
    reported = re.findall(r"(\S+) has deleted the cell 'check-(\w+)'", graded[3])
    assert reported == [("deletes", name) for name in lab_of(folder, 3).right]


def test_the_benchmark_runs(tmp_path):
    said = run(tmp_path, str(notebooks.ROOT / "benchmarks" / "bench_autograde.py"), "--quick")
    assert re.search(r"^1 process: .+ s each$", said, re.MULTILINE)
