"""What harmless code sees and can do in the real sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.grading import family, judge, memory, sandbox

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


def test_a_folder_that_the_grader_makes_later_can_be_written_to(session, cache):
    """Before, a fresh cache had no such folder yet, and then one that was not the learner's."""
    assert said(session, "from course_lib.cache import cache_dir\nprint('begun')") == "begun\n"
    (cache / "checkpoints").mkdir()
    assert said(session, "print((cache_dir() / 'checkpoints/x').write_text('y'))") == "1\n"


def test_home_is_the_learners(session):
    """Before, it had the submission's own mode: nothing new could be written to it."""
    assert said(session, "n = open('new.txt', 'w').write(open('data.txt').read())") == ""
    assert said(session, "print(open('new.txt').read())") == "mine\n"


def test_what_is_printed_keeps_its_order_and_its_letters(session):
    """Before, standard output came after errors, and a letter of two bytes could break in two."""
    source = "import sys\nfor i in range(3):\n    print(i)\n    print('e', i, file=sys.stderr)"
    assert said(session, source) == "0\ne 0\n1\ne 1\n2\ne 2\n"
    assert said(session, "print('x' + 'é' * 8000)") == f"x{'é' * 8000}\n"
    long = said(session, "print('x' + 'é' * 12000)")
    assert long.startswith("xé") and long.endswith("… and 4,002 more bytes\n") and "�" not in long


def taken(pid):
    return memory.taken(family.of(pid))


GREEDY = {
    "shared": "import mmap\nkept = mmap.mmap(-1, 600 * 2**20)\nkept.write(bytes(600 * 2**20))",
    "forks": """
import os, time
for _ in range(3):
    if not os.fork():
        kept = bytearray(200 * 2**20)
        for i in range(0, len(kept), 4096):
            kept[i] = 1
        time.sleep(9)
time.sleep(9)""",
    "a file": "import os\nfile = os.memfd_create('kept')\nfor _ in range(600):\n"
    "    os.write(file, bytes(2**20))",
}


@pytest.mark.parametrize("way", GREEDY)
def test_memory_is_counted_however_it_is_taken(session, nursery, monkeypatch, way):
    """Before, what a process shared with others was not counted."""
    if way == "a file" and not nursery.group:
        pytest.skip("the system limits no group of processes here")
    assert said(session, "pass") == "" and taken(session.pid) < 500 * 2**20
    most = 400 * 2**20
    if way == "a file":
        for name in memory.MOST:
            if (place := nursery.group / str(session.pid) / name).exists():
                place.write_text(str(most))
    else:
        monkeypatch.setitem(sandbox.LIMITS, "memory", most)
    assert said(session, GREEDY[way]) == f"This cell has ended Python: {judge.MEMORY}."
    assert said(session, "print('on')") == "on\n"


CROWD = """import os, time
for _ in range(70):
    if not os.fork():
        time.sleep(600)
"""


@pytest.mark.parametrize("last", ["", "raise ValueError", "time.sleep(600)"])
def test_many_processes_end_with_the_cell_that_has_started_them(session, last):
    """Before, they went on beside the next cells, which got neither a thread nor a processor."""
    said(session, "before = 1")
    assert said(session, CROWD + last) == f"This cell has ended Python: {judge.CROWDED}."
    assert said(session, "print(before)") == "1\n"
    assert len(family.of(session.pid)) < 5


def test_a_family_is_found_without_the_kernels_list_of_children():
    process = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 & wait"], start_new_session=True)
    try:
        while len(family.of(process.pid)) < 3:
            assert process.poll() is None
        assert family._searched(process.pid) == family.of(process.pid)
        assert len(family.of(process.pid)) == 3
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_what_ended_processes_have_computed_counts(session):
    burn = "while __import__('time').process_time() < 1: pass"
    burn = f'import subprocess, sys\nsubprocess.run([sys.executable, "-c", "{burn}"])'
    said(session, "pass")
    before = family.computed(family.of(session.pid))
    said(session, burn)
    assert 0.9 < family.computed(family.of(session.pid)) - before < 30


def test_where_memory_ends_the_learners_code_is_ended_first(session):
    """Before, it had become another user by then, who may not ask for that."""
    assert said(session, "print(open('/proc/self/oom_score_adj').read())") == "1000\n\n"


def test_a_sandbox_that_cannot_be_made_says_why(nursery):
    before = set(nursery.group.iterdir()) if nursery.group else set()
    with pytest.raises(sandbox.SandboxError, match=r"No such file.*missing.*There is no grade"):
        nursery.start("/missing")
    assert not nursery.group or set(nursery.group.iterdir()) == before


def alone(work):
    """Whether this goes well in namespaces of its own."""

    def there():
        sandbox._unshare()
        sandbox._mount("none", "/", "", sandbox._RECURSIVE | sandbox._PRIVATE)
        work()

    return sandbox._in_child(there) == 0


def listed(folder):
    return sorted(os.listdir(folder))


def test_what_is_mounted_below_is_for_reading_too(tmp_path):
    """Before, a change of a mount that failed, or one below it, left all to be written."""
    source, place = tmp_path / "source", tmp_path / "place"
    (source / "below").mkdir(parents=True)

    def work():
        sandbox._mount("tmpfs", str(source / "below"), "tmpfs", 0)
        sandbox._bind(str(source), str(place))
        for folder in (place, place / "below"):
            with pytest.raises(OSError, match="Read-only"):
                (folder / "new").touch()

    assert alone(work)


def test_without_an_overlay_the_answers_are_hidden_all_the_same(tmp_path, monkeypatch):
    cache, root, mount = tmp_path / "cache", tmp_path / "root", sandbox._mount
    for name in ("exercise-5/model.onnx", "checkpoints/one", "zoo/a"):
        (cache / name).parent.mkdir(parents=True)
        (cache / name).write_text("an answer")

    def without_overlay(source, *rest):
        if source == "overlay":
            raise OSError
        mount(source, *rest)

    def work():
        (root / "cache").mkdir(parents=True)
        sandbox._cache(str(root))
        assert (root / "cache" / "zoo" / "a").read_text() == "an answer"
        assert listed(root / "cache" / "exercise-5") == listed(root / "cache" / "checkpoints") == []

    monkeypatch.setattr(sandbox, "_mount", without_overlay)
    monkeypatch.setenv("COURSE_CACHE", str(cache))
    assert alone(work)


@pytest.mark.parametrize("inside", [True, False])
def test_of_a_checkout_only_python_is_seen(tmp_path, inside):
    """Before, a .git in a folder that is shown held all right answers."""
    root, checkout = tmp_path / "root", tmp_path / "course"
    python = checkout / ".venv" if inside else checkout
    for name in (".git/HEAD", "solutions/lab", "README.md"):
        (root / str(checkout)[1:] / name).parent.mkdir(parents=True, exist_ok=True)
        (root / str(checkout)[1:] / name).write_text("an answer")
    for place in (Path(f"{root}{python}"), python):
        (place / "bin").mkdir(parents=True, exist_ok=True)

    def work():
        sandbox._hide(str(checkout), str(root), [str(python)])
        left = [path for path in (root / str(checkout)[1:]).rglob("*") if path.is_file()]
        assert [path for path in left if path.read_text()] == []
        assert listed(f"{root}{python}/bin") == [] and listed(f"{root}{checkout}") != []

    assert alone(work)


def test_a_fork_that_fails_ends_and_does_not_go_on_as_its_parent():
    """Before, an error in it was swallowed, and two judges went on."""

    def fails():
        raise ProcessLookupError

    assert sandbox._in_child(fails) != 0 and sandbox._in_child(lambda: None) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root has another user's rights to give")
def test_another_user_must_be_able_to_read_the_cache(tmp_path, monkeypatch):
    """Before, nothing could be read in it, and all points were lost."""
    monkeypatch.setattr(sandbox, "level", lambda: "account")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))  # pytest's folders are closed
    with pytest.raises(sandbox.UnsafeError, match=r"may not read all of .*Set COURSE_CACHE"):
        sandbox.Nursery()


def test_a_home_that_is_a_link_holds_the_same_python(tmp_path, cache, monkeypatch):
    """Before, what a worker imported later was not found."""
    (tmp_path / "linked").symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "linked" / "bin" / "python"))
    monkeypatch.setenv("COURSE_CACHE", str(cache))
    session = judge.Session(sandbox.Nursery(), None, {"notebook": 600})
    try:
        source = "import sys, nbformat\nprint(sys.prefix, nbformat.__file__)"
        assert said(session, source).startswith(f"{tmp_path}/linked {tmp_path}/linked/lib")
    finally:
        session.stop()
        session.nursery.close()
