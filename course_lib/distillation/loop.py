"""Train a student on the outputs of its teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from course_lib.batching import check_dataset, labels
from course_lib.distillation.losses import (
    NO_LABEL,
    distillation_loss,
    padded_alike,
    token_kl,
    triple_loss,
)
from course_lib.distillation.transfer import with_transfer
from course_lib.evaluation.prediction import predict
from course_lib.modules import copy_of, device_of, evaluating, forward, logits_of, to_device
from course_lib.training.loop import fit
from course_lib.training.recipe import Fitted, Recipe


def distill(
    student: nn.Module,
    teacher: nn.Module | Tensor,
    data: Mapping[str, Dataset],
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = distillation_loss,
    transfer: Dataset | None = None,
) -> Fitted:
    """Train a copy of `student` on the teacher's logits. Both arguments are left alone.

    The teacher runs over the examples once, in eval mode; its logits stay in memory. Hinton, Vinyals &
    Dean 2015, § 2. Explained in lesson 3.

    Args:
        student: a classifier of single examples (logits ``[batch, classes]``), as `fit` takes it.
        teacher: a classifier with the same classes, or its logits ``[n, classes]`` for the training
            part and then `transfer`, from `predict`: one pass of the teacher for many students.
        data: ``{"train": …}`` with labels and, to choose the epoch, ``"validation"``: as for `fit`.
        recipe: as for `fit`. An epoch passes over the training part and `transfer`.
        loss: ``loss(student_logits, teacher_logits, labels) → scalar``; a label of −100 means "no
            label". Another T or alpha: ``functools.partial(distillation_loss, T=2.0, alpha=0.7)``.
        transfer: an unlabeled transfer set of the same form. Labels in it are not used.

    Raises:
        ValueError: no training part, not one row of teacher's logits per example, probabilities in
            their place, or a teacher that numbers its tokens differently; what `fit` and `loss` raise.
        TypeError: a stream, whose rows of logits cannot be counted; a loader, or rows of text.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> points = TensorDataset(torch.eye(2), torch.tensor([0, 1]))
        >>> student, teacher = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> distill(student, teacher, {"train": points}, Recipe(epochs=1, batch_size=2)).epoch
        1
    """
    _check_parts(data, "distill")
    parts = [data["train"]] if transfer is None else [data["train"], transfer]
    for part in parts:
        check_dataset(part)
    _check_vocabularies(student, teacher)
    parts[0] = _labeled(parts[0])
    if not isinstance(teacher, Tensor):
        teacher = torch.cat([predict(teacher, part) for part in parts])  # [n, classes]
    n = sum(len(part) for part in parts)  # type: ignore[arg-type, misc]
    if teacher.dim() != 2 or len(teacher) != n:
        raise ValueError(
            f"The teacher's logits are {list(teacher.shape)}; expected [{n}, classes]: one row for "
            "each example of data['train'], then one for each of `transfer`."
        )
    if n and (teacher >= 0).all() and ((teacher.sum(1) - 1).abs() < 1e-3).all():
        raise ValueError(
            "The teacher's rows are not negative and sum to 1, so they are probabilities; expected "
            "logits, from before the softmax. Their logarithm does as well: teacher.log()."
        )
    train = with_transfer(parts[0], transfer, teacher.detach().cpu())

    def batch_loss(output: Any, batch: Any) -> Tensor:
        if isinstance(batch, Mapping):
            return loss(logits_of(output), batch["teacher_logits"], batch["labels"])
        _, teacher_logits, numbers = batch
        return loss(logits_of(output), teacher_logits, numbers)

    return fit(student, {**data, "train": train}, recipe, loss=batch_loss)


def distill_hidden(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    data: Mapping[str, Any],
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    loss: Callable[[Any, Any, Tensor, Tensor], Tensor] = triple_loss,
    transfer: Any = None,
) -> Fitted:
    """Train a copy of `student` on the teacher's logits *and* its hidden states.

    The teacher runs beside the student, in eval mode, because the hidden states of all examples would
    fill the memory. If the student is narrower or wider than the teacher, a linear projection to the
    teacher's width is trained with it and dropped afterward. Explained in lesson 4.

    Args:
        student, teacher: `transformers` classifiers with the same labels; both are left alone.
        data, recipe, transfer: as for `distill`, tokenized.
        loss: ``loss(student_output, teacher_output, labels, attention_mask) → scalar``. Other weights:
            ``functools.partial(triple_loss, weights=(5, 2, 0))``. Only the last hidden state is
            projected: a loss that compares others needs models of one width (lesson 5).

    Raises:
        ValueError: no training part, or `transfer` lacks a column; and what `fit` and `loss` raise.

    Example:
        >>> from datasets import Dataset
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> from course_lib.distillation.students import student_from_teacher
        >>> sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2}
        >>> teacher = BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=2))
        >>> rows = {"input_ids": [[1, 2]], "attention_mask": [[1, 1]], "labels": [1]}
        >>> train = {"train": Dataset.from_dict(rows)}
        >>> student = student_from_teacher(teacher, [0])
        >>> distill_hidden(student, teacher, train, Recipe(epochs=1, batch_size=1)).epoch
        1
    """
    _check_parts(data, "distill_hidden")
    for part in [] if transfer is None else [data["train"], transfer]:
        check_dataset(part)  # what is read in two parts is no stream
    _check_vocabularies(student, teacher)
    teacher = copy_of(teacher).eval().requires_grad_(False)  # type: ignore[assignment]
    projected = _Projected(student, teacher.config.hidden_size, recipe.seed)
    train = with_transfer(_labeled(data["train"]), transfer)

    def batch_loss(student_output: Any, batch: Any) -> Tensor:
        numbers = labels(batch)  # refuses a stream without them
        teacher.to(numbers.device)
        with torch.no_grad():  # tensors of inference_mode could not be used in a gradient
            teacher_output = forward(teacher, batch | {"output_hidden_states": True})
        return loss(student_output, teacher_output, numbers, batch.get("attention_mask"))

    fitted = fit(projected, {**data, "train": train}, recipe, loss=batch_loss)
    return Fitted(fitted.model.student, fitted.history, fitted.epoch)  # type: ignore[arg-type]


def distill_tokens(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    data: Mapping[str, Dataset],
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = token_kl,
    after_step: Callable[[nn.Module, float], None] | None = None,
) -> Fitted:
    """Train a copy of a small language model on its teacher's distribution of each next token.

    The teacher runs beside the student, in eval mode: its logits of all tokens would fill the disk.
    Sanh et al. 2019, § 2; Muralidharan et al. 2024 (*Minitron*), § 3. Explained in lesson 7.

    Args:
        student, teacher: causal language models that read the same tokens; both are left alone.
        data: ``{"train": examples}`` of one length: ``TensorDataset(ids)``, ids ``[n, length]``.
        recipe: as for `fit`. Logits take ``batch_size · length · vocabulary`` floats, several times.
        loss: ``loss(student_logits, teacher_logits) → scalar``, such as ``partial(token_kl, T=2.0)``.
        after_step: as for `fit`.

    Raises:
        ValueError: no training part, or a teacher that numbers its tokens differently; what `fit` and
            `loss` raise.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = dict(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1)
        >>> teacher = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))
        >>> texts = {"train": TensorDataset(torch.ones(2, 4).long())}
        >>> distill_tokens(teacher, teacher, texts, Recipe(epochs=1, batch_size=2)).history[0]["loss"]
        0.0
    """
    _check_parts(data, "distill_tokens")
    _check_vocabularies(student, teacher, by_loss=True)

    def batch_loss(output: Any, batch: Any) -> Tensor:
        logits = logits_of(output)
        with torch.no_grad():  # tensors of inference_mode could not be used in a gradient
            teaching = logits_of(forward(teacher, to_device(batch, device_of(teacher))))
        return loss(logits, teaching.to(logits.device))

    with evaluating(teacher):
        return fit(student, data, recipe, loss=batch_loss, after_step=after_step)


class _Projected(nn.Module):
    """A student that returns its hidden states, the last of them projected to the teacher's width."""

    def __init__(self, student: PreTrainedModel, width: int, seed: int) -> None:
        super().__init__()
        self.student = student
        own_width = student.config.hidden_size
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            projection = nn.Identity() if own_width == width else nn.Linear(own_width, width)
        self.projection = projection.to(student.device, student.dtype)

    def forward(self, **batch: Any) -> Any:
        output = forward(self.student, batch | {"output_hidden_states": True})
        *others, last = output.hidden_states
        output.hidden_states = (*others, self.projection(last))
        return output


def _labeled(rows: Any) -> Any:
    """Unlabeled texts have the label −100: the teacher's answers are enough."""
    columns = getattr(rows, "column_names", None)
    if columns is None or "labels" in columns or not hasattr(rows, "__len__"):
        return rows
    return rows.add_column("labels", [NO_LABEL] * len(rows))


def _check_vocabularies(student: Any, teacher: Any, by_loss: bool = False) -> None:
    """Both read the same rows, so a number must mean the same token to both. A loss sees itself whether
    the rows of one are padded: it is given both vocabularies."""
    if isinstance(student, PreTrainedModel) and isinstance(teacher, PreTrainedModel):
        rows: list[Any] = [
            getattr(model.config, "vocab_size", None) for model in (student, teacher)
        ]
        kept = [getattr(model, "vocabulary", None) for model in (student, teacher)]
        if kept == [None, None] and None not in rows and padded_alike(*rows):
            if by_loss:
                return
            raise ValueError(
                f"The student has {rows[0]:,} tokens and the teacher {rows[1]:,}. If the last rows of "
                "one are padding, cut the padded rows: "
                f"model.resize_token_embeddings({min(rows)}). If not, give the teacher's logits on "
                "rows of its own tokenizer: predict(teacher, tokenize(texts, its_tokenizer))."
            )
        if rows[0] != rows[1] or kept[0] != kept[1]:
            raise ValueError(
                f"The student has {rows[0]:,} tokens and the teacher {rows[1]:,}, so the ids of the "
                "rows mean other words to the teacher. Give its logits on rows of its own tokenizer: "
                "predict(teacher, tokenize(texts, its_tokenizer)) in place of the teacher."
            )


def _check_parts(data: Mapping[str, Any], function: str) -> None:
    if "train" not in data:
        raise ValueError(f"data has the parts {sorted(data)}; {function} needs one named 'train'.")
