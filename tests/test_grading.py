"""nbgrader with the sandbox, as a teacher runs it, grades two harmless submissions of each lab."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbgrader import utils as nbgrader_utils
from nbgrader.api import Gradebook

sys.path.insert(0, str(Path(__file__).parents[1]))  # tools/ is not installed

from tools import exercises, make_class, notebooks

LABS = notebooks.find_sources([], exercises.SOURCES)
# Two students, each with every second answer; the others they left as they were. So each solution is
# graded once, and each stub.
ANSWERED = {"even": 0, "odd": 1}
each_lab = pytest.mark.parametrize("source", LABS, ids=lambda source: source.stem)
pytestmark = pytest.mark.timeout(
    1800
)  # the first test waits for nbgrader and its kernels, two a lab


def nbgrader(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "nbgrader", *arguments, "--CourseDirectory.course_id=course"]
    environment = make_class.environment()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def points(master: NotebookNode) -> dict[str, float]:
    """A check cell's grade_id → the points it is worth."""
    cells = check_cells(master)
    return {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points for cell in cells}


def submissions(source: Path, released: NotebookNode) -> dict[str, NotebookNode]:
    """The student edition, every second of its answer cells filled in."""
    solutions = [cell.source for cell in answer_cells(notebooks.build(source))]
    handed_in = {student: copy.deepcopy(released) for student in ANSWERED}
    for student, first in ANSWERED.items():
        cells = answer_cells(handed_in[student])
        for cell, solution in list(zip(cells, solutions, strict=True))[first::2]:
            cell.source = solution
    return handed_in


def lab_of(course: Path, folder: str, source: Path) -> NotebookNode:
    return notebooks.read(course / folder / "labs" / f"{source.stem}.ipynb")


def answer_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if nbgrader_utils.is_solution(cell)]


def check_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if nbgrader_utils.is_grade(cell)]


def without_numbers(cell: NotebookNode) -> str:
    """The text below a cell; a training may end a little differently on another processor, and a
    line then breaks elsewhere. On a busy machine it may come in two pieces."""
    text = "".join(out.text for out in cell.outputs)
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", text).split())


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A teacher's folder: all labs released as one assignment, handed in twice, graded."""
    folder = tmp_path_factory.mktemp("course")
    config = make_class.CONFIG.format(exchange=str(folder))
    (folder / "nbgrader_config.py").write_text(config, "utf-8")
    (folder / "source" / "labs").mkdir(parents=True)
    for source in LABS:
        shutil.copy(notebooks.notebook_of(source), folder / "source" / "labs")
    nbgrader(folder, "generate_assignment", "labs")
    for source in LABS:
        released = lab_of(folder, "release", source)
        for student, notebook in submissions(source, released).items():
            path = folder / "submitted" / student / "labs" / f"{source.stem}.ipynb"
            notebooks.write(notebook, path)
    # Lab 5 has a training of minutes on one thread, and this machine may be busy. Where nothing keeps
    # code in, the answers run all the same: they are ours.
    seconds = (f"--Judge.{kind}_seconds=3600" for kind in ("cell", "training", "notebook"))
    nbgrader(folder, "autograde", "labs", "--Judge.unsafe=True", *seconds)
    return folder


@each_lab
def test_the_student_edition_is_what_nbgrader_releases(course, source):
    stored = notebooks.read(exercises.STUDENTS / f"{source.stem}.ipynb")
    assert stored.cells == lab_of(course, "release", source).cells


@each_lab
@pytest.mark.parametrize("student", ANSWERED)
def test_each_submission_gets_exactly_its_points(course, source, student):
    worth = points(notebooks.build(source))
    given = list(worth)[ANSWERED[student] :: 2]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "course") as gradebook:
        notebook = gradebook.find_submission_notebook(source.stem, "labs", student)
        found = {grade.name: grade.score for grade in notebook.grades}
        assert found == {name: worth[name] if name in given else 0 for name in worth}
        assert not any(grade.needs_manual_grade for grade in notebook.grades)
        assert notebook.max_score == sum(worth.values()) > 0


@each_lab
@pytest.mark.parametrize("student", ANSWERED)
def test_every_solution_passes_and_says_what_is_stored(course, source, student):
    every_second = slice(ANSWERED[student], None, 2)
    stored = check_cells(notebooks.read(notebooks.notebook_of(source)))[every_second]
    found = check_cells(lab_of(course, f"autograded/{student}", source))[every_second]
    assert all(cell.outputs[0].text.startswith("✓ ") for cell in found)
    said = list(map(without_numbers, found))
    assert said == list(map(without_numbers, stored)), "run: python tools/exercises.py --fresh"


@each_lab
@pytest.mark.parametrize("student", ANSWERED)
def test_every_untouched_stub_fails(course, source, student):
    for cell in check_cells(lab_of(course, f"autograded/{student}", source))[
        1 - ANSWERED[student] :: 2
    ]:
        assert cell.outputs[-1].output_type == "error", cell.source
