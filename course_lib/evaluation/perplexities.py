"""Perplexity of a language model, with intervals over the documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.stats import t as student
from torch import Tensor, nn
from torch.nn.utils import parametrize

from course_lib.batching import next_tokens
from course_lib.evaluation.accuracy import Estimate, Shown
from course_lib.evaluation.significance import Share
from course_lib.modules import call, device_of, evaluating, logits_of


@dataclass(frozen=True, repr=False)
class Ratio(Estimate):
    """How many times as high one perplexity is as another, with its 95 % interval."""

    n: int  # documents

    def __repr__(self) -> str:
        low, high, value = map(shown, (self.low, self.high, self.value))
        return f"{value} × ({low}–{high}, n = {self.n:,})"


@dataclass(frozen=True, repr=False)
class Perplexity(Shown):
    """exp(mean loss per predicted token) over all documents, with its 95 % interval.

    The interval is over the documents, because the tokens of one document are alike: Student's t of a
    ratio of sums (Cochran 1977, *Sampling techniques*, section 6.4). Explained in lesson 7.

    Example:
        >>> losses, tokens = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1, 1, 1])
        >>> Perplexity(losses, tokens)
        7.39 (0.616–88.6, n = 3)
    """

    losses: Tensor  # [documents] each document's sum over its predicted tokens, in nats
    tokens: Tensor  # [documents] how many these are

    @property
    def n(self) -> int:
        return len(self.losses)

    @property
    def value(self) -> float:
        return math.exp(_ratio(self.losses, self.tokens)[0])

    @property
    def interval(self) -> tuple[float, float]:
        _, low, high = _ratio(self.losses, self.tokens)
        return math.exp(low), math.exp(high)

    def times(self, other: Perplexity) -> Ratio:
        """How many times as high as that of another model on the same documents, paired.

        Raises:
            ValueError: they are not of the same documents.
        """
        _check_paired(self, other)
        found = _ratio(self.losses - other.losses, self.tokens)
        value, low, high = (math.exp(one) for one in found)
        return Ratio(value, low, high, self.n)

    def recovered(self, cut: Perplexity, whole: Perplexity) -> Share:
        """The share of the lost log-perplexity that training brought back: 0 as cut, 1 as the whole.

        Raises:
            ValueError: they are not of the same documents.
        """
        _check_paired(self, cut, whole)
        return Share(*_ratio(cut.losses - self.losses, cut.losses - whole.losses), self.n)

    def __repr__(self) -> str:
        low, high, value = map(shown, (*self.interval, self.value))
        return f"{value} ({low}–{high}, n = {self.n:,})"


def perplexity(model: nn.Module, documents: Tensor | Sequence[Tensor], size: int = 2) -> Perplexity:
    """How well a language model predicts each next token. A document's first token is not predicted.

    Args:
        model: a causal language model, as `transformers` has them; it is left alone.
        documents: token ids ``[documents, length]``, or a list of ``[length]``, of any lengths. Two
            documents or more, of two tokens or more.
        size: documents in a batch (default 2). The logits take ``size · length · vocabulary`` floats.

    Raises:
        ValueError: fewer documents or tokens.

    Example:
        >>> class Guess(nn.Module):
        ...     def forward(self, ids):
        ...         return torch.zeros(*ids.shape, 10)  # all ten tokens are equally likely
        >>> round(perplexity(Guess(), torch.arange(8).view(2, 4)).value, 3)
        10.0
    """
    shortest = min((len(one) for one in documents), default=0)
    if len(documents) < 2 or shortest < 2:
        raise ValueError(
            f"Got {len(documents)} documents, the shortest of {shortest} tokens; give two or more, of "
            "two tokens or more."
        )
    whole = isinstance(documents, Tensor)
    parts = documents.split(size) if whole else [one[None] for one in documents]  # type: ignore
    losses = []
    # A masked weight is computed once, not for every batch.
    with evaluating(model), torch.inference_mode(), parametrize.cached():
        for ids in parts:
            ids = ids.to(device_of(model))
            logits = logits_of(call(model, ids)).float().flatten(0, 1)
            each = F.cross_entropy(logits, next_tokens(ids).flatten(), reduction="none")
            losses.append(each.view(len(ids), -1).double().sum(1).cpu())
    tokens = torch.tensor([len(one) - 1 for one in documents], dtype=torch.double)
    return Perplexity(torch.cat(losses).clone(), tokens)


def shown(number: float) -> str:
    """A perplexity for people, with three digits.

    >>> shown(7.389), shown(1321.4), shown(1.49e8)
    ('7.39', '1,321', '1.5e+08')
    """
    if number >= 1e6:
        return f"{number:.1e}"
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def round_numbers(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 times powers of ten between two ends: ticks of a logarithmic axis.

    >>> round_numbers(30, 450)
    [50, 100, 200]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10**e for e in powers for m in (1, 2, 5) if low <= m * 10**e <= high]


def _ratio(above: Tensor, below: Tensor) -> tuple[float, float, float]:
    """Σ above / Σ below with its 95 % interval over the documents."""
    above, below = above.double(), below.double()
    n, value = len(above), float(above.sum() / below.sum())
    error = float((above - value * below).std()) / math.sqrt(n) / abs(float(below.mean()))
    half = float(student.ppf(0.975, n - 1)) * error
    return value, value - half, value + half


def _check_paired(*results: Perplexity) -> None:
    if any(not torch.equal(one.tokens, results[0].tokens) for one in results):
        raise ValueError(
            f"The perplexities are of {[one.n for one in results]} documents, or of documents of other "
            "lengths; a comparison needs the same documents in the same order."
        )
