"""nbgrader itself, as a teacher runs it, grades three submissions of each lab."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass
class Graded:
    """A lab that nbgrader has released, collected and graded."""

    source: Path
    released: NotebookNode
    gradebook: Gradebook
    folder: Path

    def checks_of(self, student: str) -> list[NotebookNode]:
        """The check cells as they were run."""
        name = self.source.stem
        notebook = notebooks.read(self.folder / student / name / f"{name}.ipynb")
        return [cell for cell in notebook.cells if nbgrader_utils.is_grade(cell)]


def without_numbers(cell: NotebookNode) -> list[str]:
    """The text below a cell; a training may end a little differently on another processor."""
    return [re.sub(r"\d+(\.\d+)?", "#", output.text) for output in cell.outputs]


@pytest.fixture(scope="module", params=LABS, ids=lambda source: source.stem)
def lab(request, tmp_path_factory):
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
    # nbgrader's limit of 30 s a cell is short for a training on a busy machine.
    nbgrader(course, "autograde", name, "--Execute.timeout=170")
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "course") as gradebook:
        yield Graded(source, released, gradebook, course / "autograded")


@pytest.mark.timeout(900)
def test_the_student_edition_is_what_nbgrader_releases(lab):
    stored = notebooks.read(exercises.STUDENTS / f"{lab.source.stem}.ipynb")
    assert stored.cells == lab.released.cells


@pytest.mark.timeout(900)
@pytest.mark.parametrize("student", ["right", "blank", "half"])
def test_each_submission_gets_exactly_its_points(lab, student):
    worth = points(notebooks.build(lab.source))
    share = {"right": lambda n: 1, "blank": lambda n: 0, "half": lambda n: n % 2}[student]
    expected = {name: share(number) * worth[name] for number, name in enumerate(worth)}
    (notebook,) = lab.gradebook.find_submission(lab.source.stem, student).notebooks
    assert {grade.name: grade.score for grade in notebook.grades} == expected
    assert not any(grade.needs_manual_grade for grade in notebook.grades)
    assert notebook.max_score == sum(worth.values()) > 0


def test_every_solution_passes_and_says_what_is_stored(lab):
    stored = notebooks.read(notebooks.notebook_of(lab.source))
    expected = [without_numbers(cell) for cell in stored.cells if nbgrader_utils.is_grade(cell)]
    found = [without_numbers(cell) for cell in lab.checks_of("right")]
    assert all(text.startswith("✓ ") for (text,) in found)
    assert found == expected, "a check says something new: python tools/exercises.py --fresh"


def test_every_untouched_stub_fails(lab):
    for cell in lab.checks_of("blank"):
        assert cell.outputs[-1].output_type == "error", cell.source
