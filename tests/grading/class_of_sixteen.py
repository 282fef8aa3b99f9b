"""Sixteen submissions of a lab: what each one does, and the points that it should get.

Hostile ones are among them. They may run in the sandbox alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from nbgrader import utils as nbgrader_utils

from course_lib.grading import judge


class Lab(NamedTuple):
    """What learners get, the right answers and the points by exercise, the teacher's folder."""

    released: NotebookNode
    right: Mapping[str, str]
    worth: Mapping[str, int]
    course: str

    @property
    def victim(self) -> str:
        """The exercise that most of the hostile ones answer in their own way: the second one."""
        return list(self.right)[1]

    def fill(self, code: str) -> str:
        """This code with what it aims at; `mark` is a line of a right answer, reversed."""
        mark = max(self.right[self.victim].splitlines(), key=len).strip()[::-1]
        aims = {"victim": self.victim, "names": repr(list(self.right)), "course": self.course}
        for name, text in (aims | {"mark": repr(mark)}).items():
            code = code.replace(f"<{name}>", text)
        return code


_DEF = "def <victim>(*given, **more):\n    import os, sys\n"
# What stands in the place of one right answer; all others are right.
INSTEAD = {
    "sleeps": "import time\ntime.sleep(1e9)",
    "loops": f"{_DEF}    while True:\n        pass",
    "system-exit": f"{_DEF}    sys.exit()",
    "os-exit": f"{_DEF}    os._exit(0)",
    "fork-bomb": f"{_DEF}    while True:\n        os.fork()",
    "memory": f"{_DEF}    rows = []\n    while True:\n        rows.append(b'x' * 10**8)",
}
# What stands before that answer, which is right.
AHEAD = {
    "prints": "for _ in range(1000):\n    print('x' * 10**6)",
    "writes": """import pathlib
for up in ('..', '../..', '../../..', '<course>', '<course>/submitted/right'):
    for name in ('gradebook.db', 'lab3/03_distillation_loss.ipynb', 'here'):
        try:
            pathlib.Path(up, name).write_text('written')
        except OSError:
            pass""",
    "noise": """import logging, sys, warnings
logging.warning('noise')
warnings.warn('noise')
print('noise', file=sys.stderr)""",
}
# What stands in a cell before all others, where no answer is written.
CHEAT = {
    "replaces-checks": """from course_lib import checks
for name in dir(checks) + <names>:
    setattr(checks, name, lambda answer: None)""",
    "replaces-modules": """import sys, types
import course_lib
fake = types.SimpleNamespace(**{name: lambda answer: None for name in <names>})
course_lib.checks = fake
sys.modules['course_lib.checks'] = fake""",
    "reads": """import glob, os
for pattern in ('<course>/**/*.ipynb', '/**/*.ipynb', '/**/solutions/**/*', '/**/lesson?.py'):
    for path in glob.iglob(pattern, recursive=True):
        if os.path.isfile(path) and <mark>[::-1] in open(path, errors='ignore').read():
            print('FOUND', path)""",
}
NAMES = ["right", "half", "blank", "steals", "deletes", *INSTEAD, *AHEAD, *CHEAT]


def answered(name: str, lab: Lab) -> list[str]:
    """The exercises to which this learner gives the right answer.

    Nobody tries the challenge here: it trains, which takes minutes. Lab 3 has none.
    """
    if name in ("blank", "steals", *CHEAT):
        return []
    if name == "half":
        return list(lab.right)[:3]
    here = [exercise for exercise in lab.right if not judge.trains(exercise)]
    return [exercise for exercise in here if name not in INSTEAD or exercise != lab.victim]


def points(name: str, lab: Lab) -> int:
    return sum(lab.worth[exercise] for exercise in answered(name, lab))


def submission(name: str, lab: Lab) -> NotebookNode:
    """The released notebook as this learner hands it in."""
    notebook = copy.deepcopy(lab.released)
    for cell in filter(nbgrader_utils.is_solution, notebook.cells):
        exercise = cell.metadata.nbgrader.grade_id
        if exercise in answered(name, lab):
            cell.source = lab.right[exercise]
        if name == "steals":
            cell.source = f"{exercise} = checks.{exercise}.made(checks.{exercise}.right)"
        if exercise == lab.victim:
            ahead = f"{AHEAD[name]}\n{cell.source}" if name in AHEAD else cell.source
            cell.source = lab.fill(INSTEAD.get(name, ahead))
    if name in CHEAT:
        notebook.cells.insert(2, new_code_cell(lab.fill(CHEAT[name])))
    if name == "deletes":
        notebook.cells = [cell for cell in notebook.cells if not nbgrader_utils.is_grade(cell)]
    return notebook
