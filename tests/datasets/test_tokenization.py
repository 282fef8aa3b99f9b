"""Texts as token ids."""

from __future__ import annotations

import pytest
from datasets import Dataset

from course_lib.batching import collate
from course_lib.datasets.tokenization import Lengths, lengths_of, tokenize, tokens_seen
from course_lib.models.encoders import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def test_tokenizing_gives_what_fit_takes(tokenizer):
    rows = Dataset.from_dict({"text": ["A good film.", "No!"], "label": [1, 0]})
    ready = tokenize(rows, tokenizer)
    assert ready.column_names == ["input_ids", "attention_mask", "labels"]
    batch = collate([ready[0], ready[1]])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 6)
    assert batch["attention_mask"].sum(1).tolist() == [6, 4]
    assert batch["labels"].tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["numpy", "torch", "pandas"])
def test_a_dataset_that_gives_arrays_is_tokenized_as_one_that_gives_lists(tokenizer, kind):
    rows = Dataset.from_dict({"text": ["A good film.", "No!"], "label": [1, 0]})
    assert (
        tokenize(rows.with_format(kind), tokenizer).to_dict() == tokenize(rows, tokenizer).to_dict()
    )


def test_the_glue_column_names_fit_too(tokenizer):
    sst2 = Dataset.from_dict({"idx": [0], "sentence": ["A good film."], "label": [1]})
    assert tokenize(sst2, tokenizer, text="sentence").column_names == [
        "input_ids",
        "attention_mask",
        "labels",
    ]
    with pytest.raises(ValueError, match=r"'text'.*sentence"):
        tokenize(sst2, tokenizer)


def test_unlabeled_and_long_texts(tokenizer):
    ready = tokenize(Dataset.from_dict({"text": ["good " * 100]}), tokenizer, max_length=10)
    assert ready.column_names == ["input_ids", "attention_mask"]
    assert len(ready[0]["input_ids"]) == 10
    assert ready[0]["input_ids"][-1] == 102  # [SEP] stays


def test_segment_numbers_are_kept_where_they_say_something():
    def tokenizer(texts, **_settings):
        return {"input_ids": [[1, 2]] * len(texts), "token_type_ids": [[0, 2]] * len(texts)}

    ready = tokenize(Dataset.from_dict({"text": ["a"]}), tokenizer)
    assert ready[0]["token_type_ids"] == [0, 2]


def test_tokens_seen_counts_over_all_datasets():
    a = Dataset.from_dict({"input_ids": [[9, 5, 5], [7]]})
    b = Dataset.from_dict({"input_ids": [[7, 3]]})
    assert tokens_seen(a, at_least=1).tolist() == [5, 7, 9]
    assert tokens_seen(a, b).tolist() == [5, 7]


def test_long_texts_are_counted_and_advised_on():
    found = Lengths(tuple([20] * 80 + [300] * 20), max_length=128)
    assert found.share_cut == 0.2
    assert "20% of the texts lose their end" in found.advice
    assert "A max_length of 304 keeps 95 %" in found.advice
    assert found.time_at(304) == pytest.approx((80 * 20 + 20 * 300) / (80 * 20 + 20 * 128))
    assert Lengths((20, 30), max_length=32).advice == ""


@pytest.mark.parametrize(
    ("words", "chosen"), [([5] * 200, 32), ([5] * 150 + [50] * 50, 64), ([400] * 9, 128)]
)
def test_max_length_is_chosen_by_the_texts(tokenizer, words, chosen):
    texts = ["so " * n for n in words]
    assert lengths_of(texts, tokenizer).max_length == chosen
    assert lengths_of(texts, tokenizer, most=20).max_length == 20


@pytest.mark.parametrize("length", [0, 513])
def test_a_max_length_that_cannot_be_is_refused(tokenizer, length):
    with pytest.raises(ValueError, match="reads 4 to 512 tokens"):
        lengths_of(["a film"], tokenizer, length)
