"""nbgrader itself, as a teacher runs it, grades three submissions of each lab."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbgrader import utils as nbgrader_utils
from nbgrader.api import Gradebook

sys.path.insert(0, str(Path(__file__).parents[1]))  # tools/ is not installed

from tools import exercises, notebooks

LABS = notebooks.find_sources([], exercises.SOURCES)


def nbgrader(course: Path, *arguments: str) -> None:
    programs = str(Path(sys.executable).parent)  # nbgrader calls alembic by its name
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(notebooks.ROOT),
    }
    command = [sys.executable, "-m", "nbgrader", *arguments, "--CourseDirectory.course_id=course"]
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def points(master: NotebookNode) -> dict[str, float]:
    """A check cell's grade_id → the points it is worth."""
    cells = [cell.metadata.nbgrader for cell in master.cells if nbgrader_utils.is_grade(cell)]
    return {cell.grade_id: cell.points for cell in cells}


def answered(released: NotebookNode, answer: Callable[[int, NotebookNode], str]) -> NotebookNode:
    """The student edition, its n-th answer cell filled in with ``answer(n, cell)``."""
    notebook = copy.deepcopy(released)
    cells = [cell for cell in notebook.cells if nbgrader_utils.is_solution(cell)]
    for number, cell in enumerate(cells):
        cell.source = answer(number, cell)
    return notebook


def submissions(source: Path, released: NotebookNode) -> dict[str, NotebookNode]:
    master = notebooks.build(source)
    right = [cell.source for cell in master.cells if nbgrader_utils.is_solution(cell)]
    calls = [cell.source for cell in master.cells if nbgrader_utils.is_grade(cell)]
    names = [re.fullmatch(r"checks\.\w+\((\w+)\)", call)[1] for call in calls]

    def every_second(number: int, cell: NotebookNode) -> str:
        return right[number] if number % 2 else f"{names[number]} = lambda *given: 0.123"

    return {
        "right": answered(released, lambda number, cell: right[number]),
        "blank": released,
        "half": answered(released, every_second),
    }


@pytest.fixture(scope="module", params=LABS, ids=lambda source: source.stem)
def lab(request, tmp_path_factory):
    """A lab that nbgrader has released, collected and graded; and its gradebook."""
    source, course = request.param, tmp_path_factory.mktemp("course")
    (course / "nbgrader_config.py").touch()
    name = source.stem
    notebooks.write(
        notebooks.read(notebooks.notebook_of(source)),
        course / "source" / name / f"{name}.ipynb",
    )
    nbgrader(course, "generate_assignment", name)
    released = notebooks.read(course / "release" / name / f"{name}.ipynb")
    for student, notebook in submissions(source, released).items():
        notebooks.write(notebook, course / "submitted" / student / name / f"{name}.ipynb")
    nbgrader(course, "autograde", name)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "course") as gradebook:
        yield source, released, gradebook


@pytest.mark.timeout(900)
def test_the_student_edition_is_what_nbgrader_releases(lab):
    source, released, _ = lab
    stored = notebooks.read(exercises.STUDENTS / f"{source.stem}.ipynb")
    assert [cell.source for cell in stored.cells] == [cell.source for cell in released.cells]
    assert [cell.metadata for cell in stored.cells] == [cell.metadata for cell in released.cells]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("student", ["right", "blank", "half"])
def test_each_submission_gets_exactly_its_points(lab, student):
    source, _, gradebook = lab
    worth = points(notebooks.build(source))
    share = {"right": lambda n: 1, "blank": lambda n: 0, "half": lambda n: n % 2}[student]
    expected = {name: share(number) * worth[name] for number, name in enumerate(worth)}
    (notebook,) = gradebook.find_submission(source.stem, student).notebooks
    assert {grade.name: grade.score for grade in notebook.grades} == expected
    assert not any(grade.needs_manual_grade for grade in notebook.grades)
    assert notebook.max_score == sum(worth.values()) > 0
