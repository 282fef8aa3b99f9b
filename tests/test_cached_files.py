"""Cached files: whole files only, made once, and a word about those that were not whole."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
import warnings
from pathlib import Path

import pytest

from course_lib import cache, cached_files

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # sha256 of "hello"


class Maker:
    """Writes "hello", and counts how often."""

    def __init__(self, text: str = "hello") -> None:
        self.text, self.times = text, 0

    def __call__(self, path: Path) -> None:
        self.times += 1
        path.write_text(self.text)


@pytest.fixture
def made(cache_folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # making a file for the first time is nothing to warn of
        return cached_files.cached_file("folder/hello.txt", Maker())


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "hello").write_text("hello")
    assert cached_files.sha256(tmp_path / "hello") == HELLO


def test_a_whole_file_is_not_made_again(made, cache_folder):
    again = Maker()
    assert cached_files.cached_file("folder/hello.txt", again) == made
    assert made == cache_folder / "folder" / "hello.txt"
    assert again.times == 0
    assert cached_files.problem("folder/hello.txt") == ""


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda path: path.write_text("hallo"), "damaged"),
        (lambda path: path.write_text("hel"), "truncated"),
        (lambda path: path.write_text(""), "truncated"),
        (lambda path: path.with_name("hello.txt.sha256").write_text(""), "damaged"),
        (lambda path: path.with_name("hello.txt.sha256").unlink(), "interrupted"),
    ],
    ids=["corrupt", "truncated", "empty", "note emptied", "note missing"],
)
def test_a_damaged_file_is_said_and_made_again(made, damage, word):
    damage(made)
    assert word in cached_files.problem("folder/hello.txt")
    again = Maker()
    with pytest.warns(UserWarning, match=rf"hello\.txt.*made again.*{word}"):
        cached_files.cached_file("folder/hello.txt", again)
    assert again.times == 1
    assert made.read_text() == "hello"
    assert cached_files.problem("folder/hello.txt") == ""


def test_a_file_of_another_version_is_made_again(made):
    with pytest.warns(UserWarning, match="another version"):
        cached_files.cached_file(
            "folder/hello.txt", Maker("hello!"), hashlib.sha256(b"hello!").hexdigest()
        )
    assert made.read_text() == "hello!"


def test_a_missing_file_is_named_missing(cache_folder):
    assert "not been made" in cached_files.problem("nothing.bin")


def test_what_was_fetched_must_have_the_expected_checksum(cache_folder):
    with pytest.raises(ValueError, match=r"hello\.txt.*expected.*try again"):
        cached_files.cached_file("hello.txt", Maker("tampered"), HELLO)
    assert not (cache_folder / "hello.txt").exists()
    assert cached_files.cached_file("hello.txt", Maker(), HELLO).read_text() == "hello"


def test_a_failed_make_leaves_nothing_that_counts(cache_folder):
    def fails(path: Path) -> None:
        path.write_text("hel")
        raise ConnectionError("the line was cut")

    with pytest.raises(ConnectionError):
        cached_files.cached_file("hello.txt", fails)
    assert "not been made" in cached_files.problem("hello.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached_files.cached_file("hello.txt", Maker()).read_text() == "hello"


def test_a_failed_remake_keeps_the_fault_visible(made):
    made.write_text("hel")

    def fails(path: Path) -> None:
        raise ConnectionError

    with pytest.warns(UserWarning, match="truncated"), pytest.raises(ConnectionError):
        cached_files.cached_file("folder/hello.txt", fails)
    assert "truncated" in cached_files.problem("folder/hello.txt")


def slow_make(path: Path) -> None:
    with open(cache.cache_dir() / "counter", "a") as counter:
        counter.write("made\n")
    time.sleep(0.3)  # long enough for the other process to arrive
    path.write_text("hello")


def ask(gate, answers) -> None:
    gate.wait()
    answers.put(cached_files.cached_file("shared.txt", slow_make).read_text())


def test_two_processes_at_once_make_it_once(cache_folder):
    # forked: a fresh interpreter would spend seconds on importing
    context = multiprocessing.get_context("fork")
    gate, answers = context.Barrier(2), context.Queue()
    processes = [context.Process(target=ask, args=(gate, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    texts = [answers.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(timeout=30)
    assert texts == ["hello", "hello"]
    assert (cache_folder / "counter").read_text() == "made\n"
