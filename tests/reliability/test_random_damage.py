"""Random damage to what is stored: the right answer, made anew if need be, or the cure in a sentence.

Every case has its own seed. It flips bits, cuts, doubles, fills with zeros or writes noise somewhere.
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from course_lib.lessons import results, settings
from course_lib.models import zoo

from .test_install import course, set_up  # noqa: F401  (a fixture)
from .test_lessons import run_it, script  # noqa: F401  (a fixture)

pytestmark = pytest.mark.reliability
SEEDS = range(25)
PI = {"pi": torch.tensor([3.14, 2.72]), "seven": torch.arange(7)}


def flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def zeros(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + bytes(len(content) - start)


def doubled(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + content


def noise(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content)), chance.randint(1, 64)
    return content[:start] + chance.randbytes(length) + content[start + length :]


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, zeros, doubled, noise]


def damage_one(files: list[Path], seed: int) -> Path:
    """One of these files, chosen by the seed, is damaged; returns it."""
    chance = random.Random(seed)
    file = chance.choice(sorted(files))
    content = file.read_bytes()
    file.write_bytes(chance.choice(DAMAGES)(content, chance) if content else chance.randbytes(9))
    return file


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", SEEDS)
def test_tensors_in_the_cache(cache_folder, seed):
    """`made_once` gives the same tensors, whatever became of its files."""
    zoo.made_once("pi", {"digits": 2}, lambda: PI)
    damage_one(files_in(cache_folder), seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it was damaged, and is made again
        found = zoo.made_once("pi", {"digits": 2}, lambda: PI)
    assert all(torch.equal(found[name], PI[name]) for name in PI)


def sums() -> list[int]:
    return sorted(row["sum"] for row in results("small").rows)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_experiments_record(script, seed):  # noqa: F811
    """The results are the same, restored from their parts; without parts the command is said."""
    right = sums()
    record = [script.with_suffix(".json"), script.with_suffix(".safetensors")]
    damaged = damage_one(record, seed)
    assert sums() == right
    damage_one([damaged], seed)
    shutil.rmtree(settings.NOTEBOOKS.parent / "cache")
    try:
        assert sums() == right  # what was damaged is not part of the results: a space, a date
    except ValueError as error:
        assert "Make them anew: python notebooks/experiments/small.py" in str(error)
        assert len(str(error)) < 1000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_experiments_parts(script, cache_folder, seed):  # noqa: F811
    """A run over damaged parts ends with the right results."""
    right = sums()
    script.with_suffix(".json").unlink()
    damage_one(files_in(cache_folder), seed)
    assert run_it(script) == 0
    assert sums() == right


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(12))
def test_the_note_of_the_environment(course, seed):  # noqa: F811
    """With a damaged note the set-up runs again and ends with a whole one, or finds nothing to do.

    Who made the folder is then forgotten: it counts as a person's own, and is never wiped.
    """
    assert set_up(course)[0] == 0
    notes = [path for path in (course / ".venv").iterdir() if path.suffix == ".json"]
    assert notes
    whole = notes[0].read_bytes()
    damage_one(notes, seed)
    code, said, _ = set_up(course)
    assert code == 0, said
    assert "Traceback" not in said
    found, before = json.loads(notes[0].read_bytes()), json.loads(whole)
    assert before.pop("made") is True and found.pop("made") in (True, False)
    assert found == before


def test_the_damage_is_damage():
    """Each kind changes the bytes, for each seed."""
    content = bytes(range(1, 200))
    assert all(kind(content, random.Random(s)) != content for kind in DAMAGES for s in SEEDS)
