"""Smaller embeddings: a narrow table and one matrix behind it, and fewer positions."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from course_lib.structured.removal import record_original_size


class FactoredEmbedding(nn.Embedding):
    """An embedding table ``[words, rank]``, and a matrix ``widen`` that makes its rows wide.

    Ids ``[n, length]`` → embeddings ``[n, length, width]``; `padding_idx` is that of `nn.Embedding`.
    Lan et al. 2020 (*ALBERT*), section 3.1. Explained in lesson 5.

    Example:
        >>> FactoredEmbedding(words=9, rank=2, width=6)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 6])
    """

    def __init__(self, words: int, rank: int, width: int, padding_idx: int | None = None) -> None:
        super().__init__(words, rank, padding_idx)
        self.widen = nn.Linear(rank, width, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return self.widen(super().forward(input))


def factor_embeddings(model: PreTrainedModel, rank: int) -> PreTrainedModel:
    """A copy whose word embeddings ``[words, width]`` are ``[words, rank]`` times ``[rank, width]``.

    It starts from the singular value decomposition, because no other table of that rank is closer to
    the old one (Eckart & Young 1936). Train it afterward, for example with a teacher. The idea is
    from Lan et al. 2020 (*ALBERT*), section 3.1. Explained in lesson 5.

    Args:
        model: a `transformers` model that reads text; it is left alone.
        rank: numbers that are stored for each word.

    Raises:
        TypeError: not a `transformers` model.
        ValueError: it reads no text, predicts words with the same table, or is factored already; a
            rank with which it would not become smaller.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"vocab_size": 90, "hidden_size": 8, "num_attention_heads": 2}
        >>> model = factor_embeddings(BertModel(BertConfig(**sizes)), rank=4)
        >>> model.get_input_embeddings()
        FactoredEmbedding(
          90, 4, padding_idx=0
          (widen): Linear(in_features=4, out_features=8, bias=False)
        )
    """
    old = _table(model)
    words, width = old.weight.shape
    if rank < 1 or rank * (words + width) >= words * width:
        raise ValueError(
            f"Got a rank of {rank}; {words:,} words of {width} numbers become smaller with "
            f"1 to {(words * width - 1) // (words + width)}."
        )
    new = _empty_like(old, rank)
    left, sizes, right = torch.linalg.svd(old.weight.detach().float(), full_matrices=False)
    with torch.no_grad():
        # `widen` only rotates. Rows keep their lengths, so learning rates and int8 scales still fit.
        new.weight.copy_(left[:, :rank] * sizes[:rank])
        new.widen.weight.copy_(right[:rank].T)
    new.requires_grad_(old.weight.requires_grad)
    return record_original_size(copy.deepcopy(model, {id(old): new.train(old.training)}), model)


def rank_of(model: nn.Module) -> int | None:
    """The rank of a model's word embeddings; None where they are one table.

    Example:
        >>> rank_of(nn.Linear(2, 2)) is None
        True
    """
    if not isinstance(model, PreTrainedModel):
        return None
    tables = (module for module in model.modules() if isinstance(module, FactoredEmbedding))
    return next((table.embedding_dim for table in tables), None)


def narrow_embeddings_(model: PreTrainedModel, rank: int) -> None:
    """Make room for factored word embeddings whose weights come from a file."""
    model.set_input_embeddings(_empty_like(_table(model), rank))


def shorten(model: PreTrainedModel, positions: int) -> PreTrainedModel:
    """A copy that keeps only the embeddings of the first `positions` tokens of a text.

    Texts that fit get the same logits as before. Longer ones are an error, so have the tokenizer cut
    them. Explained in lesson 5.

    Args:
        model: of the BERT family, with learned positions; it is left alone.
        positions: the longest text, in tokens.

    Raises:
        TypeError: not a `transformers` model.
        ValueError: a model without such a table, or more positions than it has.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"vocab_size": 90, "hidden_size": 8, "num_attention_heads": 2}
        >>> shorten(BertModel(BertConfig(**sizes)), 64).config.max_position_embeddings
        64
    """
    _check(model)
    tables = (m for n, m in model.named_modules() if n.endswith("embeddings.position_embeddings"))
    old = next(tables, None)
    if not isinstance(old, nn.Embedding):
        raise ValueError(f"{type(model).__name__} has no table of positions to shorten.")
    # RoBERTa counts from the place behind its padding id.
    first = 0 if old.padding_idx is None else old.padding_idx + 1
    if not 1 <= positions <= old.num_embeddings - first:
        raise ValueError(
            f"Got {positions} positions; the model has {old.num_embeddings - first} to choose from."
        )
    rows = first + positions
    fewer = nn.Parameter(old.weight.detach()[:rows].clone(), old.weight.requires_grad)
    result: Any = copy.deepcopy(model, {id(old.weight): fewer})
    for module in result.modules():
        if getattr(module, "weight", None) is fewer:
            module.num_embeddings = rows
        for name in ("position_ids", "token_type_ids"):  # [1, positions], made from the config
            if isinstance(buffer := getattr(module, name, None), Tensor):
                setattr(module, name, buffer[:, :rows].clone())
    result.config.max_position_embeddings = rows
    return record_original_size(result, model)


def _check(model: nn.Module) -> None:
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"Got a {type(model).__name__}; expected a transformers model that reads text."
        )


def _table(model: Any) -> nn.Embedding:
    """The word embeddings, if they can be factored."""
    _check(model)
    table, kind = model.get_input_embeddings(), type(model).__name__
    if not isinstance(table, nn.Embedding):
        raise ValueError(f"{kind} reads no text: it has no embeddings to factor.")
    if isinstance(table, FactoredEmbedding):
        raise ValueError(
            f"The embeddings are factored already, to rank {table.embedding_dim}. Start from the "
            "model before that."
        )
    if model.get_output_embeddings() is not None:
        raise ValueError(
            f"{kind} predicts words with the table that it reads them with; factor the embeddings "
            "of a classifier."
        )
    return table


def _empty_like(table: nn.Embedding, rank: int) -> FactoredEmbedding:
    words, width = table.weight.shape
    with torch.random.fork_rng():  # its first weights are thrown away
        new = FactoredEmbedding(words, rank, width, table.padding_idx)
    return new.to(table.weight.device, table.weight.dtype)
