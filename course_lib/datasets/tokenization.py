"""Texts as token ids."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor


def tokenize(dataset: Dataset, tokenizer: Any, max_length: int = 64, text: str = "text") -> Dataset:
    """The dataset as token ids, ready for `training.fit`. Each batch adds its own padding.

    Explained in lesson 3. For ``load_dataset("stanfordnlp/sst2")["train"]``: ``text="sentence"``.

    Args:
        dataset: has the column named by `text` and, unless it is unlabeled, ``label``.
        tokenizer: the teacher's; the students take the same ids.
        max_length: longer texts are cut to so many tokens (default 64).
        text: the column that holds the text (default "text").

    Returns:
        Columns ``input_ids`` and ``attention_mask`` (lists of int, as long as the text) and, where
        there are labels, ``labels``. Segment numbers (``token_type_ids``) are left out if all are 0,
        which is the models' default.

    Raises:
        ValueError: there is no such column.

    Example:
        >>> from course_lib.models.encoders import load_tokenizer
        >>> rows = Dataset.from_dict({"text": ["Great!"], "label": [1]})
        >>> tokenize(rows, load_tokenizer())[0]
        {'input_ids': [101, 2307, 999, 102], 'attention_mask': [1, 1, 1, 1], 'labels': 1}
    """
    if text not in dataset.column_names:
        raise ValueError(
            f"There is no column {text!r} among {dataset.column_names}; name the one that holds the "
            'text, as in tokenize(…, text="sentence").'
        )
    columns = dict(tokenizer(list(dataset[text][:]), truncation=True, max_length=max_length))
    if not any(any(row) for row in columns.get("token_type_ids", ())):
        columns.pop("token_type_ids", None)
    if "label" in dataset.column_names:
        columns["labels"] = list(dataset["label"][:])
    return Dataset.from_dict(columns)


def tokens_seen(*datasets: Dataset, at_least: int = 2) -> Tensor:
    """The token ids that occur `at_least` times in tokenized datasets, sorted: ``[tokens]``, int64.

    A student needs no embeddings for tokens that it never sees. Explained in lesson 3.

    Example:
        >>> tokens_seen(Dataset.from_dict({"input_ids": [[101, 7, 7, 102], [101, 9, 102]]}))
        tensor([  7, 101, 102])
    """
    ids = [torch.tensor(row) for dataset in datasets for row in dataset["input_ids"][:]]
    tokens, counts = torch.cat(ids).unique(return_counts=True)
    return tokens[counts >= at_least]
