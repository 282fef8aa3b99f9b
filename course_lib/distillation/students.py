"""Students made out of their teacher."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from course_lib.structured.dependency import groups
from course_lib.structured.embeddings import rank_of
from course_lib.structured.removal import original_parameters, remove, remove_layers


def student_from_teacher(
    teacher: PreTrainedModel,
    layers: Iterable[int] = (0, 2, 4),
    *,
    fresh: bool = False,
    seed: int = 0,
) -> PreTrainedModel:
    """A student with some of the teacher's layers, its embeddings and its head.

    DistilBERT starts from every other layer (Sanh et al. 2019, § 3). Works for the families of
    `structured.groups`; `structured.prune` makes a narrower student. Explained in lesson 4.

    Args:
        teacher: a `transformers` model; it is left alone.
        layers: which of its layers, counted from 0 (default: every other one of six).
        fresh: the same architecture with new weights instead, as a baseline (default False).
        seed: of the new weights (default 0).

    Raises:
        TypeError, ValueError: as `structured.remove_layers`.
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
            "The teacher's embeddings are factored, and a fresh model's are not. Make the student from "
            "the teacher before it was factored, then call factor_embeddings(student, rank)."
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


# Parts of DistilBERT's names → BERT's.
_BERT_NAMES = {
    "distilbert.": "bert.",
    "transformer.layer": "encoder.layer",
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
    "pre_classifier": "bert.pooler.dense",
    "vocab_transform": "cls.predictions.transform.dense",
    "vocab_layer_norm": "cls.predictions.transform.LayerNorm",
    "vocab_projector": "cls.predictions.decoder",
}


def distilbert_from_bert(
    bert: PreTrainedModel, layers: Iterable[int] | None = None
) -> PreTrainedModel:
    """A `transformers` DistilBERT with the weights of some of a BERT's layers.

    DistilBERT has no segment embeddings, and a ReLU where BERT's pooler has a tanh, so train it before
    you use it. Sanh et al. 2019, § 3. Explained in lesson 4.

    Args:
        bert: a `BertForSequenceClassification` or `BertForMaskedLM`; it is left alone.
        layers: which of its layers (default: every other one, from 0).

    Returns:
        A `DistilBertForSequenceClassification` or `DistilBertForMaskedLM`, in the mode of `bert`.

    Raises:
        TypeError: another model.
        ValueError: heads or units are pruned, or embeddings factored, which DistilBERT's config cannot
            express; and what `structured.remove_layers` raises.

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
    _check_plain(bert)
    every_other = range(0, bert.config.num_hidden_layers, 2)
    short = remove_layers(bert, every_other if layers is None else layers)
    with torch.random.fork_rng():
        student: Any = kinds[type(bert)](_distilbert_config(short.config))
    tensors = short.state_dict()
    student.load_state_dict({name: tensors[_bert_name(name)] for name in student.state_dict()})
    return student.to(bert.device, bert.dtype).train(bert.training)


def _check_plain(bert: PreTrainedModel) -> None:
    widths = {bert.config.num_attention_heads, bert.config.intermediate_size}
    if rank_of(bert) or any(group.units not in widths for group in groups(bert).values()):
        raise ValueError(
            "DistilBERT's config has one number of heads and of units for all layers, and no field for "
            "factored embeddings. Make the DistilBERT first, then prune it and factor its embeddings."
        )


def _distilbert_config(bert: Any) -> transformers.DistilBertConfig:
    same = ["vocab_size", "max_position_embeddings", "initializer_range", "pad_token_id"]
    same += ["problem_type", "tie_word_embeddings", "id2label", "label2id"]
    dropout = bert.hidden_dropout_prob
    return transformers.DistilBertConfig(
        n_layers=bert.num_hidden_layers,
        n_heads=bert.num_attention_heads,
        dim=bert.hidden_size,
        hidden_dim=bert.intermediate_size,
        dropout=dropout,
        attention_dropout=bert.attention_probs_dropout_prob,
        activation=bert.hidden_act,
        seq_classif_dropout=dropout if bert.classifier_dropout is None else bert.classifier_dropout,
        **{name: getattr(bert, name) for name in same},
    )


def _bert_name(name: str) -> str:
    """The BERT tensor that becomes this tensor of a DistilBERT."""
    for part, bert_part in _BERT_NAMES.items():
        name = name.replace(part, bert_part)
    return name
