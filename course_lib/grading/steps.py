"""What nbgrader does with a submission here: two of its steps are other ones.

`make class` names them in nbgrader_config.py. All others, and its commands, are nbgrader's own.
"""

from __future__ import annotations

import atexit
import copy
import shutil
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float

from course_lib.grading import judge, sandbox

_nurseries: dict[str, sandbox.Nursery] = {}


class Restore(NbGraderPreprocessor):
    """The released notebook with the learner's answers; cells of their own stay where they were."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        said = resources["nbgrader"]
        places = CourseDirectory(config=self.config)
        name = f"{said['notebook']}.ipynb"
        ours = nbformat.read(released(places, said) / name, as_version=4)
        if (submitted(places, said) / name).is_symlink():  # to the solution, perhaps
            nb.cells = []
        nb.cells, missing = restored(ours.cells, nb.cells)
        for name in missing:
            who, where = said["student"], said["notebook"]
            self.log.warning("%s has deleted the cell %r of %s: it was put back.", who, name, where)
        return nb, resources


def submitted(places: CourseDirectory, said: Any) -> Path:
    """The folder that the learner has handed in."""
    names = said["student"], said["assignment"]
    return Path(places.format_path(places.submitted_directory, *names))


def released(places: CourseDirectory, said: Any) -> Path:
    """The folder that the learner has got."""
    return Path(places.format_path(places.release_directory, ".", said["assignment"]))


def take_away_links(folder: Path, copied: Path, ours: Path) -> list[str]:
    """nbgrader has copied what links in a folder lead to, and that may be a file of the teacher's.

    Not the notebooks of the lab, which it has written anew.
    """
    links = [one.relative_to(folder) for one in folder.rglob("*") if one.is_symlink()]
    links = [name for name in links if name.suffix != ".ipynb" or not (ours / name).exists()]
    for name in links:
        if (copied / name).is_dir():
            shutil.rmtree(copied / name)
        (copied / name).unlink(missing_ok=True)
    return list(map(str, links))


def grade_id(cell: NotebookNode) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def restored(
    ours: list[NotebookNode], handed_in: list[NotebookNode]
) -> tuple[list[NotebookNode], list[str]]:
    """The cells of the released notebook with the learner's answers, and the names of those missing.

    A cell without a name stands behind the same named cell as in the submission.
    """
    names = [grade_id(cell) for cell in ours if grade_id(cell)]
    theirs: dict[str, NotebookNode] = {}
    behind: dict[str, list[NotebookNode]] = {"": []}
    last = ""
    for cell in handed_in:
        name = grade_id(cell)
        if name in names and name not in theirs:
            theirs[name], last = cell, name
        else:  # their own, or a copy of one of ours
            cell.metadata.pop("nbgrader", None)
            behind.setdefault(last, []).append(cell)
    cells = list(behind[""])
    for cell in ours:
        if name := grade_id(cell):
            found = copy.deepcopy(cell)
            if cell.metadata.nbgrader.solution and name in theirs:
                found.source = theirs[name].source
            cells += [found, *behind.get(name, [])]
    return cells, [name for name in names if name not in theirs]


class Judge(NbGraderPreprocessor):
    """Runs the notebook in the sandbox, and the checks outside of it."""

    unsafe = Bool(False, help="Grade where the system cannot keep code in, too.").tag(config=True)
    cell_seconds = Float(60, help="Seconds that a cell may compute.").tag(config=True)
    training_seconds = Float(900, help="The same in a challenge.").tag(config=True)
    notebook_seconds = Float(3600, help="Seconds on the clock for a notebook.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        lab = resources["nbgrader"]["notebook"]
        if lab not in _nurseries:
            locked = (c for c in nb.cells if c.metadata.get("nbgrader", {}).get("locked"))
            first = next((c.source for c in locked if c.cell_type == "code"), "")
            _nurseries[lab] = nursery = sandbox.Nursery(first, self.unsafe)
            atexit.register(nursery.close)
            memory = "limited" if nursery.group else "watched"
            self.log.info("Sandbox: %s, memory: %s", nursery.level, memory)
        for cell in nb.cells:
            if judge.is_check(cell) and not judge.CALL.fullmatch(cell.source.strip()):
                self.log.warning(
                    "The graded cell %r of %s is no check of the course: it runs beside the learner's "
                    "code, which could fool it.",
                    *(grade_id(cell), lab),
                )
        files = Path(resources["metadata"]["path"]).absolute()
        kinds = ("cell", "training", "notebook")
        seconds = {kind: getattr(self, f"{kind}_seconds") for kind in kinds}
        said = resources["nbgrader"]
        places = CourseDirectory(config=self.config)
        links = take_away_links(submitted(places, said), files, released(places, said))
        for name in links:
            self.log.warning("%s submitted a link, %s: it was taken away.", said["student"], name)
        session = judge.Session(_nurseries[lab], files, seconds)
        try:
            judge.grade(nb.cells, session)
        except sandbox.SandboxError as error:
            _nurseries.pop(lab).close()
            raise RuntimeError(str(error)) from None  # then nbgrader keeps no grade, and says so
        finally:
            session.stop()
        return nb, resources
