"""More text without labels, made from the text there is: pieces of sentences, and words replaced."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORTEST = 3  # words in a piece


def neighbours(
    model: nn.Module, tokenizer: Any, tokens: Tensor, nearest: int = 8
) -> dict[str, list[str]]:
    """For each word the words with the most similar embeddings, by their cosine.

    Mind that opposites are neighbours, too: "good" and "bad" stand in the same places. So a sentence
    with a word replaced has no label any more, and only a teacher can say what it means. The idea is
    that of Jiao et al. 2020 (*TinyBERT*), section 3.2. Explained in lesson 5.

    Args:
        model: a `transformers` model; its word embeddings are compared.
        tokenizer: its tokeniser.
        tokens: ids to choose from, as `encoders.tokens_seen` gives them; those that are whole words
            of letters alone count.
        nearest: how many for each word (default 8).

    Raises:
        ValueError: fewer than `nearest` + 1 whole words among the tokens.

    Example:
        >>> from course_lib.encoders import load_encoder, load_tokenizer
        >>> tokenizer = load_tokenizer()
        >>> some = tokenizer.convert_tokens_to_ids(["good", "great", "table", "##ing"])
        >>> neighbours(load_encoder(), tokenizer, torch.tensor(some), nearest=1)["good"]
        ['great']
    """
    words = tokenizer.convert_ids_to_tokens(tokens.tolist())
    whole = [i for i, word in enumerate(words) if word.isalpha()]
    if len(whole) <= nearest:
        raise ValueError(
            f"There are {len(whole)} whole words among {len(tokens)} tokens; {nearest} neighbours for "
            f"each need at least {nearest + 1}. Give more tokens."
        )
    words = [words[i] for i in whole]
    rows: Any = model.get_input_embeddings().weight.detach()[tokens[whole]]  # type: ignore[operator]
    table = F.normalize(rows.float(), dim=-1)  # [words, width]
    near = {}
    for start in range(0, len(words), 500):  # all rows at once would be half a gigabyte
        alike = table[start : start + 500] @ table.T
        alike[:, start:].fill_diagonal_(-torch.inf)  # nobody is their own neighbour
        for word, row in zip(words[start:], alike.topk(nearest).indices.tolist(), strict=False):
            near[word] = [words[i] for i in row]
    return near


def vary(
    texts: Iterable[str], near: Mapping[str, list[str]], share: float = 0.2, seed: int = 0
) -> list[str]:
    """Two variations of each text: a piece of it, and the whole with some words replaced.

    A piece is a random run of 3 words or more, at most 80 % of the text; texts of up to 5 words have
    none. Each word that `near` knows is replaced with probability `share` by one of its neighbours.
    None comes twice. Labels do not carry over: ask a teacher. Explained in lesson 5.

    Args:
        texts: sentences.
        near: as `neighbours` gives it; words in lower case.
        share: of the known words that are replaced (default 0.2).
        seed: the same seed, the same variations.

    Raises:
        ValueError: a share outside [0, 1].

    Example:
        >>> vary(["a good film with a weak end"], {"good": ["fine"], "weak": ["poor"]}, share=1.0)
        ['with a weak end', 'a fine film with a poor end']
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; choose one between 0 and 1.")
    chance = random.Random(seed)
    found = []
    for line in texts:
        words = line.split()
        if len(words) > SHORTEST + 2:
            n = chance.randint(SHORTEST, int(0.8 * len(words)))
            start = chance.randint(0, len(words) - n)
            found.append(" ".join(words[start : start + n]))
        new = [
            chance.choice(near[word.lower()])
            if word.lower() in near and chance.random() < share
            else word
            for word in words
        ]
        if new != words:
            found.append(" ".join(new))
    return list(dict.fromkeys(found))
