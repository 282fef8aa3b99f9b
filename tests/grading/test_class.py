"""A class of sixteen and more, some of them hostile, graded by nbgrader as a teacher runs it.

CI sets HOSTILE_CLASS. On a learner's machine, and where the system has no namespaces, it is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from grading import class_of_sixteen as sixteen
from nbgrader import utils as nbgrader_utils
from nbgrader.api import Gradebook

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from course_lib.grading import sandbox
from tools import notebooks

MASTER = notebooks.ROOT / "solutions" / "src" / "03_distillation_loss.py"
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


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The teacher's folder after `make class`, sixteen submissions, autograde and feedback; the log."""
    folder = tmp_path_factory.mktemp("class")
    run(folder, str(notebooks.ROOT / "tools" / "make_class.py"), str(folder))
    before = files(folder)
    again = run(folder, str(notebooks.ROOT / "tools" / "make_class.py"), str(folder))
    assert "nothing has changed" in again
    assert files(folder) == before
    released = notebooks.read(folder / "release" / "lab3" / f"{MASTER.stem}.ipynb")
    cells = filter(nbgrader_utils.is_solution, notebooks.build(MASTER).cells)
    right = {cell.metadata.nbgrader.grade_id: cell.source for cell in cells}
    for name in sixteen.NAMES:
        notebook = sixteen.submission(name, released, right, str(folder))
        notebooks.write(notebook, folder / "submitted" / name / "lab3" / f"{MASTER.stem}.ipynb")
    handed_in = files(folder / "submitted")
    log = run(folder, "-m", "nbgrader", "autograde", "lab3", "--Judge.cell_seconds=20")
    assert files(folder / "submitted") == handed_in
    run(folder, "-m", "nbgrader", "generate_feedback", "lab3")
    return folder, log


@pytest.mark.parametrize("name", sixteen.NAMES)
def test_each_gets_exactly_its_points(graded, name):
    with Gradebook(f"sqlite:///{graded[0] / 'gradebook.db'}", "compression") as gradebook:
        notebook = gradebook.find_submission_notebook(MASTER.stem, "lab3", name)
        points = {grade.name: grade.score for grade in notebook.grades}
        assert notebook.score == sixteen.POINTS[name], points
        assert not any(grade.needs_manual_grade for grade in notebook.grades)


def test_who_deletes_checks_is_reported(graded):
    reported = re.findall(r"(\S+) has deleted the cell 'check-(\w+)'", graded[1])
    assert reported == [(sixteen.DELETES, name) for name in sixteen.WORTH]


@pytest.mark.parametrize("name", sixteen.NAMES)
def test_feedback_shows_no_expected_value_and_no_hidden_file(graded, name):
    (page,) = (graded[0] / "feedback" / name).rglob("*.html")
    text = page.read_text("utf-8")
    assert not re.search(r"^  expected  ", text, re.MULTILINE)
    assert "FOUND /" not in text


def test_nothing_of_the_class_is_left_running(graded):
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert not re.search(rf"course_lib\.grading\.sandbox.*{graded[0].name}", running)
