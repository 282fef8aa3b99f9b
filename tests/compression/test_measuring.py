"""A linear model to compare with, and what each class gets right."""

from __future__ import annotations

import torch
from datasets import Dataset

from course_lib.compression import measuring, teaching


def test_the_linear_model_learns_words():
    rows = {"text": [f"{('dull', 'great')[i % 2]} film {i}" for i in range(60)]}
    part = Dataset.from_dict(rows | {"label": [i % 2 for i in range(60)]})
    found = measuring.linear_baseline({"train": part, "validation": part, "test": part})
    assert found.dtype == torch.bool and found.all()


def test_recall_is_by_class():
    found = measuring.recall(
        torch.tensor([True, False, True]), torch.tensor([0, 0, 2]), ["a", "b", "c"]
    )
    assert {name: (one.correct, one.n) for name, one in found.items()} == {"a": (1, 2), "c": (1, 1)}


def test_tokens_are_kept_by_need():
    labeled = Dataset.from_dict({"input_ids": [[5, 9], [9]]})
    more = Dataset.from_dict({"input_ids": [[700, 800, 800]]})
    assert teaching.tokens_to_keep(labeled, more, 900).tolist() == list(range(900))
    kept = set(teaching.tokens_to_keep(labeled, more, 30_000).tolist())
    assert len(kept) == teaching.LEAST_TOKENS and {5, 9, 700, 800} <= kept
