"""The two steps of nbgrader that are this course's, on a notebook of three cells."""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from traitlets.config import Config

from course_lib.grading import sandbox, steps

WHO = {"student": "ann", "assignment": "lab1", "notebook": "01"}
RELEASED = {
    "sparsity": ("def sparsity(x):\n    raise NotImplementedError()", "solution"),
    "check-sparsity": ("checks.sparsity(sparsity)", "grade"),
}


def cell(name):
    source, kind = RELEASED[name]
    one = new_code_cell(source)
    about = {"grade_id": name, "solution": False, "grade": False, "locked": kind == "grade"}
    one.metadata.nbgrader = about | {kind: True}
    return one


@pytest.fixture
def course(tmp_path):
    """A teacher's folder with one lab released, and Ann's submission, in which she has a link."""
    for name in ("release/./lab1", "submitted/ann/lab1", "autograded/ann/lab1"):
        (tmp_path / name).mkdir(parents=True)
    nbformat.write(
        new_notebook(cells=list(map(cell, RELEASED))), tmp_path / "release/lab1/01.ipynb"
    )
    (tmp_path / "submitted/ann/lab1/data").symlink_to("/etc/hostname")
    (tmp_path / "autograded/ann/lab1/data").write_text("secret")
    return tmp_path


def step(kind, course, notebook):
    said = {"nbgrader": WHO, "metadata": {"path": str(course / "autograded/ann/lab1")}}
    one = kind(config=Config({"CourseDirectory": {"root": str(course)}}))
    return one.preprocess(notebook, said)[0]


def test_a_notebook_that_is_a_link_holds_no_answers(course):
    """Before, a link to the solution was graded as if it had been handed in."""
    answered = cell("sparsity")
    answered.source = "def sparsity(x):\n    return 1"
    for link in (False, True):
        place = Path(course, "submitted/ann/lab1/01.ipynb")
        place.symlink_to("/etc/hostname") if link else None
        found = step(steps.Restore, course, new_notebook(cells=[copy.deepcopy(answered)]))
        assert (found.cells[0].source == answered.source) is not link


def test_a_sandbox_that_cannot_be_made_is_an_error_of_nbgraders(course, monkeypatch):
    """Before, the whole class got 0 points."""

    class Nursery:
        level, group, closed = "namespaces", None, False

        def __init__(self, *given):
            assert given == (RELEASED["check-sparsity"][0], False)

        def start(self, files):
            assert [path.name for path in files.iterdir()] == []
            raise sandbox.SandboxError("mount: not permitted")

        def close(self):
            Nursery.closed = True

    monkeypatch.setattr(sandbox, "Nursery", Nursery)
    with pytest.raises(RuntimeError, match="mount: not permitted"):
        step(steps.Judge, course, new_notebook(cells=list(map(cell, RELEASED))))
    assert Nursery.closed and not steps._nurseries
    assert not (course / "autograded/ann/lab1/data").exists()
