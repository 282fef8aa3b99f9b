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

from course_lib import cache, cached_files

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
from course_lib import cache, cached_files
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


def test_what_interrupted_runs_left_is_swept_after_a_day(made):
    """Each left-over held up to 100 MB."""
    old, young = made.with_name("part-old"), made.with_name("part-young")
    for part, age in ((old, 25), (young, 23)):
        part.write_text("half")
        then = time.time() - age * 60 * 60
        os.utime(part, (then, then))
    cached_files.cached_file("folder/other.txt", hello)
    assert not old.exists()
    assert young.exists()


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
    assert not (cache_folder / "part-hello.txt").exists()
