"""Texts as token ids, and how long they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

LIMITS = (32, 64, 128)  # tokens; the usual choices of max_length, where none is given
MOST_CUT = 0.01


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


@dataclass(frozen=True)
class Lengths:
    """How long texts are, in tokens.

    Example:
        >>> print(Lengths((5, 9, 31, 40), max_length=32))
        4 texts: median 20 tokens, 95th percentile 38, longest 40. At max_length 32, 25.0 % are cut.
    """

    tokens: tuple[int, ...]
    max_length: int

    def percentile(self, percent: float) -> int:
        """The length that so many percent of the texts do not exceed."""
        return int(np.percentile(self.tokens, percent))

    @property
    def share_cut(self) -> float:
        return sum(n > self.max_length for n in self.tokens) / len(self.tokens)

    def time_at(self, other: int) -> float:
        """About how many times as long the work takes with another max_length."""
        return sum(min(n, other) for n in self.tokens) / sum(
            min(n, self.max_length) for n in self.tokens
        )

    @property
    def advice(self) -> str:
        """What to do about texts that are cut; "" where they are few."""
        if self.share_cut <= 0.05:
            return ""
        longer = 8 * math.ceil(self.percentile(95) / 8)
        return (
            f"{self.share_cut:.0%} of the texts lose their end, for your model and for the small one. "
            f"A max_length of {longer} keeps 95 % of them whole and takes about "
            f"{self.time_at(longer):.1f} times as long. Or shorten the texts, so that what matters "
            f"stands in the first {self.max_length} tokens."
        )

    def __str__(self) -> str:
        return (
            f"{len(self.tokens):,} texts: median {self.percentile(50)} tokens, 95th percentile "
            f"{self.percentile(95)}, longest {max(self.tokens):,}. At max_length {self.max_length}, "
            f"{self.share_cut:.1%} are cut.".replace("%", " %")
        )


def lengths_of(
    texts: Sequence[str], tokenizer: Any, max_length: int | None = None, most: int = 512
) -> Lengths:
    """The lengths of texts as a tokenizer splits them, and a max_length for them.

    Args:
        texts: of the training part.
        tokenizer: of the large model.
        max_length: default: 32, 64 or 128, the first at which at most 1 % of the texts are cut.
        most: tokens that the model can read.

    Raises:
        ValueError: a max_length below 4, or above what the model can read.

    Example:
        >>> from course_lib.models.encoders import load_tokenizer
        >>> lengths_of(["A film."] * 3 + ["so " * 99], load_tokenizer()).max_length
        128
    """
    rows = tokenizer(list(texts), verbose=False, return_attention_mask=False)["input_ids"]
    tokens = tuple(map(len, rows))
    if max_length is None:
        fits = [n for n in LIMITS if sum(t > n for t in tokens) <= MOST_CUT * len(tokens)]
        max_length = min(most, fits[0] if fits else LIMITS[-1])
    if not 4 <= max_length <= most:
        raise ValueError(f"max_length is {max_length}; this model reads 4 to {most} tokens.")
    return Lengths(tokens, max_length)
