"""The files of lesson 6: made once, and such as `compress` takes them."""

from __future__ import annotations

from course_lib import datasets
from course_lib.lessons.demo_files import demonstration


def test_the_files_are_what_a_person_brings(cache_folder, monkeypatch):
    monkeypatch.setattr("course_lib.models.teacher", lambda n, recipe: _Nothing())
    found = demonstration(80)
    parts = datasets.read_examples(found.texts)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 80,
        "validation": 80,
        "test": 80,
    }
    original = datasets.reviews()["test"]
    assert parts["test"]["text"][:] == original["text"][:80]
    assert parts["test"]["label"][:] == original["label"][:80]
    assert len(datasets.read_unlabeled(found.unlabeled)) == 80
    assert (found.model / "tokenizer.json").exists() and not found.out.exists()
    assert "cache" not in repr(found)  # no local path
    before = found.texts.stat().st_mtime_ns
    assert demonstration(80) == found and found.texts.stat().st_mtime_ns == before


class _Nothing:
    def save_pretrained(self, folder):
        (folder / "model.safetensors").touch()
