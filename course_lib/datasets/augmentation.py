"""Augmentation: new unlabeled texts from existing ones, as pieces of them and with words replaced."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORTEST = 3  # words in a piece
MARKS = "Ġ", "▁"  # the space before a word, in byte-level BPE and in SentencePiece


def neighbors(
    model: nn.Module, tokenizer: Any, tokens: Tensor, nearest: int = 8
) -> dict[str, list[str]]:
    """For each word, the words with the most similar embeddings by cosine.

    Opposites are neighbors too, because "good" and "bad" occur in the same places. So a sentence with a
    replaced word has lost its label, and a teacher has to label it. The idea is from Jiao et al. 2020
    (*TinyBERT*), section 3.2. Explained in lesson 5.

    Args:
        model: a `transformers` model, whose word embeddings are compared.
        tokenizer: its tokenizer.
        tokens: ids to choose from, as `datasets.tokens_seen` gives them. Only whole words made of
            letters count.
        nearest: how many neighbors each word gets (default 8).

    Raises:
        ValueError: fewer than `nearest` + 1 whole words among the tokens.

    Example:
        >>> from course_lib.models.encoders import load_encoder, load_tokenizer
        >>> tokenizer = load_tokenizer()
        >>> some = tokenizer.convert_tokens_to_ids(["good", "great", "table", "##ing"])
        >>> neighbors(load_encoder(), tokenizer, torch.tensor(some), nearest=1)["good"]
        ['great']
    """
    words = tokenizer.convert_ids_to_tokens(tokens.tolist())
    if any(
        word[:1] in MARKS for word in words
    ):  # there a token without the mark goes on with a word
        words = [word[1:] if word[:1] in MARKS else "" for word in words]
    whole = [i for i, word in enumerate(words) if word.isalpha()]
    if len(whole) <= nearest:
        raise ValueError(
            f"There are {len(whole)} whole words among {len(tokens)} tokens; {nearest} neighbors for "
            f"each need at least {nearest + 1}. Give more tokens."
        )
    words = [words[i] for i in whole]
    rows: Any = model.get_input_embeddings().weight.detach()[tokens[whole]]  # type: ignore[operator]
    table = F.normalize(rows.float(), dim=-1)  # [words, width]
    near = {}
    for start in range(0, len(words), 500):  # all rows at once would be half a gigabyte
        alike = table[start : start + 500] @ table.T
        alike[:, start:].fill_diagonal_(-torch.inf)  # no word is its own neighbor
        for word, row in zip(words[start:], alike.topk(nearest).indices.tolist(), strict=False):
            near[word] = [words[i] for i in row]
    return near


def augment(
    texts: Iterable[str], near: Mapping[str, list[str]], share: float = 0.2, seed: int = 0
) -> list[str]:
    """Two variations of each text: a piece of it, and the whole text with some words replaced.

    A piece is a random run of 3 or more words, at most 80 % of the text; texts of up to 5 words have
    none. Each word in `near` is replaced with probability `share` by one of its neighbors. No variation
    comes twice. Labels do not carry over, so have a teacher label them. Explained in lesson 5.

    Args:
        texts: sentences.
        near: as `neighbors` gives it, with words in lower case.
        share: the probability of a replacement (default 0.2).
        seed: the same seed gives the same variations (default 0).

    Raises:
        ValueError: a share outside [0, 1].

    Example:
        >>> augment(["a good film with a weak end"], {"good": ["fine"], "weak": ["poor"]}, share=1.0)
        ['with a weak end', 'a fine film with a poor end']
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; choose one between 0 and 1.")
    rng = random.Random(seed)
    variations = []
    for line in texts:
        words = line.split()
        if len(words) > SHORTEST + 2:
            n = rng.randint(SHORTEST, int(0.8 * len(words)))
            start = rng.randint(0, len(words) - n)
            variations.append(" ".join(words[start : start + n]))
        replaced = [
            rng.choice(near[word.lower()])
            if word.lower() in near and rng.random() < share
            else word
            for word in words
        ]
        if replaced != words:
            variations.append(" ".join(replaced))
    return list(dict.fromkeys(variations))
