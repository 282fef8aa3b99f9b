"""The start of a lesson: one table, two profiles, one printed line."""

import os
import subprocess
import sys
import warnings

import pytest

from course_lib.lessons import settings
from course_lib.lessons.settings import profiles_of, start

TABLE = """
[lesson1.full]
seeds = 5
epochs = 20
amounts = [0.5, 0.9]
[lesson1.quick]
seeds = 2
epochs = 3
amounts = [0.5]
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write another settings.toml: table(text)."""
    monkeypatch.setattr(settings, "NOTEBOOKS", tmp_path)
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    write = (tmp_path / "settings.toml").write_text
    write(TABLE)
    return write


def test_each_profile_has_its_own_numbers(table):
    full, quick = start("lesson1"), start("lesson1", "quick")
    assert (full.epochs, full.seeds, full.amounts) == (20, range(5), (0.5, 0.9))
    assert (quick.epochs, quick.seeds, quick.amounts) == (3, range(2), (0.5,))


def test_the_environment_wins_over_the_lesson(table, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    assert start("lesson1", "full").epochs == 3
    monkeypatch.setenv("COURSE_PROFILE", "")
    assert start("lesson1", "full").epochs == 20


def test_one_line_says_what_is_installed(table, capsys):
    start("lesson1")
    (line,) = capsys.readouterr().out.splitlines()
    for word in ("course 0", "Python 3", "torch 2", "transformers 5", "thread"):
        assert word in line
    assert "profile" not in line
    start("lesson1", "quick")
    assert capsys.readouterr().out.endswith(" · quick profile\n")


def test_a_warning_in_a_lesson_has_no_path(table, monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back at the end
    start("lesson1")
    said = warnings.formatwarning("too slow", UserWarning, "/home/ann/x.py", 3)
    assert said == "UserWarning: too slow\n"


def test_an_unknown_profile_names_where_it_came_from(table, monkeypatch):
    with pytest.raises(ValueError, match=r"'fast' came from the lesson"):
        start("lesson1", "fast")
    monkeypatch.setenv("COURSE_PROFILE", "slow")
    with pytest.raises(ValueError, match=r"'slow' came from COURSE_PROFILE"):
        start("lesson1")


def test_an_unknown_lesson_names_those_there_are(table):
    with pytest.raises(ValueError, match=r"no lesson 'lesson9'. It has lesson1"):
        start("lesson9")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[lesson1.full]\na = 1", r"has \{'full': .*\[lesson1.quick\]"),
        ("[lesson1.full]\na = 1\nb = 2\n[lesson1.quick]\na = 1", "only one of the two .* has b"),
        ("[lesson1.full]\na = 1\n[lesson1.quick]\na = 1\nc = 2", "only one of the two .* has c"),
        ("[lesson1.full]\na = 1\n[lesson1.quick]\na = [1]", r"different kinds for a.*1 and \[1\]"),
    ],
)
def test_two_profiles_that_differ_in_more_than_values_are_refused(table, text, message):
    table(text)
    with pytest.raises(ValueError, match=message):
        start("lesson1")


def test_a_setting_that_is_not_there_names_those_that_are(table):
    found = start("lesson1")
    with pytest.raises(AttributeError, match=r"lesson1 has no setting 'epoch'. It has seeds, epo"):
        found.epoch  # noqa: B018
    with pytest.raises(AttributeError, match="cannot be changed here"):
        found.epochs = 1
    assert repr(found) == "Settings(seeds=range(0, 5), epochs=20, amounts=(0.5, 0.9))"


def test_a_course_without_its_notebooks_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "NOTEBOOKS", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"installed without the lessons' folder. Clone"):
        start("lesson1")


def test_the_committed_table_is_whole():
    assert set(profiles_of("lesson1")) == {"full", "quick"}


# A process of its own, because what counts is what happens before PyTorch is loaded.
PROCESS = """
import atexit, gc, os, sys
atexit.register(lambda: print("frozen", gc.get_freeze_count() > 0))  # registered first, called last
from course_lib import lessons
from course_lib.lessons import claims, experiments, fill_in, settings, test_set
print("loaded", "torch" in sys.modules)
atexit.register(lambda: print("exit"))
settings.prepare_process()
print(os.environ["GOMP_SPINCOUNT"], os.environ["ORT_DISABLE_TELEMETRY"])
settings.prepare_process()
"""


def test_the_process_is_prepared_before_torch_is_loaded():
    done = subprocess.run(
        [sys.executable, "-c", PROCESS], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["loaded False", "10000 1", "exit", "frozen True"]


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    settings.prepare_process()
    assert (os.environ["GOMP_SPINCOUNT"], os.environ["ORT_DISABLE_TELEMETRY"]) == ("7", "0")


FREED = """
import psutil, torch
from torch import nn
from course_lib import lessons, pruning
process, layer = psutil.Process(), nn.Sequential(nn.Linear(2000, 2000))
masks = pruning.row_masks(layer, 0.5, pruning.magnitude)
pruning.apply_masks(layer, masks)  # the first one loads what it needs
lessons.free_memory()
before = process.memory_info().rss
for _ in range(10):
    pruning.apply_masks(layer, masks)
kept = process.memory_info().rss - before
lessons.free_memory()
print(kept // 2**20, (process.memory_info().rss - before) // 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system decides")
def test_masked_copies_are_freed():
    """Before, lesson 7 held five of them while it trained, and needed half as much again."""
    command = [sys.executable, "-c", FREED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert left < 30 < 60 < kept, (kept, left)  # MB; a copy has 16
