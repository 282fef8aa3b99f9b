"""What harmless code sees and can do in the real sandbox."""

from __future__ import annotations

import os

import pytest

from course_lib.grading import judge, sandbox

pytestmark = pytest.mark.skipif(
    sandbox.level() != "namespaces", reason="this system has no namespaces"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache whose files and folders are for their owner alone, as under umask 077."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "zoo").mkdir(mode=0o700)
    (cache / "zoo" / "model.safetensors").write_text("weights")
    (cache / "zoo" / "model.safetensors").chmod(0o600)
    (cache / "exercise-5").mkdir()
    (cache / "exercise-5" / "model.onnx").write_text("an answer")
    return cache


@pytest.fixture(scope="module")
def nursery(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(cache))
        one = sandbox.Nursery()
    yield one
    one.close()


@pytest.fixture
def session(nursery, tmp_path):
    """A notebook's worker, in whose home the submission's files lie."""
    (tmp_path / "data.txt").write_text("mine")
    one = judge.Session(nursery, tmp_path, {"cell": 60, "training": 60, "notebook": 600})
    yield one
    one.stop()


def said(session, source):
    """What a cell prints, and what it stops with."""
    outputs = session.run(source, 30)
    return "".join(out.get("text", "") + out.get("evalue", "") for out in outputs)


def test_a_cache_for_its_owner_alone_is_read_and_stays_as_it_is(session, cache):
    """Before, a file of mode 600 was missing for the learner, and a right answer got no points."""
    file = cache / "zoo" / "model.safetensors"
    read = "from course_lib.cache import cache_dir\nfile = cache_dir() / 'zoo/model.safetensors'\n"
    assert said(session, f"{read}print(file.read_text())") == "weights\n"
    assert said(session, "file.write_text('other')\nprint(file.read_text())") == "other\n"
    assert file.read_text() == "weights" and os.stat(file).st_mode & 0o777 == 0o600
    assert said(session, "print((cache_dir() / 'exercise-5').exists())") == "False\n"


def test_home_is_the_learners(session):
    """Before, it had the submission's own mode: nothing new could be written to it."""
    assert said(session, "n = open('new.txt', 'w').write(open('data.txt').read())") == ""
    assert said(session, "print(open('new.txt').read())") == "mine\n"
