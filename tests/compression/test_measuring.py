"""Lengths of texts, what is cut, and a linear model to compare with."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from course_lib.compression import measuring, teaching
from course_lib.models.encoders import load_tokenizer


def test_long_texts_are_counted_and_advised_on():
    found = measuring.Lengths(tuple([20] * 80 + [300] * 20), max_length=128)
    assert found.share_cut == 0.2
    assert "20% of the texts lose their end" in found.advice
    assert "A max_length of 304 keeps 95 %" in found.advice
    assert found.time_at(304) == pytest.approx((80 * 20 + 20 * 300) / (80 * 20 + 20 * 128))
    assert measuring.Lengths((20, 30), max_length=32).advice == ""


@pytest.mark.parametrize(
    ("words", "chosen"), [([5] * 200, 32), ([5] * 150 + [50] * 50, 64), ([400] * 9, 128)]
)
def test_max_length_is_chosen_by_the_texts(words, chosen):
    texts = ["so " * n for n in words]
    assert measuring.lengths_of(texts, load_tokenizer()).max_length == chosen
    assert measuring.lengths_of(texts, load_tokenizer(), most=20).max_length == 20


@pytest.mark.parametrize("length", [0, 513])
def test_a_max_length_that_cannot_be_is_refused(length):
    with pytest.raises(ValueError, match="reads 4 to 512 tokens"):
        measuring.lengths_of(["a film"], load_tokenizer(), length)


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
