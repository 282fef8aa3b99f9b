"""More text without labels."""

import pytest
import torch
from torch import nn
from transformer_zoo import tiny

from course_lib.datasets.augmentation import augment, neighbors
from course_lib.models.encoders import load_encoder, load_tokenizer

TEXT = [f"this is sentence number {i} and it is not a short one at all" for i in range(200)]


def test_a_piece_is_a_run_of_the_text():
    pieces = augment(TEXT, {})
    assert len(pieces) > 50  # "it is not a" is a piece of each
    for piece in pieces:
        assert any(f" {piece} " in f" {line} " for line in TEXT)
        assert 3 <= len(piece.split()) <= 11  # 80 % of 14


def test_a_short_text_has_no_piece_and_without_known_words_no_variation():
    assert augment(["five words are too few"], {}) == []
    assert len(augment(["six words are enough for one"], {})) == 1


def test_the_share_of_words_that_is_replaced():
    near = {"sentence": ["line"], "short": ["long", "brief"], "one": ["few"]}
    whole = [line for line in augment(TEXT, near, share=0.5) if len(line.split()) == 14]
    changed = sum("sentence" not in line for line in whole) / len(TEXT)
    assert 0.4 < changed < 0.6
    assert {line.split()[10] for line in whole} == {"short", "long", "brief"}
    everywhere = [line for line in augment(TEXT, near, share=1.0) if len(line.split()) == 14]
    assert len(everywhere) == len(TEXT)
    assert all("line number" in line and "not a short" not in line for line in everywhere)


def test_capitals_are_looked_up_in_lower_case():
    assert "fine film" in augment(["Good film"], {"good": ["fine"]}, share=1.0)


def test_the_same_seed_gives_the_same_and_none_comes_twice():
    near = {"short": ["long"]}
    assert augment(TEXT, near, seed=3) == augment(TEXT, near, seed=3) != augment(TEXT, near, seed=4)
    assert len(augment(TEXT * 5, near)) == len(set(augment(TEXT * 5, near)))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(ValueError, match=f"share is {share}; choose one between 0 and 1"):
        augment(TEXT, {}, share=share)


def test_neighbors_are_whole_words_and_never_the_word_itself():
    tokenizer = load_tokenizer()
    words = ["good", "great", "bad", "table", "##ing", "!", "[CLS]"]
    near = neighbors(
        load_encoder(), tokenizer, torch.tensor(tokenizer.convert_tokens_to_ids(words)), 2
    )
    assert set(near) == {"good", "great", "bad", "table"}
    assert all(word not in row and len(set(row)) == 2 for word, row in near.items())
    assert "table" not in near["good"]
    assert "bad" in near["good"]  # opposites stand in the same places


def test_too_few_words_are_refused():
    class Letters:
        def convert_ids_to_tokens(self, ids):
            return ["good", "##s", "bad"]

    with pytest.raises(
        ValueError, match=r"2 whole words among 3 tokens; 8 neighbors .* at least 9"
    ):
        neighbors(tiny("bert"), Letters(), torch.tensor([1, 2, 3]))


@pytest.mark.parametrize("mark", ["Ġ", "▁"])
def test_a_byte_level_word_loses_the_mark_of_its_space(mark):
    class Words:
        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [[mark + "good", mark + "fine", "ness", mark + "bad", "!"][i] for i in ids]

    class Model(nn.Module):
        def get_input_embeddings(self) -> nn.Embedding:
            return nn.Embedding(5, 4)

    near = neighbors(Model(), Words(), torch.arange(5), nearest=2)
    assert set(near) == {"good", "fine", "bad"}  # "ness" goes on with a word
    assert set(near["good"]) == {"fine", "bad"}
