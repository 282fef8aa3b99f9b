"""Batches: how long, in which order, and of what."""

from __future__ import annotations

import datasets
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from course_lib.batching import batches, collate, labels_of, lengths, loader, shuffled


def text_like(sizes: list[int]) -> datasets.Dataset:
    """Example i holds the token i + 1, sizes[i] times, and the label i % 2."""
    return datasets.Dataset.from_dict(
        {
            "input_ids": [[i + 1] * n for i, n in enumerate(sizes)],
            "attention_mask": [[1] * n for n in sizes],
            "labels": [i % 2 for i in range(len(sizes))],
        }
    )


def numbers(n: int) -> TensorDataset:
    return TensorDataset(torch.arange(n, dtype=torch.float32).view(n, 1), torch.arange(n) % 3)


def test_sequences_are_padded_to_the_longest_of_their_batch_only():
    found = [batch["input_ids"].tolist() for batch in batches(text_like([1, 3, 2, 1]), size=2)]
    assert found == [[[1, 0, 0], [2, 2, 2]], [[3, 3], [4, 0]]]


def test_padding_is_masked_out_and_labels_stay_numbers():
    batch = collate([dict(e) for e in text_like([1, 3])])
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [0, 1]


@pytest.mark.parametrize("rows", [[[1, 2], [3]], [[1.5], [2.5, 3.5]], [[[1, 2], [3, 4]], [[5, 6]]]])
def test_lists_become_what_tensors_become(rows):
    found = collate([{"x": row, "labels": row} for row in rows])
    expected = collate([{"x": torch.tensor(r), "labels": torch.tensor(r)} for r in rows])
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_pairs_are_stacked():
    images, labels = collate([(torch.ones(2, 2), 1), (torch.zeros(2, 2), 0)])
    assert images.shape == (2, 2, 2)
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "dataset", [numbers(7), list(zip(torch.arange(7.0), range(7), strict=True))]
)
def test_batches_keep_the_datasets_order_and_its_last_examples(dataset):
    found = [batch[0].flatten().tolist() for batch in batches(dataset, size=3)]
    assert found == [[0, 1, 2], [3, 4, 5], [6]]


def test_labels_of_every_kind_of_dataset():
    text = text_like([2, 1, 3, 1])
    pairs = [(torch.zeros(1), label) for label in (0, 1, 0, 1)]
    for dataset in (text, text.with_format("torch"), list(text), pairs):
        found = labels_of(dataset)
        assert found.dtype == torch.int64
        assert found.tolist() == [0, 1, 0, 1]
    assert labels_of(numbers(4)).tolist() == [0, 1, 2, 0]


def test_lengths_are_token_counts_for_text_and_alike_for_the_rest():
    assert lengths(text_like([2, 1, 3])) == [2, 1, 3]
    assert len(set(lengths(numbers(5)))) == 1


@given(n=st.integers(1, 200), size=st.integers(1, 70), seed=st.integers(0, 1000))
def test_an_epoch_holds_whole_batches_of_different_examples(n, size, seed):
    epoch = shuffled(lengths(numbers(n)), size, seed)
    size = min(size, n)
    assert [len(batch) for batch in epoch] == [size] * (n // size)
    flat = [i for batch in epoch for i in batch]
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(range(n))


def test_the_order_depends_on_the_seed_alone():
    torch.manual_seed(0)
    first = shuffled(lengths(numbers(100)), 10, seed=3)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    assert shuffled(lengths(numbers(100)), 10, seed=3) == first
    assert shuffled(lengths(numbers(100)), 10, seed=4) != first
    assert torch.equal(torch.random.get_rng_state(), state)


def test_other_examples_are_left_out_in_another_epoch():
    left_out = set()
    for seed in range(20):
        left_out |= set(range(10)).difference(*shuffled(lengths(numbers(10)), 3, seed))
    assert len(left_out) > 5


def test_the_longest_sequences_are_not_left_out_in_every_epoch():
    sizes = list(range(1, 11))  # all of them lie in one bucket
    left_out = set()
    for seed in range(20):
        left_out |= set(range(10)).difference(*shuffled(lengths(text_like(sizes)), 3, seed))
    assert len(left_out) > 5


def test_more_than_one_bucket_has_the_order_that_stored_results_were_made_with():
    epoch = shuffled(lengths(text_like([1 + i % 3 for i in range(101)])), 2, seed=0)
    assert epoch[:4] == [[78, 6], [70, 79], [81, 66], [74, 53]]


def test_sequences_of_alike_length_share_a_batch_in_random_order():
    sizes = [1 + (7 * i) % 40 for i in range(400)]
    epoch = shuffled(lengths(text_like(sizes)), 8, seed=0)
    spread = [max(sizes[i] for i in batch) - min(sizes[i] for i in batch) for batch in epoch]
    assert max(spread) <= 2  # all 400 lie in one bucket, 10 of each length
    longest = [max(sizes[i] for i in batch) for batch in epoch]
    assert longest != sorted(longest)


def test_loading_leaves_the_callers_random_numbers_alone():
    for dataset in (numbers(6), text_like([2, 1, 3])):
        state = torch.random.get_rng_state()
        list(loader(dataset, [[0, 1], [2]]))
        assert torch.equal(torch.random.get_rng_state(), state)


def test_labels_of_tokens_are_padded_with_no_label():
    rows = [{"input_ids": [5, 6], "labels": [5, -100]}, {"input_ids": [7], "labels": [7]}]
    batch = collate(rows)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 0]]
    assert batch["labels"].tolist() == [[5, -100], [7, -100]]
