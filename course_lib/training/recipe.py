"""How to train, and what training returns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.batching import check_classes, labels, next_tokens
from course_lib.evaluation.accuracy import Accuracy
from course_lib.modules import logits_of

Loss = Callable[[Any, Any], Tensor]  # (model output, batch) → scalar


def cross_entropy(output: Any, batch: Any) -> Tensor:
    """The default loss: cross-entropy between the logits and the batch's labels.

    Raises:
        ValueError: a single output, or labels that are no class numbers: softmax would say nothing.
    """
    logits, numbers = logits_of(output), labels(batch)
    check_classes(logits, numbers)
    return F.cross_entropy(logits, numbers)


def next_token_loss(output: Any, batch: Any) -> Tensor:
    """Cross-entropy of a language model with each next token of the text that it reads, in nats.

    Examples are token ids of one length, as of ``TensorDataset(ids)``. Explained in lesson 7.

    Example:
        >>> import torch
        >>> next_token_loss(torch.zeros(1, 3, 10), (torch.tensor([[4, 7, 1]]),))  # log 10
        tensor(2.3026)
    """
    ids = batch["input_ids"] if isinstance(batch, Mapping) else batch[0]
    return F.cross_entropy(logits_of(output).flatten(0, 1), next_tokens(ids).flatten())


@dataclass(frozen=True)
class Recipe:
    """How to train. The optimizer is AdamW (Loshchilov & Hutter 2019).

    Attributes:
        epochs: passes over the training part (default 10).
        lr: peak learning rate (default 1e-3).
        batch_size: examples in a step, over all processes together (default 64).
        weight_decay: decoupled weight decay (default 0).
        warmup: share of the steps in which the learning rate rises from 0 (default 0).
        decay: whether it then falls linearly to 0 (default False).
        select_from_last: how many of the last epochs compete; the one with the best validation
            accuracy is kept. None (default): all of them. 1: the last one, without a choice.
        seed: of the order of the examples and of dropout (default 0).
        steps: optimizer steps in an epoch, for a streamed training part (default None).
        checkpoint: a name for the state that is saved after each epoch, so that an interrupted run
            resumes when it is started again and ends with the same bits (default: nothing is saved).
            Runs are told apart by this name, the initial weights and the recipe: let the name say
            which data and which loss.
    """

    epochs: int = 10
    lr: float = 1e-3
    batch_size: int = 64
    weight_decay: float = 0.0
    warmup: float = 0.0
    decay: bool = False
    select_from_last: int | None = None
    seed: int = 0
    steps: int | None = None
    checkpoint: str = ""

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1 or not self.lr > 0 or not 0 <= self.warmup < 1:
            raise ValueError(
                f"{self}: epochs must be ≥ 0, batch_size ≥ 1, lr > 0 and warmup in [0, 1)."
            )
        for name in ("select_from_last", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more, or None.")
        plain = re.fullmatch(r"[\w .,+=@()-]*", self.checkpoint)
        if not plain or len(self.checkpoint.encode()) > 150:
            raise ValueError(
                f"checkpoint is {self.checkpoint[:200]!r}; it becomes part of a file name, so it must "
                "have letters, digits, spaces and .,+=@()-_ only, and at most 150 bytes."
            )


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """The fields that decide what a recipe produces, ready for JSON. Stored results are named by them.

    Example:
        >>> recipe_fields(Recipe(epochs=3))["epochs"]
        3
    """
    rows = asdict(replace(recipe, checkpoint="")).items()
    return {name: value for name, value in rows if value not in (None, "")}


@dataclass(frozen=True)
class Fitted:
    """What `fit` returns.

    Attributes:
        model: the trained copy, in eval mode.
        history: one ``{"epoch", "loss", "correct", "n"}`` for each epoch; correct and n are those of
            the validation part, and absent without one.
        epoch: the epoch whose weights these are, counted from 1.
    """

    model: nn.Module
    history: list[dict[str, Any]]
    epoch: int

    @property
    def validation(self) -> Accuracy | None:
        """Validation accuracy of the chosen epoch; None without a validation part."""
        rows = [row for row in self.history if row["epoch"] == self.epoch and "n" in row]
        return Accuracy(rows[0]["correct"], rows[0]["n"]) if rows else None

    def __repr__(self) -> str:
        return f"Fitted({type(self.model).__name__}, epoch {self.epoch}, {self.validation})"
