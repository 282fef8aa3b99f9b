"""Files such as a person brings to lesson 6: labeled texts, unlabeled ones, and a trained model."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from course_lib.files import write_atomically, write_folder

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

    They are written into the cache at the first call. The teacher is trained at the first call, too,
    unless another lesson has done it. Explained in lesson 6.

    Args:
        sentences: at most so many of each part, and a weaker teacher (default 0: all of them).
    """
    from course_lib import cache, datasets, models
    from course_lib.models import zoo

    folder = cache.cache_dir() / "demonstration" / str(sentences or "all")
    found = Demonstration(
        folder / "reviews.csv", folder / "more.txt", folder / "teacher", folder / "my-small-model"
    )
    parts = {name: _first(part, sentences) for name, part in datasets.reviews().items()}
    if not found.texts.exists():
        write_atomically(found.texts, lambda path: _write_csv(parts, path))
    if not found.unlabeled.exists():
        lines = datasets.film_sentences(sentences or FOUND)["text"][:]
        write_atomically(
            found.unlabeled, lambda path: path.write_text("\n".join(lines), encoding="utf-8")
        )
    if not found.model.exists():
        recipe = replace(zoo.TEACHER, lr=3e-4) if sentences else zoo.TEACHER
        teacher: Any = models.teacher(sentences or None, recipe)
        write_folder(found.model, lambda path: _write_model(teacher, path))
    return found


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
