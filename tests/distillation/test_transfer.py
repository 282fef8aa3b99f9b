"""Labeled and transfer examples in one dataset: each row keeps its label and its logits."""

from __future__ import annotations

import datasets
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from course_lib.batching import lengths, loader
from course_lib.distillation.transfer import with_transfer


class Pictures(Dataset):
    """Tuples, as a dataset that augments gives them; the input is the row's number."""

    def __init__(self, *labels: int) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return torch.tensor([float(i)]), self.labels[i]


@pytest.mark.parametrize(
    ("labeled", "transfer"),
    [
        (Pictures(7, 8, 9), Pictures(1, 2)),
        (TensorDataset(torch.arange(3.0)[:, None], torch.tensor([7, 8, 9])), Pictures(1, 2)),
        (
            TensorDataset(torch.arange(3.0)[:, None], torch.tensor([7, 8, 9])),
            TensorDataset(torch.arange(2.0)[:, None]),
        ),
    ],
)
def test_tuples_get_their_logits_and_the_transfer_set_no_label(labeled, transfer):
    both = with_transfer(labeled, transfer, torch.arange(5.0)[:, None])
    rows = [tuple(float(value) for value in both[i]) for i in range(len(both))]
    assert rows == [(0, 0, 7), (1, 1, 8), (2, 2, 9), (0, 3, -100), (1, 4, -100)]
    alone = with_transfer(labeled, transfer)
    assert [tuple(map(float, alone[i])) for i in (2, 3)] == [(2, 9), (0, -100)]
    assert with_transfer(labeled) is labeled


def test_a_mapping_without_a_label_is_named():
    rows = [{"input_ids": [1, 2]}]
    with pytest.raises(ValueError, match=r"columns \['input_ids'\] and no 'labels'"):
        with_transfer(rows, None, torch.zeros(1, 2))[0]


def test_a_dataset_that_gives_rows_at_once_is_asked_so():
    class AtOnce(datasets.Dataset):
        def __getitem__(self, key):
            assert isinstance(key, str), "one by one"
            return super().__getitem__(key)

        def __getitems__(self, keys):
            return [{"x": [float(key)], "labels": 7} for key in keys]

    parts = [
        AtOnce(datasets.Dataset.from_dict({"x": [[0.0]] * n, "labels": [7] * n}).data)
        for n in (3, 2)
    ]
    both = with_transfer(*parts, torch.arange(5.0)[:, None])
    rows = list(loader(both, [[4, 0, 2], [3, 1]]))
    logits, inputs = (torch.cat([row[key] for row in rows]) for key in ("teacher_logits", "x"))
    assert logits.flatten().tolist() == [4, 0, 2, 3, 1]
    assert inputs.flatten().tolist() == [1, 0, 2, 0, 1]
    assert torch.cat([batch["labels"] for batch in rows]).tolist() == [-100, 7, 7, -100, 7]


def test_other_columns_of_the_transfer_set_are_left_out_and_lengths_are_seen():
    train = datasets.Dataset.from_dict({"input_ids": [[1, 2], [3]], "labels": [0, 1]})
    more = datasets.Dataset.from_dict({"text": ["a"], "input_ids": [[4, 5, 6]]})
    both = with_transfer(train, more)
    assert both[2] == {"input_ids": [4, 5, 6], "labels": -100}
    assert lengths(both) == [2, 1, 3]
    with pytest.raises(ValueError, match=r"transfer lacks the columns \['text'\]"):
        with_transfer(more.add_column("labels", [1]), train)
