"""The cache: whole files only, made once, and a word about those that were not whole."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
import warnings
from pathlib import Path

import pytest

from course_lib import cache

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
        return cache.cached_file("folder/hello.txt", Maker())


def test_a_folder_comes_back_if_it_was_interrupted_at_any_point(tmp_path, monkeypatch):
    move = os.replace
    for last in (1, 2):  # interrupted right behind the first move, or in place of the second
        folder, new = tmp_path / f"folder{last}", tmp_path / f"work{last}" / "new"
        for place, text in ((folder, "old"), (new, "new")):
            place.mkdir(parents=True)
            (place / "text").write_text(text)
        moves = []

        def interrupted(source, target, last=last, moves=moves):
            moves.append(source)
            if len(moves) != last or last == 1:
                move(source, target)
            if len(moves) == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.replace_folder(new, folder)
        assert (folder / "text").read_text() == "old"


def test_the_environment_names_the_folder(cache_folder, monkeypatch):
    assert cache.cache_dir() == cache_folder
    assert cache_folder.is_dir()
    monkeypatch.setenv("COURSE_CACHE", "~/elsewhere")
    monkeypatch.setenv("HOME", str(cache_folder))
    assert cache.cache_dir() == cache_folder / "elsewhere"


def test_without_the_variable_it_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", "")
    monkeypatch.setattr(cache.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    assert cache.cache_dir() == tmp_path / "small-networks-course"


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "hello").write_text("hello")
    assert cache.sha256(tmp_path / "hello") == HELLO


def test_a_whole_file_is_not_made_again(made, cache_folder):
    again = Maker()
    assert cache.cached_file("folder/hello.txt", again) == made
    assert made == cache_folder / "folder" / "hello.txt"
    assert again.times == 0
    assert cache.problem("folder/hello.txt") == ""


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
    assert word in cache.problem("folder/hello.txt")
    again = Maker()
    with pytest.warns(UserWarning, match=rf"hello\.txt.*made again.*{word}"):
        cache.cached_file("folder/hello.txt", again)
    assert again.times == 1
    assert made.read_text() == "hello"
    assert cache.problem("folder/hello.txt") == ""


def test_a_file_of_another_version_is_made_again(made):
    with pytest.warns(UserWarning, match="another version"):
        cache.cached_file(
            "folder/hello.txt", Maker("hello!"), hashlib.sha256(b"hello!").hexdigest()
        )
    assert made.read_text() == "hello!"


def test_a_missing_file_is_named_missing(cache_folder):
    assert "not been made" in cache.problem("nothing.bin")


def test_what_was_fetched_must_have_the_expected_checksum(cache_folder):
    with pytest.raises(ValueError, match=r"hello\.txt.*expected.*try again"):
        cache.cached_file("hello.txt", Maker("tampered"), HELLO)
    assert not (cache_folder / "hello.txt").exists()
    assert cache.cached_file("hello.txt", Maker(), HELLO).read_text() == "hello"


def test_a_failed_make_leaves_nothing_that_counts(cache_folder):
    def fails(path: Path) -> None:
        path.write_text("hel")
        raise ConnectionError("the line was cut")

    with pytest.raises(ConnectionError):
        cache.cached_file("hello.txt", fails)
    assert "not been made" in cache.problem("hello.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.cached_file("hello.txt", Maker()).read_text() == "hello"


def test_a_failed_remake_keeps_the_fault_visible(made):
    made.write_text("hel")

    def fails(path: Path) -> None:
        raise ConnectionError

    with pytest.warns(UserWarning, match="truncated"), pytest.raises(ConnectionError):
        cache.cached_file("folder/hello.txt", fails)
    assert "truncated" in cache.problem("folder/hello.txt")


def slow_make(path: Path) -> None:
    with open(cache.cache_dir() / "counter", "a") as counter:
        counter.write("made\n")
    time.sleep(0.3)  # long enough for the other process to arrive
    path.write_text("hello")


def ask(gate, answers) -> None:
    gate.wait()
    answers.put(cache.cached_file("shared.txt", slow_make).read_text())


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
