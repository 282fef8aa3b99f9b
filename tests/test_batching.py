"""Batches: how long, in which order, and of what."""

from __future__ import annotations

import datasets
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from course_lib.batching import (
    batches,
    check_classes,
    check_dataset,
    collate,
    labels,
    labels_of,
    lengths,
    loader,
    shuffled,
)


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
    first, second = batches(text_like([1, 3, 2, 1]), size=2)
    assert first["input_ids"].tolist() == [[1, 0, 0], [2, 2, 2]]
    assert first["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert first["labels"].tolist() == [0, 1]
    assert second["input_ids"].tolist() == [[3, 3], [4, 0]]


def test_labels_of_tokens_are_padded_with_no_label():
    rows = [{"input_ids": [5, 6], "labels": [5, -100]}, {"input_ids": [7], "labels": [7]}]
    batch = collate(rows)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 0]]
    assert batch["labels"].tolist() == [[5, -100], [7, -100]]


@pytest.mark.parametrize("rows", [[[1, 2], [3]], [[1.5], [2.5, 3.5]], [[[1, 2], [3, 4]], [[5, 6]]]])
def test_lists_become_what_tensors_become(rows):
    batch = collate([{"x": row, "labels": row} for row in rows])
    expected = collate([{"x": torch.tensor(r), "labels": torch.tensor(r)} for r in rows])
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor)
        assert batch[name].dtype == tensor.dtype


@pytest.mark.parametrize("as_tensors", [False, True])
@pytest.mark.parametrize("rows", [[[], [5, 6]], [[5, 6], []], [[], []]])
def test_an_empty_text_leaves_ids_whole_numbers(rows, as_tensors):
    rows = [torch.tensor(row) if as_tensors else row for row in rows]
    ids = collate([{"input_ids": row} for row in rows])["input_ids"]
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[*map(int, row)] + [0] * (ids.shape[1] - len(row)) for row in rows]


@pytest.mark.parametrize(
    "dataset", [numbers(7), list(zip(torch.arange(7.0), range(7), strict=True))]
)
def test_batches_keep_the_datasets_order_and_its_last_examples(dataset):
    inputs = [batch[0].flatten().tolist() for batch in batches(dataset, size=3)]
    assert inputs == [[0, 1, 2], [3, 4, 5], [6]]


def test_labels_of_every_kind_of_dataset():
    text = text_like([2, 1, 3, 1])
    pairs = [(torch.zeros(1), label) for label in (0, 1, 0, 1)]
    for dataset in (text, text.with_format("torch"), list(text), pairs):
        assert labels_of(dataset).tolist() == [0, 1, 0, 1]
    assert labels_of(numbers(4)).tolist() == [0, 1, 2, 0]


def test_lengths_are_token_counts_for_text_and_equal_for_the_rest():
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


@pytest.mark.parametrize("length", [[0] * 10, list(range(1, 11))], ids=["equal", "one bucket"])
def test_each_epoch_leaves_other_examples_out(length):
    left_out = set()
    for seed in range(20):
        left_out |= set(range(10)).difference(*shuffled(length, 3, seed))
    assert len(left_out) > 5


def test_more_than_one_bucket_has_the_order_that_stored_results_were_made_with():
    epoch = shuffled([1 + i % 3 for i in range(101)], 2, seed=0)
    assert epoch[:4] == [[78, 6], [70, 79], [81, 66], [74, 53]]


def test_sequences_of_similar_length_share_a_batch_in_random_order():
    sizes = [1 + (7 * i) % 40 for i in range(400)]
    epoch = shuffled(sizes, 8, seed=0)
    spread = [max(sizes[i] for i in batch) - min(sizes[i] for i in batch) for batch in epoch]
    assert max(spread) <= 2  # all 400 lie in one bucket, 10 of each length
    longest = [max(sizes[i] for i in batch) for batch in epoch]
    assert longest != sorted(longest)


def test_loading_leaves_the_callers_random_numbers_alone():
    for dataset in (numbers(6), text_like([2, 1, 3])):
        state = torch.random.get_rng_state()
        list(loader(dataset, [[0, 1], [2]]))
        assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (DataLoader(numbers(3)), r"Got a DataLoader; give its data set, loader\.dataset"),
        (torch.ones(3, 2), r"Got a Tensor; give TensorDataset\(inputs, labels\)"),
        (torch.ones(3, 2).numpy(), r"Got a ndarray; give TensorDataset"),
        (iter([1, 2]), "Got a list_iterator, whose length is unknown"),
        (
            datasets.Dataset.from_dict({"text": ["a"], "input_ids": [[1]], "labels": [0]}),
            r"columns \['text'\] hold text.*datasets\.tokenize.*rows\.remove_columns",
        ),
        (
            datasets.Dataset.from_dict({"input_ids": [[1]], "label": [0]}),
            r"column 'label'.*expected 'labels'.*datasets\.tokenize.*rename_column\('label', 'lab",
        ),
    ],
    ids=["DataLoader", "tensor", "array", "stream", "texts", "label"],
)
def test_what_is_no_data_set_is_named_before_the_first_batch(dataset, words):
    with pytest.raises(TypeError, match=words):
        check_dataset(dataset)
    with pytest.raises(TypeError, match=words):
        next(batches(dataset))


def test_examples_without_labels_are_named():
    rows = text_like([1, 2]).remove_columns("labels")
    for ask in (labels, labels_of):
        with pytest.raises(
            ValueError, match=r"columns \['attention_mask', 'input_ids'\] and no 'lab"
        ):
            ask(rows if ask is labels_of else rows[0])


@pytest.mark.parametrize(
    ("logits", "numbers", "words"),
    [
        (torch.ones(3, 1), torch.ones(3).long(), "a number per example.*F.mse_loss"),
        (torch.ones(3, 2), torch.ones(3), "a number per example.*'regression'"),
        (torch.ones(3, 4), torch.ones(3, 4), "several labels.*binary_cross_entropy_with_logits"),
        (torch.ones(3, 4), torch.ones(3, 4).long(), r"several labels.*_logits.*\.float\(\)"),
        (torch.ones(3, 3), torch.ones(3, 3).long(), "several labels"),  # would be broadcast
        (torch.ones(3, 4), torch.ones(3, 1).long(), r"are \[3, 1\]; expected \[3\].*squeeze\(1"),
    ],
)
def test_what_is_no_class_is_refused(logits, numbers, words):
    with pytest.raises(ValueError, match=words):
        check_classes(logits, numbers)
    check_classes(torch.ones(3, 2), torch.ones(3).long())
    check_classes(torch.ones(3, 5, 2), torch.ones(3, 5).long())  # of tokens
