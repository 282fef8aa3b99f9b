"""A class of sixteen and more, some of them hostile, graded by nbgrader as a teacher runs it.

CI sets HOSTILE_CLASS. On a learner's machine, and where the system has no namespaces, it is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import class_of_sixteen as sixteen
import pytest
from nbformat import NotebookNode
from nbgrader import utils as nbgrader_utils
from nbgrader.api import Gradebook

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from course_lib.grading import sandbox
from tools import notebooks

MASTER = notebooks.ROOT / "solutions" / "src" / "03_distillation_loss.py"
OTHERS = [one for one in sorted(MASTER.parent.glob("*.py")) if one != MASTER]
pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif("HOSTILE_CLASS" not in os.environ, reason="hostile code: CI runs it"),
    pytest.mark.skipif(
        "HOSTILE_CLASS" in os.environ and sandbox.level() != "namespaces",
        reason="this system has no namespaces",
    ),
]


def run(folder: Path, *command: str) -> str:
    programs = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(notebooks.ROOT),
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def released_and_right(folder: Path, master: Path) -> tuple[NotebookNode, dict[str, str]]:
    """What learners of this lab get, and the right answers by exercise."""
    lab = f"lab{int(master.name[:2])}"
    released = notebooks.read(folder / "release" / lab / f"{master.stem}.ipynb")
    cells = filter(nbgrader_utils.is_solution, notebooks.build(master).cells)
    return released, {cell.metadata.nbgrader.grade_id: cell.source for cell in cells}


def points(folder: Path, notebook: str, lab: str, name: str) -> dict[str, float]:
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "compression") as gradebook:
        found = gradebook.find_submission_notebook(notebook, lab, name)
        assert not any(grade.needs_manual_grade for grade in found.grades)
        return {grade.name: grade.score for grade in found.grades}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The teacher's folder after `make class`, sixteen submissions, autograde and feedback; the log."""
    folder = tmp_path_factory.mktemp("class")
    run(folder, str(notebooks.ROOT / "tools" / "make_class.py"), str(folder))
    before = files(folder)
    again = run(folder, str(notebooks.ROOT / "tools" / "make_class.py"), str(folder))
    assert "nothing has changed" in again
    assert files(folder) == before
    released, right = released_and_right(folder, MASTER)
    for name in sixteen.NAMES:
        notebook = sixteen.submission(name, released, right, str(folder))
        notebooks.write(notebook, folder / "submitted" / name / "lab3" / f"{MASTER.stem}.ipynb")
    handed_in = files(folder / "submitted")
    log = run(folder, "-m", "nbgrader", "autograde", "lab3", "--Judge.cell_seconds=60")
    assert files(folder / "submitted") == handed_in
    run(folder, "-m", "nbgrader", "generate_feedback", "lab3")
    return folder, log


@pytest.mark.parametrize("name", sixteen.NAMES)
def test_each_gets_exactly_its_points(graded, name):
    found = points(graded[0], MASTER.stem, "lab3", name)
    assert sum(found.values()) == sixteen.POINTS[name], found


def test_who_deletes_checks_is_reported(graded):
    reported = re.findall(r"(\S+) has deleted the cell 'check-(\w+)'", graded[1])
    assert reported == [(sixteen.DELETES, name) for name in sixteen.WORTH]


@pytest.mark.parametrize("name", sixteen.NAMES)
def test_feedback_shows_no_expected_value_and_no_hidden_file(graded, name):
    (page,) = (graded[0] / "feedback" / name).rglob("*.html")
    text = page.read_text("utf-8")
    assert not re.search(r"^  expected  ", text, re.MULTILINE)
    assert "FOUND /" not in text


@pytest.mark.parametrize("master", OTHERS, ids=lambda path: path.stem)
def test_the_right_answers_of_the_other_labs_get_all_points(graded, master):
    """With their trainings: minutes."""
    folder, lab = graded[0], f"lab{int(master.name[:2])}"
    notebook, right = released_and_right(folder, master)
    for cell in filter(nbgrader_utils.is_solution, notebook.cells):
        cell.source = right[cell.metadata.nbgrader.grade_id]
    notebooks.write(notebook, folder / "submitted" / "right" / lab / f"{master.stem}.ipynb")
    run(folder, "-m", "nbgrader", "autograde", lab, "--Judge.cell_seconds=300")
    cells = filter(nbgrader_utils.is_grade, notebook.cells)
    worth = {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points for cell in cells}
    assert points(folder, master.stem, lab, "right") == worth


def test_the_benchmark_runs(tmp_path):
    said = run(tmp_path, str(notebooks.ROOT / "benchmarks" / "bench_autograde.py"), "--quick")
    assert re.search(r"^1 process: .+ s each$", said, re.MULTILINE)


def test_nothing_of_the_class_is_left_running(graded):
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert not re.search(rf"course_lib\.grading\.sandbox.*{graded[0].name}", running)
