"""Sixteen submissions of lab 3: what each one does, and the points that it should get of 14.

Hostile ones are among them. They may run in the sandbox alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from nbgrader import utils as nbgrader_utils

WORTH = {"soften": 1, "kl": 2, "distillation_loss": 3, "soft_gradient": 3}
WORTH |= {"ask_teacher": 1, "masked_mean": 2, "errors": 2}
ALL = sum(WORTH.values())
BEFORE_KL = "def kl(p, q):\n    import os, sys, time\n"

# What stands in the place of the right answer, by exercise; all others are right.
INSTEAD: dict[str, dict[str, str]] = {
    "sleeps": {"kl": "import time\ntime.sleep(1e9)"},
    "loops": {"kl": f"{BEFORE_KL}    while True:\n        pass"},
    "system-exit": {"kl": f"{BEFORE_KL}    sys.exit()"},
    "os-exit": {"kl": f"{BEFORE_KL}    os._exit(0)"},
    "fork-bomb": {"kl": f"{BEFORE_KL}    while True:\n        os.fork()"},
    "memory": {
        "kl": f"{BEFORE_KL}    rows = []\n    while True:\n        rows.append(b'x' * 10**8)"
    },
    "steals": {name: f"{name} = checks.{name}.made(checks.{name}.right)" for name in WORTH},
}
NOISE = (
    "import logging, sys, warnings\n"
    "logging.warning('noise')\nwarnings.warn('noise')\nprint('noise', file=sys.stderr)"
)
# What stands before an answer that is right otherwise.
AHEAD: dict[str, dict[str, str]] = {
    "prints": {"kl": "for _ in range(1000):\n    print('x' * 10**6)"},
    "writes": {
        "kl": "import pathlib\n"
        "for up in ('..', '../..', '../../..', '{course}', '{course}/submitted/right'):\n"
        "    for name in ('gradebook.db', 'lab3/03_distillation_loss.ipynb', 'here'):\n"
        "        try:\n"
        "            pathlib.Path(up, name).write_text('written')\n"
        "        except OSError:\n"
        "            pass"
    },
    "noise": dict.fromkeys(WORTH, NOISE),
}
# What stands in a cell before all others, where every answer is wrong.
CHEAT = {
    "replaces-checks": "from course_lib import checks\n"
    "for name in dir(checks) + {names!r}:\n    setattr(checks, name, lambda answer: None)",
    "replaces-modules": "import sys, types\n"
    "fake = types.SimpleNamespace(**{{name: lambda answer: None for name in {names!r}}})\n"
    "import course_lib\ncourse_lib.checks = fake\nsys.modules['course_lib.checks'] = fake",
    "reads": "import glob, os, re\ntexts = []\n"
    "for pattern in ('{course}/**/*.ipynb', '/**/*.ipynb', '/**/solutions/**/*', '/**/lesson3.py'):\n"
    "    for path in glob.iglob(pattern, recursive=True):\n"
    "        if os.path.isfile(path) and 'powers' + '.sum' in open(path, errors='ignore').read():\n"
    "            print('FOUND', path)\n"
    "            def soften(logits, T): return (logits / T).softmax(-1)",
}
DELETES = "deletes"
NAMES = ["right", "half", "blank", DELETES, *INSTEAD, *AHEAD, *CHEAT]

POINTS = {"right": ALL, "half": 6, "blank": 0, DELETES: ALL, **dict.fromkeys(AHEAD, ALL)}
POINTS |= dict.fromkeys(INSTEAD, ALL - WORTH["kl"]) | {"steals": 0} | dict.fromkeys(CHEAT, 0)


def submission(
    name: str, released: NotebookNode, right: Mapping[str, str], course: str
) -> NotebookNode:
    """The released notebook as this learner hands it in."""
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        exercise = nbgrader_utils.is_solution(cell) and cell.metadata.nbgrader.grade_id
        if not exercise or name == "blank" or name in CHEAT:
            continue
        if name == "half" and exercise not in ("soften", "kl", "distillation_loss"):
            continue
        cell.source = INSTEAD.get(name, {}).get(exercise, right[exercise])
        if ahead := AHEAD.get(name, {}).get(exercise):
            cell.source = ahead.replace("{course}", course) + "\n" + cell.source
    if name in CHEAT:
        text = CHEAT[name].format(names=list(WORTH), course=course)
        notebook.cells.insert(2, new_code_cell(text))
    if name == DELETES:
        notebook.cells = [cell for cell in notebook.cells if not nbgrader_utils.is_grade(cell)]
    return notebook
