"""Each check, called from another process, says of an answer what it says in the kernel.

The other process runs harmless answers only, without a sandbox: it is about what goes to and fro.
"""

from __future__ import annotations

import os
import socket

import pytest

from course_lib import checks
from course_lib.checks.checking import IMPORTED, Check, edited
from course_lib.checks.guarding import Seen
from course_lib.grading import judge, worker

FUNCTIONS = [
    check
    for lesson in checks.LESSONS.values()
    for check in vars(lesson).values()
    if isinstance(check, Check) and isinstance(check.right, str)
]


class Here:
    """Stands for the nursery: a worker is a fork of this process."""

    level = "namespaces"

    def start(self, files):
        mine, its = socket.socketpair()
        read, write = os.pipe()
        os.set_blocking(read, False)
        child = os.fork()
        if not child:
            mine.close()
            os.dup2(write, 1)
            os.dup2(write, 2)
            try:
                worker.serve(its)
            finally:
                os._exit(0)
        its.close()
        os.close(write)
        return child, mine, read

    def end(self, pid):
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr(judge.sandbox, "taken", lambda pid: 0)
    one = judge.Session(Here(), None, {"cell": 60, "training": 60, "notebook": 600})
    yield one
    one.stop()


def told(check, answer):
    wrong = check.find(answer)
    return wrong and (wrong.mistake, wrong.without("came"))


@pytest.mark.parametrize("check", FUNCTIONS, ids=lambda check: check.name)
def test_right_and_wrong_answers_are_told_the_same(check, session):
    names = IMPORTED | dict(check.imported or {})
    lines = [
        f"import {m.__name__} as {n}" for n, m in names.items() if type(m).__name__ == "module"
    ]
    assert session.run("\n".join([*lines, "from scipy.stats import binomtest"]), 60) == []
    wrong = [mistake for mistake in check.known if not isinstance(mistake.wrong, Seen)]
    for source in [check.right, *(edited(check.right, mistake) for mistake in wrong[:2])]:
        assert session.run(source, 20) == []
        there = told(check, session.answer(check.name))
        assert there == told(check, check.made(source)), source
    assert told(check, session.answer(check.name)) or not wrong
