"""The small students: what their vocabulary keeps, and that padding makes no difference."""

from __future__ import annotations

import pytest
import torch
from bag_of_embeddings import BagOfEmbeddings
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformer_zoo import tiny

from course_lib.batching import collate
from course_lib.datasets.tokenization import tokenize, tokens_seen
from course_lib.evaluation.prediction import evaluate
from course_lib.models.encoders import load_tokenizer
from course_lib.models.networks import build
from course_lib.models.text_classifiers import SmallVocabulary, TextCNN
from course_lib.modules import forward, logits_of
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe

TOKENS = torch.tensor([0, 5, 7, 9, 101, 102])
STUDENTS = [TextCNN, BagOfEmbeddings]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def test_the_small_vocabulary_keeps_its_tokens_apart_and_all_others_together():
    words = SmallVocabulary(TOKENS, width=4)
    # Rows 0 and 1 are padding and unknown; 5, 7, 9, 101 and 102 have one each.
    assert words.embedding.weight.shape == (7, 4)
    out = words(torch.tensor([5, 7, 9, 101, 102, 0, 6, 8, 103, 30521]))
    assert len(out.unique(dim=0)) == 7
    assert torch.equal(out[5], torch.zeros(4))
    assert all(torch.equal(out[6], unknown) for unknown in out[7:])


@pytest.mark.parametrize("student", STUDENTS)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    more=st.integers(0, 6),
    seed=st.integers(0, 9),
)
def test_padding_makes_no_difference(student, lengths, more, seed):
    model = build(lambda: student(TOKENS, width=6), seed).eval()
    generator = torch.Generator().manual_seed(seed)
    rows = [TOKENS[torch.randint(1, 6, (n,), generator=generator)] for n in lengths]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = (ids != 0).long()
    longer = [torch.nn.functional.pad(t, (0, more)) for t in (ids, mask)]
    one_by_one = torch.cat([model(row.unsqueeze(0)) for row in rows])
    torch.testing.assert_close(model(ids, mask), one_by_one)
    torch.testing.assert_close(model(*longer), one_by_one)
    torch.testing.assert_close(model(longer[0]), one_by_one)
    # What stands under a 0 of the mask is not looked at.
    torch.testing.assert_close(model(ids.masked_fill(mask == 0, 7), mask), one_by_one)


@pytest.mark.parametrize("student", STUDENTS)
def test_a_text_of_padding_alone_gives_finite_numbers(student):
    model = student(TOKENS)
    out = model(torch.zeros(2, 3, dtype=torch.long))
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_order_matters_to_the_cnn_alone():
    ids = torch.tensor([[5, 7, 9]])
    for student, looks in ((TextCNN, True), (BagOfEmbeddings, False)):
        model = build(lambda student=student: student(TOKENS), 0).eval()
        assert torch.allclose(model(ids), model(ids.flip(1)), atol=1e-6) is not looks


@pytest.mark.parametrize("student", STUDENTS)
def test_the_same_batch_feeds_teacher_and_student(student, tokenizer):
    rows = Dataset.from_dict({"text": ["A good film.", "No!"], "label": [1, 0]})
    ready = tokenize(rows, tokenizer)
    batch = collate([{**ready[i], "token_type_ids": [0] * 4} for i in (1, 1)])
    model = student(tokens_seen(ready, at_least=1), num_labels=3)
    assert forward(model, batch).shape == (2, 3)
    batch["input_ids"] = batch["input_ids"] % 40  # words of the tiny teacher
    assert logits_of(forward(tiny("bert"), batch)).shape == (2, 2)


@pytest.mark.parametrize("student", STUDENTS)
def test_a_student_learns_and_is_stored_whole(student, tokenizer):
    good = [f"A {word} film." for word in ("good", "great", "fine", "lovely")]
    bad = [f"A {word} film." for word in ("bad", "dull", "silly", "poor")]
    rows = Dataset.from_dict({"text": good + bad, "label": [1] * 4 + [0] * 4})
    ready = tokenize(rows, tokenizer)
    tokens = tokens_seen(ready, at_least=1)
    fresh = build(lambda: student(tokens), 0)
    model = fit(fresh, {"train": ready}, Recipe(epochs=30, lr=1e-2, batch_size=8)).model
    assert evaluate(model, ready).correct == 8
    copy = student(tokens)
    copy.load_state_dict(model.state_dict())
    batch = collate([ready[0]])
    assert torch.equal(forward(copy.eval(), batch), forward(model, batch))


def test_sizes():
    tokens = torch.arange(1, 8448)
    for student, parameters in ((TextCNN, 590_466), (BagOfEmbeddings, 540_866)):
        assert sum(p.numel() for p in student(tokens).parameters()) == parameters
