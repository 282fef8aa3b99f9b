"""Files such as a person brings to lesson 6: labeled texts, unlabeled ones, and a trained model."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from course_lib.files import make_room, put_aside, recover, write_atomically, write_folder

FOUND = 15_000  # unlabeled sentences


@dataclass(frozen=True)
class Demonstration:
    """Where the files lie: labeled texts, unlabeled ones, the model, and room for a small one."""

    texts: Path
    unlabeled: Path
    model: Path
    out: Path

    def __repr__(self) -> str:
        return f"{self.texts.name}, {self.unlabeled.name}, {self.model.name}"


def demonstration(sentences: int = 0) -> Demonstration:
    """The course's movie reviews as a .csv with its three parts, sentences of other film reviews
    without labels, and the teacher.

    They are written into the cache at the first call, or into a temporary folder where it is
    read-only. The teacher is trained at the first call, too, unless another lesson has done it.
    Explained in lesson 6.

    Args:
        sentences: at most so many of each part, and a weaker teacher (default 0: all of them).

    Raises:
        OSError: there is no room for them.
    """
    from course_lib import cache, datasets, models
    from course_lib.models import zoo

    name = f"demonstration/{sentences or 'all'}"
    kept, room = cache.cache_dir() / name, cache.work_folder(name)
    for path in (kept, room):
        recover(path / "teacher")
    places = ("reviews.csv", "more.txt", "teacher")
    folder = kept if all((kept / place).exists() for place in places) else room
    texts, unlabeled, model = (folder / place for place in places)
    found = Demonstration(texts, unlabeled, model, room / "my-small-model")
    if not found.texts.is_file():
        parts = {part: _first(rows, sentences) for part, rows in datasets.reviews().items()}
        _written(found.texts, lambda path: _write_csv(parts, path))
    if not found.unlabeled.is_file():
        lines = datasets.film_sentences(sentences or FOUND)["text"][:]
        _written(found.unlabeled, lambda path: path.write_text("\n".join(lines), encoding="utf-8"))
    if not found.model.is_dir():
        recipe = replace(zoo.TEACHER, lr=3e-4) if sentences else zoo.TEACHER
        teacher: Any = models.teacher(sentences or None, recipe)
        if found.model.exists():
            put_aside(found.model)
        _written(found.model, lambda path: _write_model(teacher, path), write_folder)
    return found


def _written(path: Path, write: Callable[[Path], object], how: Any = write_atomically) -> None:
    make_room(path)
    try:
        how(path, write)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{path.name} cannot be written ({error}). Free some space, or set COURSE_CACHE to a "
            "folder on a larger disk."
        ) from error


def _write_csv(parts: dict[str, Any], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label", "split"))
        for name, part in parts.items():
            labels = part.features["label"].names
            rows.writerows((row["text"], labels[row["label"]], name) for row in part)


def _write_model(teacher: Any, path: Path) -> None:
    from course_lib import models

    teacher.save_pretrained(path)
    models.load_tokenizer().save_pretrained(path)


def _first(rows: Any, n: int) -> Any:
    return rows.select(range(min(n or len(rows), len(rows))))
