"""Training data of a student: labeled examples, then those of an unlabeled transfer set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from course_lib.batching import labels
from course_lib.distillation.losses import NO_LABEL


def with_transfer(labeled: Any, transfer: Any = None, teacher_logits: Tensor | None = None) -> Any:
    """The labeled examples, followed by those of the transfer set with the label −100 ("no label").

    With `teacher_logits` ``[n, classes]``, each example holds its row of them, too: a tuple becomes
    (input, teacher logits, label), a mapping gets ``"teacher_logits"``.

    Raises:
        ValueError: the transfer set lacks a column of the labeled examples.

    Example:
        >>> pair = TensorDataset(torch.eye(2), torch.tensor([0, 1])), TensorDataset(torch.zeros(1, 2))
        >>> with_transfer(*pair)[2]
        (tensor([0., 0.]), tensor(-100))
    """
    if transfer is None and teacher_logits is None:
        return labeled
    parts = [labeled] if transfer is None else [labeled, transfer]
    columns = [
        set(part.column_names) - {"labels"} for part in parts if hasattr(part, "column_names")
    ]
    if missing := sorted(columns[0] - columns[-1]) if columns else []:
        raise ValueError(
            f"transfer lacks the columns {missing} of the training part; tokenize both alike."
        )
    # A subclass may augment its pictures, so it is not taken apart.
    if any(type(part) is not TensorDataset for part in parts):
        return _Combined(parts, teacher_logits)
    # Tensors stay tensors: `fit` takes whole batches out of them at once.
    inputs, numbers = torch.cat([part.tensors[0] for part in parts]), labeled.tensors[-1]
    if transfer is not None:
        numbers = torch.cat([numbers, numbers.new_full((len(transfer),), NO_LABEL)])
    logits = [] if teacher_logits is None else [teacher_logits]
    return TensorDataset(inputs, *logits, numbers)


class _Combined(Dataset):
    """One or two datasets of any kind, the first labeled, each example with the teacher's logits."""

    def __init__(self, parts: list[Any], teacher_logits: Tensor | None) -> None:
        self.parts, self.teacher_logits = parts, teacher_logits
        if hasattr(parts[0], "column_names"):  # a Hugging Face dataset: `fit` reads the lengths
            self.column_names = parts[0].column_names

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return [value for part in self.parts for value in part[key][:]]
        return self.__getitems__([key])[0]

    def __getitems__(self, rows: list[int]) -> list[Any]:
        # Each part gives its rows at once: a Hugging Face dataset takes far longer one by one.
        n = len(self.parts[0])
        labeled = iter(_rows(self.parts[0], [i for i in rows if i < n]))
        others = iter(_rows(self.parts[-1], [i - n for i in rows if i >= n]))
        return [self._example(i, next(labeled if i < n else others)) for i in rows]

    def _example(self, i: int, example: Any) -> Any:
        logits = [] if self.teacher_logits is None else [self.teacher_logits[i]]
        is_labeled = i < len(self.parts[0])
        if isinstance(example, Mapping):
            names = getattr(self, "column_names", example)
            columns = {name: example[name] for name in names if name in example}
            columns["labels"] = labels(example) if is_labeled else NO_LABEL
            return columns | dict(zip(["teacher_logits"], logits, strict=False))
        return example[0], *logits, torch.as_tensor(example[-1] if is_labeled else NO_LABEL).long()


def _rows(part: Any, rows: list[int]) -> list[Any]:
    if rows and hasattr(part, "__getitems__"):
        return part.__getitems__(rows)
    return [part[i] for i in rows]
