"""Small students for text that take the same batches as their teacher."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD, UNKNOWN = 0, 1  # rows of a student's embedding table


class SmallVocabulary(nn.Module):
    """Embeddings for some of the teacher's tokens; all other tokens share one row.

    The input holds the teacher's ids, so that the same batches feed teacher and student. They are
    translated here. Explained in lesson 3.

    Args:
        tokens: the teacher's ids to keep, as `tokens_seen` gives them.
        width: numbers in an embedding (default 64).

    Shapes: ids ``[n, length]`` → embeddings ``[n, length, width]``. Padding (id 0) is a zero vector.

    Example:
        >>> SmallVocabulary(torch.tensor([7, 102]), width=3)(torch.tensor([[7, 9, 0]])).shape
        torch.Size([1, 3, 3])
    """

    rows: Tensor

    def __init__(self, tokens: Tensor, width: int = 64) -> None:
        super().__init__()
        tokens = tokens[tokens != PAD]
        # From the teacher's id to our row. The last entry is for all ids beyond the largest one.
        rows = torch.full((int(tokens.max()) + 2,), UNKNOWN, dtype=torch.int32)
        rows[PAD] = PAD
        rows[tokens] = torch.arange(2, len(tokens) + 2, dtype=torch.int32)
        self.register_buffer("rows", rows)
        self.embedding = nn.Embedding(len(tokens) + 2, width, padding_idx=PAD)
        # PyTorch's default has a standard deviation of 1. With so little text that stays noise, and
        # costs some five points of accuracy.
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.embedding.weight.data[PAD])

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.embedding(self.rows[input_ids.clamp(max=len(self.rows) - 1)])


class TextCNN(nn.Module):
    """Convolutions over 3, 4 and 5 words, max pooling over the text, and one linear layer.

    After Kim 2014, *Convolutional neural networks for sentence classification*, section 2. About
    0.6 M parameters over 8,500 tokens, nearly all of them embeddings. Explained in lesson 3.

    Args:
        tokens: the teacher's ids to keep, as `tokens_seen` gives them.
        width: of the embeddings (default 64).
        filters: for each of the three lengths (default 64).
        num_labels: classes (default 2).
        dropout: before the last layer (default 0.5, as in the paper).

    Shapes: ids and mask ``[n, length]`` → logits ``[n, num_labels]``. The amount of padding makes
    no difference.

    Example:
        >>> sum(p.numel() for p in TextCNN(torch.arange(1, 8501)).parameters())
        593858
    """

    SIZES = (3, 4, 5)

    def __init__(
        self,
        tokens: Tensor,
        width: int = 64,
        filters: int = 64,
        num_labels: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.words = SmallVocabulary(tokens, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, filters, size) for size in self.SIZES)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(3 * filters, num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_unused: Any
    ) -> Tensor:
        real = _real(input_ids, attention_mask)  # [n, length]
        # Zeros where there is padding, so that the amount of padding cannot matter.
        x = (self.words(input_ids) * real.unsqueeze(-1)).transpose(1, 2)  # [n, width, length]
        pooled = []
        for size, convolution in zip(self.SIZES, self.convolutions, strict=True):
            # One window starts at each token; windows that start in the padding do not count.
            y = convolution(F.pad(x, (0, size - 1)))  # [n, filters, length]
            pooled.append(F.relu(y.masked_fill(~real.unsqueeze(1), -torch.inf).amax(-1)))
        return self.classifier(self.dropout(torch.cat(pooled, -1)))  # [n, num_labels]


def _real(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Bool ``[n, length]``: True for tokens, False for padding."""
    return input_ids != PAD if attention_mask is None else attention_mask.bool()
