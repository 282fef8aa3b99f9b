"""Batches: which examples share one, in which order, and how they are padded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, TensorDataset

from course_lib.modules import to_device


def batches(dataset: Dataset, size: int = 256, device: torch.device | str = "cpu") -> Iterator[Any]:
    """The dataset's batches in its own order, on `device`. ValueError if it is empty."""
    check_dataset(dataset)
    n = len(dataset)  # type: ignore[arg-type]
    if not n:
        raise ValueError("The dataset is empty; give some hundred training examples.")
    indices = [list(range(i, min(i + size, n))) for i in range(0, n, size)]
    for batch in loader(dataset, indices):
        yield to_device(batch, device)


def labels_of(dataset: Any) -> Tensor:
    """All labels ``[n]`` of a dataset, in its order."""
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[-1]
    if hasattr(dataset, "column_names"):  # a Hugging Face dataset
        labels(dict.fromkeys(dataset.column_names))  # refuses one without
        return torch.as_tensor(dataset["labels"][:])
    return torch.stack([torch.as_tensor(labels(dataset[i])) for i in range(len(dataset))])


def labels(batch: Any) -> Any:
    """The labels of a batch or an example. ValueError if there are none."""
    if isinstance(batch, Mapping) and "labels" not in batch:
        raise ValueError(
            f"The examples have the columns {sorted(batch)} and no 'labels'. Tokenize a data set that "
            "has a column 'label': datasets.tokenize(rows, tokenizer). To learn from unlabeled texts, "
            "give labels of −100 and a teacher."
        )
    return batch["labels"] if isinstance(batch, Mapping) else batch[-1]


def next_tokens(ids: Tensor) -> Tensor:
    """What follows each token of ``[documents, length]``; −100, "no label", behind the last one.

    With it the logits of all positions serve as they are: without the last ones they would be a copy,
    and those of a language model take hundreds of megabytes.

    Example:
        >>> next_tokens(torch.tensor([[4, 7, 1]]))
        tensor([[   7,    1, -100]])
    """
    return F.pad(ids[:, 1:], (0, 1), value=-100)


def check_classes(logits: Tensor, numbers: Tensor) -> None:
    """Refuse what softmax and accuracy over classes would get wrong without an error.

    Raises:
        ValueError: a single output, or labels that are no class numbers.
    """
    table = numbers.ndim == 2 and logits.ndim == 2  # a row of labels for each example
    if table and numbers.shape[1] == 1 < logits.shape[1] and not numbers.is_floating_point():
        raise ValueError(
            f"The labels are {list(numbers.shape)}; expected [{len(numbers)}], one class number for "
            "each example: labels.squeeze(1)."
        )
    if logits.shape[-1] == 1 or numbers.is_floating_point() or table:
        several = table or (numbers.is_floating_point() and numbers.ndim > 1)
        what = "several labels per example" if several else "a number per example"
        kind = "multi_label_classification" if several else "regression"
        name = "binary_cross_entropy_with_logits" if several else "mse_loss"
        raise ValueError(
            f"The logits are {list(logits.shape)} and the labels {list(numbers.shape)}, "
            f"{numbers.dtype}: {what} (problem_type {kind!r}), not one class. Give a loss that fits: "
            f"loss=lambda output, batch: F.{name}(output.logits.squeeze(-1), batch['labels'].float())."
        )


def check_dataset(dataset: Any) -> None:
    """One check before the first batch: what came, and what to give instead.

    Raises:
        TypeError: no data set of examples, texts that are not tokenized, or a column 'label'.
    """
    kind = type(dataset).__name__
    if isinstance(dataset, DataLoader):
        raise TypeError(
            "Got a DataLoader; give its data set, loader.dataset: batches are made here."
        )
    if isinstance(dataset, Tensor) or type(dataset).__module__ == "numpy":
        raise TypeError(f"Got a {kind}; give TensorDataset(inputs, labels), of tensors.")
    if not hasattr(dataset, "__len__"):
        raise TypeError(f"Got a {kind}, whose length is unknown; give a data set with a length.")
    if hasattr(dataset, "column_names") and len(dataset):
        texts = sorted(name for name, value in dataset[0].items() if isinstance(value, str))
        if texts:
            raise TypeError(
                f"The columns {texts} hold text, which a model does not read. Give what "
                "datasets.tokenize(rows, tokenizer) returns, or remove them: rows.remove_columns("
                f"{texts})."
            )
        if "label" in dataset.column_names:
            raise TypeError(
                "There is a column 'label', which a model does not take; expected 'labels'. Give what "
                "datasets.tokenize(rows, tokenizer) returns, or rows.rename_column('label', 'labels')."
            )


def lengths(dataset: Any) -> list[int]:
    """The number of tokens of each example; zeros for data that is not text."""
    if "input_ids" in (getattr(dataset, "column_names", None) or ()):
        # The slice reads the whole column at once, fifteen times as fast as row by row.
        return [len(ids) for ids in dataset["input_ids"][:]]
    return [0] * len(dataset)


def steps_in(dataset: Any, size: int) -> int:
    """The number of batches that `shuffled` makes of a dataset."""
    return max(1, len(dataset) // size)


def shuffled(length: list[int], size: int, seed: int) -> list[list[int]]:
    """Batches of indices for one epoch, in the random order of `seed`.

    Sequences of similar length share a batch. The last, incomplete batch is left out (other examples
    each epoch), so that every step has the same weight, on one process or several.

    Args:
        length: the length of each example (`lengths`).
        size: examples in a batch; at most all of them.
        seed: of the random order; use another one for each epoch.
    """
    n = len(length)
    size = min(size, n)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator).tolist()
    if len(set(length)) > 1:
        bucket = 50 * size  # sorted within buckets: little padding, and still a random order
        if n <= bucket:  # one bucket: leave out before sorting, or the longest always go
            order = order[: n // size * size]
        parts = [order[i : i + bucket] for i in range(0, len(order), bucket)]
        order = [i for part in parts for i in sorted(part, key=length.__getitem__)]
    chosen = [order[i : i + size] for i in range(0, n - size + 1, size)]
    return [chosen[i] for i in torch.randperm(len(chosen), generator=generator).tolist()]


def collate(examples: list[Any]) -> Any:
    """Make a batch: tuples are stacked; in mappings, sequences are padded to the longest of the batch.

    Labels of tokens are padded with −100 ("no label"), everything else with 0.
    """
    if not isinstance(examples[0], Mapping):
        return torch.utils.data.default_collate(examples)
    return {key: _padded(key, [example[key] for example in examples]) for key in examples[0]}


def _padded(key: str, values: list[Any]) -> Tensor:
    padding = -100 if key == "labels" else 0
    filled = next((row for row in values if isinstance(row, list) and row), None)
    if filled and not isinstance(filled[0], list) and isinstance(values[0], list):
        # One tensor of all numbers is made much faster than one for each row.
        longest = max(map(len, values))
        return torch.tensor([row + [padding] * (longest - len(row)) for row in values])
    tensors = [torch.as_tensor(value) for value in values]
    if not tensors[0].ndim:
        return torch.stack(tensors)
    # An empty list has no type of its own, and PyTorch takes it for floats.
    dtype = next((tensor.dtype for tensor in tensors if len(tensor)), torch.int64)
    tensors = [tensor.to(dtype) for tensor in tensors]
    return pad_sequence(tensors, batch_first=True, padding_value=padding)


def loader(dataset: Any, batches: list[list[int]]) -> DataLoader:
    """A PyTorch loader that yields these batches of indices, in this order."""
    own = torch.Generator()  # else PyTorch's loader would draw from the caller's random numbers
    if isinstance(dataset, TensorDataset):  # takes a list of indices at once: nothing to collate
        return DataLoader(dataset, sampler=batches, batch_size=None, generator=own)  # type: ignore
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, generator=own)
