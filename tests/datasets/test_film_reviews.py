"""Film reviews: sentences for a teacher to label, and a fresh test part."""

import re

import pytest
import torch

from course_lib import datasets
from course_lib.datasets import film_reviews, sources
from course_lib.datasets.film_reviews import END, film_sentences, review_tokens, short_reviews


def test_the_sentences_have_no_labels_and_none_comes_twice_or_is_in_a_labeled_part():
    found = film_sentences(5000)
    assert found.column_names == ["text"]
    keys = {datasets.normalized(line) for line in found["text"]}
    assert len(keys) == 5000
    for part in (*datasets.reviews().values(), datasets.amazon_test()):
        assert not keys & {datasets.normalized(line) for line in part["text"]}


def test_fewer_sentences_are_the_first_of_more():
    assert film_sentences(300)["text"][:] == film_sentences(900)["text"][:300]


def test_reviews_are_cut_at_signs_and_lines_and_tags_are_left_out(monkeypatch):
    review = (
        "A film that I saw twice!! It is &quot;so&quot; very good. Bad.<br /><br />The end is what I "
        "liked least of all<br />A FILM that I saw twice. He said: 'Go and see it.' And so I went home."
    )
    monkeypatch.setattr(sources, "imdb_reviews", lambda: [(review, 1)])
    assert film_sentences(5)["text"][:] == [
        "A film that I saw twice!!",
        'It is "so" very good.',
        "The end is what I liked least of all",
        "He said: 'Go and see it.",
        "And so I went home.",
    ]  # not "Bad.", which is too short, and not the first one again


def test_a_sentence_of_the_test_part_is_left_out(monkeypatch):
    held_out = next(
        line
        for line in datasets.reviews()["test"]["text"]
        if 9 < len(line.split()) < 20 and not re.search(r"[.!?]\W", line)
    )
    other = "Nobody wrote this sentence before."
    monkeypatch.setattr(sources, "imdb_reviews", lambda: [(f"{held_out.upper()}<br />{other}", 0)])
    assert film_sentences(1)["text"][:] == [other]


def test_more_sentences_than_there_are_say_how_many_there_are(monkeypatch):
    monkeypatch.setattr(sources, "imdb_reviews", lambda: [("One sentence of five words.", 1)])
    with pytest.raises(ValueError, match=r"n is 1,000; the 1 reviews hold 1 sentences"):
        film_sentences(1000)
    with pytest.raises(ValueError, match="n is 0; ask for one"):
        film_sentences(0)


def test_the_fresh_test_part_shares_no_review_with_the_sentences():
    """Also not where as many sentences are asked for as there are."""
    with pytest.raises(ValueError, match=r"hold [0-9,]+ sentences") as most:
        film_sentences(10**6)
    n = int(re.findall(r"hold ([\d,]+)", str(most.value))[0].replace(",", ""))
    read = {datasets.normalized(line) for line in film_sentences(n)["text"]}
    fresh = short_reviews()
    assert len(fresh) > 1000
    assert 0.3 < sum(fresh["label"]) / len(fresh) < 0.7
    for review in fresh["text"]:
        assert len(review.split()) <= 80 and "<br" not in review
        sentences = [
            datasets.normalized(line) for line in END.split(review) if len(line.split()) > 12
        ]
        assert not read.intersection(sentences), review


def test_a_review_that_comes_twice_counts_once_and_long_ones_are_left_out(monkeypatch):
    """Also where one of the two is cut into sentences: then it is no test."""
    short = [(f"Review number {i} &amp; no more.<br />", i % 2) for i in range(30)]
    monkeypatch.setattr(sources, "imdb_reviews", lambda: [*short, *short, ("word " * 90, 1)])
    found = short_reviews()
    assert 0 < len(set(found["text"])) == len(found) < 20
    assert all(line.endswith("& no more.") for line in found["text"])
    verdicts = {f"Review number {i} & no more.": i % 2 for i in range(30)}
    assert all(verdicts[row["text"]] == row["label"] for row in found)
    with pytest.raises(ValueError, match="No review has at most 2 words"):
        short_reviews(words=2)


# --- running text for a language model --------------------------------------------------------------


def words(text, **_options):
    """A tokenizer whose tokens are the lengths of words."""
    return {"input_ids": [len(word) for word in text.split()]}


def test_each_review_is_cut_to_its_first_tokens_and_short_ones_are_left_out():
    for part in ("train", "validation", "test"):
        found = review_tokens(words, 5, 40, part)
        assert found.shape == (5, 40) and found.dtype == torch.int64
    assert torch.equal(review_tokens(words, 2, 40), review_tokens(words, 5, 40)[:2])


def test_no_review_is_in_two_parts():
    parts = film_reviews._parts()
    keys = [{datasets.normalized(text) for text in texts} for texts in parts.values()]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    assert all(
        len(one) == len(texts) > 8000 for one, texts in zip(keys, parts.values(), strict=True)
    )


def test_another_part_and_too_many_reviews_are_refused():
    with pytest.raises(ValueError, match=r"part is 'dev' and n is 2; expected train, validation"):
        review_tokens(words, 2, 10, "dev")
    with pytest.raises(ValueError, match="n is 0"):
        review_tokens(words, 0)
    with pytest.raises(ValueError, match=r"n is 9,000; \d{2} reviews of 'test' have 900 tokens"):
        review_tokens(words, 9000, 900, "test")
