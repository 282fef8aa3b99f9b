"""The smallest student for text, which learns within a second."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from course_lib.models import SmallVocabulary


class BagOfEmbeddings(nn.Module):
    """The mean of the words' embeddings and one linear layer, so that word order has no effect.

    After Joulin et al. 2017 (*fastText*), section 2. Arguments and shapes as in `TextCNN`.
    """

    def __init__(
        self, tokens: Tensor, width: int = 64, num_labels: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.words = SmallVocabulary(tokens, width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_unused: Any
    ) -> Tensor:
        real = input_ids != 0 if attention_mask is None else attention_mask.bool()
        real = real.unsqueeze(-1)  # [n, length, 1]
        mean = (self.words(input_ids) * real).sum(1) / real.sum(1).clamp(min=1)  # [n, width]
        return self.classifier(self.dropout(mean))
