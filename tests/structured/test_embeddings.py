"""Smaller embeddings: the best table of its rank, and fewer positions that answer as before."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers as t
from datasets import Dataset
from torch import nn
from transformer_zoo import SIZES, answer, assert_same, batch_for, letters, tiny

from course_lib.distillation.loop import distill
from course_lib.evaluation.size import footprint
from course_lib.serialization import load, save
from course_lib.structured.dependency import groups
from course_lib.structured.embeddings import factor_embeddings, rank_of, shorten
from course_lib.structured.removal import original_parameters, remove, remove_layers
from course_lib.structured.vocabulary import prune_vocabulary
from course_lib.training.recipe import Recipe

CLASSIFIERS = ["bert", "distilbert", "roberta", "electra", "gpt2-classifier"]
TEXTS = [name for name in CLASSIFIERS if name != "gpt2-classifier"]


def table(model: Any) -> torch.Tensor:
    """The embedding of every word, ``[words, width]``."""
    embeddings = model.get_input_embeddings()
    return embeddings(torch.arange(embeddings.num_embeddings)).detach()


# --- factored embeddings ------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_no_table_of_that_rank_is_closer(name):
    """The error is what the singular values left out add up to (Eckart & Young 1936)."""
    model = tiny(name)
    values = torch.linalg.svdvals(table(model))
    for rank in (1, 3, 7):
        small = factor_embeddings(model, rank)
        error = (table(small) - table(model)).norm()
        assert error == pytest.approx(values[rank:].square().sum().sqrt().item(), rel=1e-4)
        assert rank_of(small) == rank


def test_rows_keep_their_lengths_and_the_matrix_only_turns():
    small: Any = factor_embeddings(tiny("bert"), 5).get_input_embeddings()
    turned = small.widen.weight.T @ small.widen.weight
    torch.testing.assert_close(turned, torch.eye(5))
    words = torch.arange(40)
    torch.testing.assert_close(small(words).norm(dim=-1), small.weight.norm(dim=-1))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_model_is_smaller_and_otherwise_the_same(name):
    model = tiny(name).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    seeded = torch.get_rng_state()
    small = factor_embeddings(model, 4)
    assert torch.equal(torch.get_rng_state(), seeded)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    width = table(model).shape[1]
    cut = 40 * width - 4 * (40 + width)
    count = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in small.parameters()) == count - cut
    assert original_parameters(small) == count
    assert all(module.training for module in small.modules())
    assert type(small) is type(model)
    assert torch.isfinite(answer(small.eval(), batch_for(small))).all()
    share = footprint(small).embedding_share
    assert 0 < share < footprint(model).embedding_share


def test_a_frozen_table_stays_frozen_and_padding_stays_zero():
    model: Any = tiny("bert")
    embeddings = model.get_input_embeddings()
    embeddings.weight.requires_grad_(False)[0] = 0
    small: Any = factor_embeddings(model, 4).get_input_embeddings()
    assert not any(p.requires_grad for p in small.parameters())
    assert small.padding_idx == embeddings.padding_idx == 0
    assert small(torch.tensor([0])).abs().max() < 1e-6


def test_types_of_numbers_are_kept():
    small = factor_embeddings(tiny("bert", torch.bfloat16), 4)
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", TEXTS)
def test_the_vocabulary_is_pruned_before_or_after(name):
    model, words = tiny(name), range(10, 30)
    after, tokenizer = prune_vocabulary(factor_embeddings(model, 6), letters(), words)
    before, _ = prune_vocabulary(model, letters(), words)
    assert torch.equal(table(after), table(factor_embeddings(model, 6))[after.vocabulary])
    assert rank_of(after) == rank_of(factor_embeddings(before, 6)) == 6
    assert len(table(after)) == len(tokenizer) == after.config.vocab_size
    assert factor_embeddings(before, 6).vocabulary == after.vocabulary


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_it_is_saved_and_loaded_with_all_else_that_was_removed(name, tmp_path):
    model = tiny(name)
    small = remove(model, {g: [0, 2] for g in groups(model)})
    small = factor_embeddings(remove_layers(small, [0, 2]), 5)  # type: ignore[arg-type]
    again = load(save(small, tmp_path / "small"))
    assert_same(again, small)
    batch = batch_for(small)
    assert torch.equal(answer(again, batch), answer(small, batch))
    assert original_parameters(again) == original_parameters(model)
    assert_same(remove_layers(again, [0]), remove_layers(small, [0]))  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", [0, -1, 6, 10**12, 2**63, True, "5", [5]])
def test_a_folder_with_another_rank_is_refused(rank, tmp_path):
    folder = save(factor_embeddings(tiny("bert"), 5), tmp_path / "small")
    note = json.loads((folder / "compressed.json").read_text())
    assert note["embedding_rank"] == 5
    (folder / "compressed.json").write_text(json.dumps(note | {"embedding_rank": rank}))
    with pytest.raises(ValueError, match=r"compressed.json|does not fit"):
        load(folder)


def test_a_folder_written_before_there_were_ranks_is_read(tmp_path):
    folder = save(tiny("bert"), tmp_path / "small")
    note = json.loads((folder / "compressed.json").read_text())
    del note["embedding_rank"]
    (folder / "compressed.json").write_text(json.dumps(note))
    assert_same(load(folder), tiny("bert"))


def test_a_teacher_teaches_both_its_parts():
    student = factor_embeddings(tiny("bert"), 6)
    torch.manual_seed(0)
    ids = torch.randint(5, 40, (24, 8))
    labels = (ids[:, 1] > 20).long()
    rows = {"input_ids": ids.tolist(), "attention_mask": [[1] * 8] * 24, "labels": labels.tolist()}
    wise = 6.0 * torch.nn.functional.one_hot(labels, 2).float()  # a teacher's logits
    recipe = Recipe(epochs=40, lr=3e-3, batch_size=12)
    taught = distill(student, wise, {"train": Dataset.from_dict(rows)}, recipe)
    assert taught.history[-1]["loss"] < 0.5 * taught.history[0]["loss"]
    parts = (m.get_input_embeddings().parameters() for m in (student, taught.model))  # type: ignore
    assert not any(torch.equal(old, new) for old, new in zip(*parts, strict=True))


@pytest.mark.parametrize(
    ("model", "rank", "error", "words"),
    [
        ("bert", 0, ValueError, "a rank of 0; 40 words of 24 numbers .* with 1 to 14"),
        ("bert", 15, ValueError, "a rank of 15"),
        ("vit", 4, ValueError, "ViTForImageClassification reads no text"),
        ("bert-mlm", 4, ValueError, "predicts words with the table"),
        ("gpt2", 4, ValueError, "predicts words with the table"),
    ],
)
def test_what_cannot_be_factored_is_refused(model, rank, error, words):
    with pytest.raises(error, match=words):
        factor_embeddings(tiny(model), rank)


def test_once_is_enough_and_other_modules_are_refused():
    with pytest.raises(ValueError, match="factored already, to rank 4"):
        factor_embeddings(factor_embeddings(tiny("bert"), 4), 2)
    for function in (factor_embeddings, shorten):
        with pytest.raises(TypeError, match="Got a Linear; expected a transformers model"):
            function(nn.Linear(2, 2), 4)  # type: ignore[arg-type]
    assert rank_of(tiny("bert")) is rank_of(nn.Linear(2, 2)) is None


# --- positions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_fit_get_the_same_answer(name, tmp_path):
    model = tiny(name)
    small = shorten(model, 9)
    batch = batch_for(model)  # nine tokens long
    assert torch.equal(answer(small, batch), answer(model, batch))
    offset = 1 + SIZES.get("pad_token_id", 1) if name == "roberta" else 0
    gone = 32 - offset - 9
    width = table(model).shape[1]
    assert model.num_parameters() - small.num_parameters() == gone * width
    assert original_parameters(small) == model.num_parameters()
    again: Any = load(save(small, tmp_path / "short"))
    assert torch.equal(answer(again, batch), answer(small, batch))
    assert again.config.max_position_embeddings == 9 + offset
    assert (
        type(model).from_pretrained(tmp_path / "short").num_parameters() == small.num_parameters()
    )
    longer = {key: value.repeat(1, 2)[:, :10] for key, value in batch.items()}
    longer["attention_mask"][:] = 1
    longer["input_ids"][:] = 7
    with pytest.raises((RuntimeError, IndexError)):
        small(**longer)


@pytest.mark.parametrize(
    ("name", "positions", "words"),
    [
        ("bert", 33, "Got 33 positions; the model has 32"),
        ("bert", 0, "Got 0 positions"),
        ("roberta", 31, "Got 31 positions; the model has 30"),
        ("vit", 2, "ViTForImageClassification has no table of positions"),
        ("gpt2-classifier", 9, "has no table of positions"),
    ],
)
def test_what_cannot_be_shortened_is_refused(name, positions, words):
    with pytest.raises(ValueError, match=words):
        shorten(tiny(name), positions)


def test_shorter_narrower_and_fewer_words_together():
    model = tiny("bert")
    small: Any = shorten(factor_embeddings(model, 6), 16)
    assert isinstance(small, t.BertForSequenceClassification)
    batch = batch_for(model)
    torch.testing.assert_close(answer(small, batch), answer(factor_embeddings(model, 6), batch))
