"""The cache survives whatever lies in its place, a full disk, and a folder that cannot be written."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from course_lib import cache, cached_files, files

pytestmark = pytest.mark.reliability


def hello(path: Path) -> None:
    path.write_text("hello")


@pytest.fixture
def made(cache_folder: Path) -> Path:
    return cached_files.cached_file("folder/hello.txt", hello)


def test_a_complete_cache_is_read_without_its_lock(made, monkeypatch):
    """On a read-only disk the lock file could not be opened."""

    def read_only(_path):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cached_files, "FileLock", read_only)
    assert cached_files.cached_file("folder/hello.txt", hello) == made


def test_a_complete_cache_is_read_as_another_user(tmp_path):
    """A shared cache, by someone who may only read: the modes are those that the umask allows."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")
    code = """
import os, sys
from pathlib import Path
from safetensors.torch import save_file
import torch
from course_lib import cache, cached_files, files
def make(path): save_file({"ones": torch.ones(3)}, path)
cached_files.cached_file("folder/ones", make)
os.seteuid(65534)
assert not os.access(cache.cache_dir(), os.W_OK, effective_ids=True)
print(cached_files.cached_file("folder/ones", None).read_bytes()[:0], "read")
"""
    # Not in pytest's folder, which is closed to others.
    folder = Path("/var/tmp") / f"course-test-{os.getpid()}"
    try:
        environment = os.environ | {"COURSE_CACHE": str(folder)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert done.stdout == "b'' read\n", done.stderr
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=False)


def test_files_have_the_mode_that_the_umask_allows(cache_folder):
    """safetensors writes for the owner alone; a class shares one cache."""
    path = cached_files.cached_file("ones", lambda path: save_file({"ones": torch.ones(3)}, path))
    plain = cache_folder / "plain"
    plain.write_text("as open() makes it")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode) != 0o600


def test_a_relative_folder_is_one_folder_wherever_one_stands(monkeypatch, tmp_path):
    name = f"build/cache-{tmp_path.name}-{os.getpid()}"
    monkeypatch.setenv("COURSE_CACHE", name)
    first = cache.cache_dir()
    try:
        monkeypatch.chdir(tmp_path)
        assert first.is_absolute()
        assert os.environ["COURSE_CACHE"] == str(first)  # for the kernels that are started
        monkeypatch.setenv("COURSE_CACHE", name)  # a kernel, in another folder
        assert cache.cache_dir() == first
    finally:
        first.rmdir()


def test_a_folder_that_cannot_be_made_says_what_to_do(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        OSError, match=r"cannot be made.*COURSE_CACHE to a folder that you may write"
    ):
        cache.cache_dir()


def a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "mine.txt").write_text("a person's")


def a_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("damage", [a_folder, a_fifo, no_text, Path.unlink])
@pytest.mark.parametrize("which", ["hello.txt", "hello.txt.sha256", "part-hello.txt"])
@pytest.mark.timeout(20)  # a FIFO must not be waited for
def test_whatever_lies_in_a_files_place_it_is_made_anew_and_said_once(made, damage, which):
    path = made.with_name(which)
    path.touch()
    damage(path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert cached_files.cached_file("folder/hello.txt", hello).read_text() == "hello"
        assert cached_files.cached_file("folder/hello.txt", hello).read_text() == "hello"
    whole = which.startswith("part-")  # what lies beside the file does not matter
    missing = which == "hello.txt" and damage is Path.unlink
    assert len(said) == (0 if whole or missing else 1), [str(one.message) for one in said]
    kept = list(made.parent.rglob("mine.txt"))
    assert len(kept) == (damage is a_folder)  # nothing of a person's is deleted


def left(beside: Path, hours: float, make=lambda path: path.write_text("half")) -> Path:
    """What a killed process left beside a file so many hours ago."""
    part = files.part_beside(beside)
    make(part)
    age(part, hours)
    return part


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 60 * 60
    os.utime(path, (then, then))


def write(path: Path) -> None:
    files.write_atomically(path, hello)


def write_folder(path: Path) -> None:
    files.write_folder(path, lambda part: hello(part / "text"))


@pytest.mark.parametrize("way", [write, write_folder])
def test_what_killed_processes_left_is_swept_after_a_day_wherever_something_is_written(
    tmp_path, way
):
    """Each left-over held up to 100 MB; checkpoints and experiments were never swept."""
    old = left(tmp_path / "other", 25)
    folder = left(tmp_path / "model", 25, lambda path: (path / "new").mkdir(parents=True))
    young = left(tmp_path / "other", 23)
    way(tmp_path / "text")
    assert not old.exists() and not folder.exists() and young.exists()


@pytest.mark.parametrize("name", ["part-00000.parquet", "part-0123456789abcdef.json", "part-one"])
def test_a_persons_part_is_not_swept(tmp_path, name):
    """Before, every part-* went; finished parts of an experiment have such names, too."""
    hello(tmp_path / name)
    age(tmp_path / name, 1000)
    write(tmp_path / "text")
    assert (tmp_path / name).exists()


def test_left_overs_of_older_runs_of_an_experiment_are_swept(cache_folder):
    from course_lib.lessons import experiments

    older = experiments._parts_folder("small", {"recipe": 1}, {})
    part, kept = left(older / "part.json", 25), older / "part-0123456789abcdef.json"
    hello(kept)
    age(kept, 1000)
    experiments._parts_folder("small", {"recipe": 2}, {})
    assert not part.exists() and kept.exists()


def test_a_folder_has_the_modes_that_the_umask_allows(tmp_path):
    """safetensors writes for the owner alone; a class shares one teacher."""
    folder = tmp_path / "model"

    def model(part: Path) -> None:
        save_file({"ones": torch.ones(3)}, part / "model.safetensors")
        hello(part / "text")
        (part / "text").chmod(0o700)  # more than the umask gives stays

    files.write_folder(folder, model)
    plain = tmp_path / "plain"
    hello(plain)
    usual = stat.S_IMODE(plain.stat().st_mode)
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == usual != 0o600
    assert stat.S_IMODE((folder / "text").stat().st_mode) == usual | 0o700


KILLED = """
import os, sys
from pathlib import Path
from course_lib import files
move = os.replace
def killed(source, target):
    move(source, target)
    os.kill(os.getpid(), 9)
os.replace = killed
files.write_folder(Path(sys.argv[1]), lambda part: (part / "text").write_text("new"))
"""


@pytest.mark.parametrize("cure", ["the next reader", "the next writer", "the sweep"])
def test_a_kill_between_the_two_moves_of_a_folder_loses_nothing(tmp_path, cure):
    """Before, neither the old folder nor the new one was in its place, or ever came back."""
    folder = tmp_path / "model [1]"
    folder.mkdir()
    (folder / "text").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)])
    assert done.returncode == -9 and not folder.exists()
    if cure == "the next reader":
        files.recover(folder)
    elif cure == "the next writer":
        with pytest.raises(KeyboardInterrupt):
            files.write_folder(folder, interrupted)
    else:
        age(next(tmp_path.glob("part-*")), 25)
        files.sweep(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
    assert (folder / "text").read_text() == "new"


def interrupted(path: Path) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["zoo", "checkpoints", "experiments"])
def test_a_file_in_the_place_of_a_folder_is_put_aside_and_said(cache_folder, name):
    hello(cache.cache_dir() / name)
    with pytest.warns(UserWarning, match=rf"{name} is no folder\. It is now {name}\.aside-"):
        assert cache.make_folder(cache_folder / name / "a").is_dir()
    (aside,) = cache_folder.glob("*.aside-*")
    assert aside.read_text() == "hello"


def test_a_trained_network_and_a_checkpoint_go_where_a_file_was(cache_folder):
    from course_lib import training
    from course_lib.models import zoo

    hello(cache.cache_dir() / "zoo")
    hello(cache.cache_dir() / "checkpoints")
    with pytest.warns(UserWarning, match="zoo is no folder"):
        zoo.made_once("ones", {}, lambda: {"ones": torch.ones(2)})
    data = torch.utils.data.TensorDataset(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))
    recipe = training.Recipe(epochs=1, checkpoint="small")
    with pytest.warns(UserWarning, match="checkpoints is no folder"):
        training.fit(torch.nn.Linear(2, 2), {"train": data}, recipe)


@pytest.mark.timeout(20)  # a FIFO must not be waited for
@pytest.mark.parametrize("damage", [a_folder, a_fifo])
def test_a_folder_or_a_fifo_in_the_place_of_a_lock_or_a_note_stops_nothing(cache_folder, damage):
    from course_lib.models import zoo

    (cache.cache_dir() / "zoo").mkdir()
    name = f"ones-{files.short_hash('{}')}"
    for place in (f"{name}.json", f"{name}.safetensors.lock"):
        damage(cache_folder / "zoo" / place)
    found = zoo.made_once("ones", {}, lambda: {"ones": torch.ones(2)})
    assert torch.equal(found["ones"], torch.ones(2))
    assert (cache_folder / "zoo" / f"{name}.json").read_text() == "{}"
    assert len(list(cache_folder.rglob("mine.txt"))) == 2 * (damage is a_folder)


def test_a_user_that_nobody_knows_is_said(monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", "~nobody-of-that-name/x")
    with pytest.raises(OSError, match=r"unknown user\. Set the environment variable COURSE_CACHE"):
        cache.cache_dir()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_where_the_cache_is_read_only_a_lesson_writes_elsewhere(cache_folder, monkeypatch, code):
    assert cache.work_folder("a/b") == cache_folder / "a" / "b"

    def read_only(*_arguments, **_settings):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", read_only)
    folder = cache.work_folder("a/b")
    write_folder(folder)
    assert cache_folder not in folder.parents and cache.work_folder("a/b") == folder


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_a_warning_where_the_result_is_there(error):
    with (
        pytest.warns(
            UserWarning, match=r"The teacher was not kept: the disk is full.*COURSE_CACHE"
        ),
        cached_files.going_on_when_full("The teacher"),
    ):
        raise error


def test_other_errors_are_no_full_disk():
    with pytest.raises(PermissionError), cached_files.going_on_when_full("The teacher"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_what_was_trained_is_returned_though_the_disk_is_full(cache_folder, monkeypatch):
    from course_lib.models import zoo

    def full(*_arguments):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(zoo, "save_file", full)
    with pytest.warns(UserWarning, match=r"ones was not kept: the disk is full"):
        found = zoo.made_once("ones", {}, lambda: {"ones": torch.ones(2)})
    assert torch.equal(found["ones"], torch.ones(2))


def test_an_interrupted_run_leaves_no_part_of_a_file(cache_folder):
    def interrupted(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_files.cached_file("hello.txt", interrupted)
    assert not list(cache_folder.glob("part-*"))
