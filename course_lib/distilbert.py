"""The DistilBERT recipe: a student made from its teacher, and the three losses that teach it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn
from transformers import PreTrainedModel

from course_lib.distillation import NO_LABEL, hidden_cosine_loss, soft_loss
from course_lib.embeddings import rank_of
from course_lib.groups import groups
from course_lib.surgery import original_parameters, remove, remove_layers
from course_lib.training import Fitted, Recipe, copy_of, fit, forward


def student_from_teacher(
    teacher: PreTrainedModel,
    layers: Iterable[int] = (0, 2, 4),
    *,
    fresh: bool = False,
    seed: int = 0,
) -> PreTrainedModel:
    """A student with some of the teacher's layers, its embeddings and its head.

    DistilBERT starts so, from every other layer (Sanh et al. 2019, section 3). Works for the families
    of `groups.FAMILIES`; a narrower student comes from `structured.prune`. Explained in lesson 4.

    Args:
        teacher: a `transformers` model; it is left alone.
        layers: which of its layers, counted from 0 (default every other one of six).
        fresh: the same architecture with new weights instead, as the honest baseline.
        seed: of the new weights (default 0).

    Raises:
        TypeError, ValueError: as `surgery.remove_layers`.
        ValueError: a fresh student of a teacher whose embeddings are factored.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> teacher = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_attention_heads=2))
        >>> student_from_teacher(teacher, range(0, 12, 2)).config.num_hidden_layers
        6
    """
    student = remove_layers(teacher, layers)
    if not fresh:
        return student
    if rank_of(student):
        raise ValueError(
            "The teacher's embeddings are factored, and a fresh model's are not. Make the fresh one "
            "from the teacher as it was before, then factor it: factor_embeddings(student, rank)."
        )
    widths = {name: range(group.units) for name, group in groups(student).items()}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        new: Any = type(student)(student.config)
    new.to(teacher.device, teacher.dtype)
    result: Any = remove(new, widths).train(teacher.training)
    result.original_parameters = original_parameters(student)
    if hasattr(student, "vocabulary"):
        result.vocabulary = student.vocabulary
    return result


# DistilBERT's name for each part of a BERT layer, and of what stands around the layers.
_LAYER = {
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
_AROUND = {
    "distilbert.embeddings.word_embeddings": "bert.embeddings.word_embeddings",
    "distilbert.embeddings.position_embeddings": "bert.embeddings.position_embeddings",
    "distilbert.embeddings.LayerNorm": "bert.embeddings.LayerNorm",
    "pre_classifier": "bert.pooler.dense",
    "classifier": "classifier",
    "vocab_transform": "cls.predictions.transform.dense",
    "vocab_layer_norm": "cls.predictions.transform.LayerNorm",
    "vocab_projector": "cls.predictions.decoder",
}


def distilbert_from_bert(
    bert: PreTrainedModel, layers: Iterable[int] | None = None
) -> PreTrainedModel:
    """A genuine DistilBERT whose tensors are copies of a BERT's: it loads with plain `from_pretrained`.

    DistilBERT has no segment embeddings, and a ReLU where BERT's pooler has a tanh: train it before
    you use it. Sanh et al. 2019, section 3. Explained in lesson 4.

    Args:
        bert: a `BertForSequenceClassification` or `BertForMaskedLM`; it is left alone.
        layers: which of its layers (default: every other one, from 0).

    Returns:
        A `DistilBertForSequenceClassification` or `DistilBertForMaskedLM`, in the mode of `bert`.

    Raises:
        TypeError: another model.
        ValueError: its heads or units were pruned to widths that DistilBERT's config cannot say; and
            what `surgery.remove_layers` raises.

    Example:
        >>> from transformers import BertConfig, BertForMaskedLM
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=4, num_attention_heads=2)
        >>> type(distilbert_from_bert(BertForMaskedLM(config))).__name__
        'DistilBertForMaskedLM'
    """
    kinds: dict[Any, Any] = {
        transformers.BertForSequenceClassification: transformers.DistilBertForSequenceClassification,
        transformers.BertForMaskedLM: transformers.DistilBertForMaskedLM,
    }
    if type(bert) not in kinds:
        names = " or a ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"Got a {type(bert).__name__}; distilbert_from_bert needs a {names}.")
    old = bert.config
    widths = {"heads": {old.num_attention_heads}, "feed-forward units": {old.intermediate_size}}
    for group in groups(bert).values():
        if {group.units} != widths[group.kind]:
            raise ValueError(
                f"{group.name} has {group.units} {group.kind}; DistilBERT's config knows only one "
                f"number for all layers, here {widths[group.kind].pop()}. Make the DistilBERT first, "
                "and prune it then."
            )
    if rank_of(bert):
        raise ValueError(
            "The embeddings are factored, which DistilBERT's config cannot say. Make the DistilBERT "
            "first, and factor its embeddings then."
        )
    kept = list(range(0, old.num_hidden_layers, 2) if layers is None else layers)
    short = remove_layers(bert, kept)  # checks the layers, too
    config = transformers.DistilBertConfig(
        vocab_size=old.vocab_size,
        max_position_embeddings=old.max_position_embeddings,
        n_layers=len(kept),
        n_heads=old.num_attention_heads,
        dim=old.hidden_size,
        hidden_dim=old.intermediate_size,
        dropout=old.hidden_dropout_prob,
        attention_dropout=old.attention_probs_dropout_prob,
        activation=old.hidden_act,
        initializer_range=old.initializer_range,
        pad_token_id=old.pad_token_id,
        seq_classif_dropout=(
            old.hidden_dropout_prob if old.classifier_dropout is None else old.classifier_dropout
        ),
        problem_type=old.problem_type,
        tie_word_embeddings=old.tie_word_embeddings,
        id2label=old.id2label,
        label2id=old.label2id,
    )
    with torch.random.fork_rng():
        student: Any = kinds[type(bert)](config)
    sources = _AROUND | {
        f"distilbert.transformer.layer.{i}.{new}": f"bert.encoder.layer.{i}.{theirs}"
        for i in range(len(kept))
        for new, theirs in _LAYER.items()
    }
    source = short.state_dict()
    copied = {}
    for name in student.state_dict():
        module, _, tensor = name.rpartition(".")
        copied[name] = source[f"{sources[module]}.{tensor}"]
    student.load_state_dict(copied)
    return student.to(bert.device, bert.dtype).train(bert.training)


def triple_loss(
    student: Any,
    teacher: Any,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    T: float = 2.0,
    weights: tuple[float, float, float] = (5.0, 2.0, 1.0),
) -> Tensor:
    """Soft + hard + cosine: what the teacher answers, what is true, and what the teacher thinks.

    The weights and T are those of the code that made DistilBERT (there the hard loss predicts masked
    words). Cosine compares the last hidden states; give weights of 0 to leave a loss out. Sanh et al.
    2019, section 2. Explained in lesson 4.

    Args:
        student, teacher: outputs of `transformers` models with ``logits [batch, classes]`` or
            ``[batch, length, classes]``, and ``hidden_states``.
        labels: ``[batch]`` or ``[batch, length]``; −100 means "no label".
        mask: the attention mask ``[batch, length]``; padding does not count (default: all counts).
        T: temperature of the soft loss (default 2).
        weights: of the soft, the hard and the cosine loss (default 5, 2, 1).

    Raises:
        ValueError: an output without hidden states; and what the losses raise.

    Example:
        >>> from transformers.modeling_outputs import SequenceClassifierOutput
        >>> def said(*logits):
        ...     hidden = (torch.tensor([[[3.0, 4.0]]]),)
        ...     return SequenceClassifierOutput(logits=torch.tensor([logits]), hidden_states=hidden)
        >>> triple_loss(said(0.0, 0.0), said(2.0, 0.0), torch.tensor([0]))
        tensor(3.6052)
    """
    for who, output in (("student", student), ("teacher", teacher)):
        if weights[2] and not getattr(output, "hidden_states", None):
            raise ValueError(
                f"The {who}'s output has no hidden states; call the model with "
                "output_hidden_states=True, or give the cosine loss a weight of 0."
            )
    per_token = student.logits.dim() == 3
    soft = soft_loss(student.logits, teacher.logits, T, mask if per_token else None)
    known = labels != NO_LABEL
    hard = F.cross_entropy(student.logits[known], labels[known], reduction="sum")
    total = weights[0] * soft + weights[1] * hard / known.sum().clamp(min=1)
    if weights[2]:
        hidden = student.hidden_states[-1], teacher.hidden_states[-1]
        total = total + weights[2] * hidden_cosine_loss(*hidden, mask)
    return total


def distill_hidden(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    data: Mapping[str, Dataset],
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    loss: Callable[[Any, Any, Tensor, Tensor], Tensor] = triple_loss,
    transfer: Dataset | None = None,
) -> Fitted:
    """Train a copy of `student` on what the teacher answers *and* on its hidden states.

    Unlike `distillation.distill` the teacher runs beside the student, for its hidden states would
    fill the memory; in eval mode and without gradient. Where the student's hidden states are of another
    width, a linear projection to the teacher's is learned, and thrown away afterwards. Lesson 4.

    Args:
        student, teacher: `transformers` classifiers of the same labels; both are left alone.
        data: ``{"train": …}`` with labels and, to choose the epoch, ``"validation"``: tokenised.
        recipe: as for `fit`. An epoch passes over the training part and `transfer`.
        loss: ``loss(student_output, teacher_output, labels, attention_mask) → scalar``. Other weights:
            ``functools.partial(triple_loss, weights=(5, 2, 0))``. It may compare all hidden states;
            only the last is projected, so the others need the teacher's width (lesson 5).
        transfer: more examples, tokenised alike; their labels, if any, are not looked at.

    Raises:
        ValueError: no training part, or `transfer` lacks a column; and what `fit` and `loss` raise.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2}
        >>> teacher = BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=2))
        >>> rows = {"input_ids": [[1, 2]], "attention_mask": [[1, 1]], "labels": [1]}
        >>> train = {"train": Dataset.from_dict(rows)}
        >>> student = student_from_teacher(teacher, [0])
        >>> distill_hidden(student, teacher, train, Recipe(epochs=1, batch_size=1)).epoch
        1
    """
    if "train" not in data:
        raise ValueError(
            f"data has the parts {sorted(data)}; distill_hidden needs one named 'train'."
        )
    train = data["train"]
    if transfer is not None:
        columns = [name for name in train.column_names if name != "labels"]
        missing = sorted(set(columns) - set(transfer.column_names))
        if missing:
            raise ValueError(
                f"transfer lacks the columns {missing} of the training part; tokenise both alike."
            )
        silent = transfer.select_columns(columns)
        silent = silent.add_column("labels", [NO_LABEL] * len(silent)).cast(train.features)
        train = concatenate_datasets([train, silent])
    teacher = copy_of(teacher).eval().requires_grad_(False)  # type: ignore[assignment]
    taught = _Seen(student, teacher.config.hidden_size, recipe.seed)

    def batch_loss(output: Any, batch: Any) -> Tensor:
        teacher.to(batch["labels"].device)
        with torch.no_grad():  # inference_mode's tensors could not stand beside a gradient
            told = forward(teacher, batch | {"output_hidden_states": True})
        return loss(output, told, batch["labels"], batch.get("attention_mask"))

    fitted = fit(taught, {**data, "train": train}, recipe, loss=batch_loss)
    return Fitted(fitted.model.student, fitted.history, fitted.epoch)  # type: ignore[arg-type]


class _Seen(nn.Module):
    """A student that shows its hidden states, its last one in the teacher's width."""

    def __init__(self, student: PreTrainedModel, width: int, seed: int) -> None:
        super().__init__()
        self.student = student
        narrow = student.config.hidden_size
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            projection = nn.Identity() if narrow == width else nn.Linear(narrow, width)
        self.projection = projection.to(student.device, student.dtype)

    def forward(self, **batch: Any) -> Any:
        output = forward(self.student, batch | {"output_hidden_states": True})
        *others, last = output.hidden_states
        output.hidden_states = (*others, self.projection(last))
        return output
