"""A lesson and its experiments survive a lost cache, odd paths, damaged records and settings."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset

from course_lib import cache, cached_files, files
from course_lib.cli import main as commands
from course_lib.lessons import demonstration, experiments, results, settings
from course_lib.lessons.sliders import charts

pytestmark = pytest.mark.reliability
SCRIPT = """
import torch
from course_lib.lessons.experiments import Experiment

def run(case, seed, recipe, data):
    return {"sum": case["size"] + seed, "answers": torch.arange(3)}

def cases(recipe):
    return [{"size": size} for size in range(3)]

EXPERIMENT = Experiment({}, dict, cases, run, seeds=2)
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path) -> Path:
    """A small experiment in a notebooks folder of its own, with its results."""
    folder = tmp_path / "notebooks" / "experiments"
    folder.mkdir(parents=True)
    (folder.parent / "settings.toml").touch()
    monkeypatch.setattr(settings, "NOTEBOOKS", folder.parent)
    path = folder / "small.py"
    path.write_text(SCRIPT)
    assert run_it(path) == 0
    return path


def run_it(script: Path) -> int:
    return experiments.main(experiments._experiment_of(script), str(script), [])


@pytest.mark.parametrize("after", [0, 1, 5])
def test_the_cache_is_deleted_while_an_experiment_runs(script, cache_folder, monkeypatch, after):
    """What is finished later is kept, and the next run ends with whole results."""
    shutil.rmtree(cache_folder)
    keep, kept = experiments._keep, []

    def losing(*arguments):
        if len(kept) == after:
            shutil.rmtree(cache_folder)
        kept.append(keep(*arguments))

    monkeypatch.setattr(experiments, "_keep", losing)
    if after:
        with pytest.raises(ValueError, match=f"{after} parts in the cache are .*run it again"):
            run_it(script)
        assert len(kept) == 6
    assert run_it(script) == 0
    assert len(kept) == 6 + after
    assert len(results("small").rows) == 6


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no FIFO")
    path.unlink()
    os.mkfifo(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\xfa")


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


DAMAGES = [a_folder, a_fifo, cut, no_text, nested]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["small.json", "small.safetensors"])
def test_a_damaged_record_is_made_anew_or_the_cure_is_said(script, file, damage, cache_folder):
    damage(script.with_name(file))
    if damage is a_folder:  # it may be a person's, so it stays
        with pytest.raises(ValueError, match="Make them anew: python notebooks"):
            results("small")
        return
    assert len(results("small").rows) == 6
    damage(script.with_name(file))
    shutil.rmtree(cache_folder)
    with pytest.raises(ValueError, match=r"small\.json is damaged.*Make them anew: python"):
        results("small")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["made_from.json", "part-*.json", "part-*.safetensors"])
def test_a_damaged_part_never_stops_a_record_from_being_made(script, part, damage, cache_folder):
    """What cannot be made from the parts is said; running the script again cures it."""
    damage(next(cache_folder.rglob(part)))
    cut(script.with_suffix(".json"))
    try:
        seeds = results("small").seeds  # the other seed's parts are whole
    except ValueError as error:
        assert "Make them anew: python" in str(error)
        seeds = 0
    assert seeds < 2
    if damage is not a_folder:
        assert run_it(script) == 0
        assert len(results("small").rows) == 6


def test_a_record_in_a_folder_that_cannot_be_written_says_the_cure(script, monkeypatch):
    cut(script.with_suffix(".json"))

    def read_only(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(ValueError, match=r"small\.json is damaged.*Make them anew"):
        results("small")


def full(*_arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("which", [1, 5])
def test_a_full_disk_during_an_experiment_loses_no_result(script, monkeypatch, capsys, which):
    """Before, the run died at the first part that could not be written."""
    shutil.rmtree(cache.cache_dir())
    keep, kept = experiments._keep, []

    def sometimes(*arguments):
        kept.append(arguments)
        (full if len(kept) == which else keep)(*arguments)

    monkeypatch.setattr(experiments, "_keep", sometimes)
    with pytest.warns(UserWarning, match=r"\d, seed \d was not kept: the disk is full"):
        assert run_it(script) == 0
    label = experiments._label(kept[which - 1][1])
    assert f"Not kept in the cache, as the disk is full: {label}." in capsys.readouterr().out
    assert len(kept) == len(results("small").rows) == 6


def test_a_record_that_does_not_fit_on_the_disk_is_said_and_the_parts_stay(
    script, monkeypatch, capsys
):
    monkeypatch.setattr(experiments, "_write", full)
    assert run_it(script) == 1
    assert "small.json cannot be written" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["no data", "no cache"])
def test_results_that_came_with_the_course_need_no_data_and_no_cache(
    script, monkeypatch, tmp_path, capsys, fault
):
    script.write_text("from course_lib import cache\n" + SCRIPT + DATA)
    (cache.cache_dir() / "data").write_text("")
    assert run_it(script) == 0
    results("small")
    assert "not compared" not in capsys.readouterr().out
    if fault == "no data":
        (cache.cache_dir() / "data").unlink()
    else:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "cache"))
    assert len(results("small").rows) == 6
    assert "the data are not there, so it was not compared" in capsys.readouterr().out
    script.write_text(script.read_text().replace('case["size"] + seed', "seed"))
    with pytest.raises(ValueError, match="another script"):
        results("small")


DATA = """
def data():
    return {"lines": (cache.cache_dir() / "data").read_text()}

EXPERIMENT = Experiment({}, data, cases, run, seeds=2)
"""


@pytest.fixture
def bundle(monkeypatch):
    """A short script in place of Vega; how often it was made."""
    asked = []
    monkeypatch.setattr(charts.vl_convert, "javascript_bundle", lambda _: asked.append(1) or "vega")
    charts._bundle.cache_clear()
    charts.library.cache_clear()
    yield asked
    charts._bundle.cache_clear()
    charts.library.cache_clear()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("damage", [cut, Path.touch, a_folder, a_fifo])
def test_a_damaged_script_of_the_sliders_is_made_anew(cache_folder, bundle, damage):
    """Before, an empty or cut one left all sliders blank for good."""
    whole = charts.library()
    charts.library.cache_clear()
    path = cache_folder / charts.file_of_library()
    if damage is Path.touch:
        path.write_text("")
    damage(path)
    with pytest.warns(UserWarning, match="is made again"):
        assert charts.library() == whole and "vega" in whole
    charts.library.cache_clear()
    assert charts.library() == whole and len(bundle) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_sliders_need_no_room_on_the_disk(cache_folder, bundle, monkeypatch, code):
    def fails(*_arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(charts, "cached_file", fails)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert "vega" in charts.library()
    assert len(said) == (code == errno.ENOSPC)


def test_fetch_makes_the_script_of_the_sliders(cache_folder, bundle, monkeypatch):
    """So a complete cache may be read-only; before, each kernel made it anew there."""
    monkeypatch.setattr("course_lib.datasets.sources.fetch", lambda *_: None)
    monkeypatch.setattr("course_lib.datasets.sources.verify", dict)
    assert commands.main(["fetch"]) == 0
    assert (cache_folder / charts.file_of_library()).read_text() == "vega"
    assert commands._is_fetched()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_the_note_of_what_was_fetched_may_be_anything(cache_folder, bundle, monkeypatch, make):
    monkeypatch.setattr("course_lib.datasets.sources.fetch", lambda *_: None)
    monkeypatch.setattr("course_lib.datasets.sources.verify", dict)
    cache.cache_dir()
    make(commands._fetched_note())
    assert not commands._is_fetched()
    assert commands.main(["fetch"]) == 0 and commands._is_fetched()


@pytest.fixture
def brought(monkeypatch):
    """Two texts and a model that is quickly written, in place of the reviews and the teacher."""

    class Model:
        def save_pretrained(self, folder):
            (folder / "config.json").touch()

    rows = Dataset.from_dict({"text": ["a film"], "label": [0]})
    rows = rows.cast_column("label", ClassLabel(names=["no", "yes"]))
    monkeypatch.setattr("course_lib.datasets.reviews", lambda: {"train": rows})
    monkeypatch.setattr("course_lib.datasets.film_sentences", lambda _: {"text": ["a line"]})
    monkeypatch.setattr("course_lib.models.teacher", lambda *_: Model())
    monkeypatch.setattr("course_lib.models.load_tokenizer", Model)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_lesson_6_finds_a_folder_or_a_fifo_in_the_place_of_its_texts(cache_folder, brought, make):
    found = demonstration(1)
    for path in (found.texts, found.unlabeled):
        path.unlink()
        make(path)
    shutil.rmtree(found.model)
    found.model.write_text("mine")
    assert demonstration(1) == found
    assert found.texts.is_file() and found.unlabeled.is_file() and found.model.is_dir()
    assert [path.read_text() for path in cache_folder.rglob("teacher.aside-*")] == ["mine"]


def test_lesson_6_says_that_there_is_no_room(cache_folder, brought, monkeypatch):
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"reviews\.csv cannot be written .*COURSE_CACHE"):
        demonstration(1)


def test_lesson_6_reads_a_read_only_cache_and_writes_elsewhere(cache_folder, brought, monkeypatch):
    def read_only(**_settings):
        raise OSError(errno.EROFS, "Read-only file system")

    found = demonstration(1)
    monkeypatch.setattr(cache.tempfile, "TemporaryFile", read_only)
    again = demonstration(1)
    assert (again.texts, again.model) == (found.texts, found.model) and again.out != found.out
    found.texts.unlink()
    assert demonstration(1).texts.read_text() == "text,label,split\na film,no,train\n"


TABLE = "[lesson1.full]\nepochs = 3\n[lesson1.quick]\nepochs = 1\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[lesson1",
        TABLE.encode() + b"\xff",
        b"lesson1 = 3",
        b"[lesson1]\nfull = 3\nquick = 3",
        TABLE.replace("epochs = 1\n", "").encode(),
        TABLE.replace("[lesson1.quick]", "[lesson1.fast]").encode(),
        TABLE.replace("epochs = 1", "epochs = 'one'").encode(),
    ],
)
def test_damaged_settings_are_a_sentence_that_names_the_file(script, content):
    (settings.NOTEBOOKS / "settings.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"notebooks/settings\.toml"):
        settings.profiles_of("lesson1")


ODD = ["a folder with spaces", "Größe 日本語 é", "quote'\"$HOME;#&%s{}", "-n", "a\nb"]
MAKE_ALL = """
import torch, sys
from course_lib import cached_files, files
from course_lib.models import zoo
made = zoo.made_once("b", {}, lambda: {"x": torch.ones(1000)})
assert made["x"].sum() == 1000
cached_files.cached_file("hello.txt", lambda path: path.write_text("x"))
assert not cached_files.problem("hello.txt")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows forbids some of these names")
@pytest.mark.parametrize("name", ODD)
def test_the_cache_may_lie_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / name))
    exec(MAKE_ALL, {})
    exec(MAKE_ALL, {})
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks quickly and safely here")
def test_several_processes_may_make_the_same_at_once(cache_folder):
    forking = multiprocessing.get_context("fork")
    runs = [forking.Process(target=exec, args=(MAKE_ALL, {}), daemon=True) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0] * 4
    assert list(cache_folder.rglob("part-*")) == []


@pytest.mark.parametrize("shift", [-400 * files.DAY, 400 * files.DAY])
def test_the_clock_may_be_wrong(cache_folder, monkeypatch, shift):
    """Checksums decide what is whole, and no time stamp."""
    first = cached_files.cached_file("a/hello.txt", lambda path: path.write_text("hello"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + shift)
    for path in cache_folder.rglob("*.txt"):
        os.utime(path, (now + shift, now + shift))
    again = cached_files.cached_file("a/hello.txt", lambda path: pytest.fail("made twice"))
    assert again == first
    cached_files.cached_file("a/other.txt", lambda path: path.write_text("other"))
    assert first.read_text() == "hello"
