"""What is made once stays, what it is made from names it, and the teacher and baseline are real."""

from __future__ import annotations

import json

import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import TensorDataset
from transformer_zoo import tiny

from course_lib import cache, datasets, models
from course_lib.datasets import sentences, sources
from course_lib.evaluation.prediction import predict
from course_lib.models import zoo
from course_lib.models.encoders import load_encoder, load_tokenizer
from course_lib.models.networks import build
from course_lib.models.text_classifiers import TextCNN
from course_lib.training.recipe import Recipe

QUICK = Recipe(epochs=1, lr=1e-4, batch_size=32)


class MadeAgainError(Exception):
    """Something was made, though it should have come from the cache."""


def never(*_arguments, **_settings):
    raise MadeAgainError


# --- made_once


def test_it_is_made_once_and_read_afterwards(cache_folder):
    made = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}
    first = models.made_once("thing", {"seed": 1}, lambda: made)
    again = models.made_once("thing", {"seed": 1}, never)
    for tensors in (first, again):
        assert {k: v.tolist() for k, v in tensors.items()} == {
            k: v.tolist() for k, v in made.items()
        }
        assert tensors["b"].dtype == torch.int64


def test_what_it_is_made_from_names_it_and_lies_beside_it(cache_folder):
    models.made_once("thing", {"seed": 1, "lr": 0.1}, lambda: {"a": torch.zeros(1)})
    models.made_once("thing", {"lr": 0.1, "seed": 1}, never)  # the order does not matter
    other = models.made_once("thing", {"seed": 2, "lr": 0.1}, lambda: {"a": torch.ones(1)})
    assert other["a"].item() == 1
    notes = sorted((cache_folder / "zoo").glob("thing-*.json"))
    assert len(notes) == 2
    assert all(json.loads(note.read_text())["lr"] == 0.1 for note in notes)


def test_views_and_shared_tensors_are_stored_whole(cache_folder):
    base = torch.arange(6.0)
    made = {"whole": base, "view": base[::2], "same": base}
    models.made_once("thing", {}, lambda: made)
    again = models.made_once("thing", {}, never)
    assert all(torch.equal(again[name], tensor) for name, tensor in made.items())


# --- cached_logits


def tokenized(*rows: list[int], labels: int = 0) -> Dataset:
    mask = [[1] * len(row) for row in rows]
    columns = {"input_ids": list(rows), "attention_mask": mask, "labels": [labels] * len(rows)}
    return Dataset.from_dict(columns)


def test_logits_are_those_of_predict_and_are_kept(cache_folder, monkeypatch):
    model = build(lambda: TextCNN(torch.tensor([5, 6, 7])), 0)
    data = tokenized([5, 6], [7, 7, 5])
    logits = models.cached_logits(model, data)
    assert torch.equal(logits, predict(model, data))
    monkeypatch.setattr(zoo, "predict", never)
    assert torch.equal(models.cached_logits(model, data), logits)
    # Other labels are the same inputs.
    assert torch.equal(models.cached_logits(model, tokenized([5, 6], [7, 7, 5], labels=1)), logits)


def test_another_model_or_dataset_has_other_logits(cache_folder):
    model = build(lambda: TextCNN(torch.tensor([5, 6, 7])), 0)
    data = tokenized([5, 6], [7, 7, 5])
    logits = models.cached_logits(model, data)
    with torch.no_grad():
        model.classifier.bias.add_(1)
    assert torch.allclose(models.cached_logits(model, data), logits + 1)
    swapped = models.cached_logits(model, tokenized([7, 7, 5], [5, 6]))
    assert torch.allclose(swapped.flip(0), logits + 1, atol=1e-6)


def test_equal_weights_that_compute_something_else_have_other_logits(cache_folder):
    layers = [nn.Linear(2, 3), nn.Linear(3, 2)]
    points = TensorDataset(torch.randn(4, 2), torch.zeros(4).long())
    for between in (nn.ReLU(), nn.Tanh()):
        model = nn.Sequential(layers[0], between, layers[1])
        assert torch.equal(models.cached_logits(model, points), predict(model, points))


@pytest.mark.parametrize("change", [{"hidden_act": "relu"}, {"num_attention_heads": 2}])
def test_another_config_has_other_logits(cache_folder, change):
    model = tiny("bert")
    other = type(model)(type(model.config)(**(model.config.to_dict() | change))).eval()
    other.load_state_dict(model.state_dict())
    data = tokenized([5, 6, 9, 12], [7, 7, 5])
    models.cached_logits(model, data)
    assert torch.equal(models.cached_logits(other, data), predict(other, data))


def test_where_a_model_came_from_does_not_matter(cache_folder, tmp_path, monkeypatch):
    model, data = tiny("bert"), tokenized([5, 6], [7, 7, 5])
    logits = models.cached_logits(model, data)
    model.config._name_or_path, model.config.transformers_version = str(tmp_path), "5.0"
    monkeypatch.setattr(zoo, "predict", never)
    assert torch.equal(models.cached_logits(model, data), logits)
    (note,) = (cache_folder / "zoo").glob("logits-*.json")
    assert str(tmp_path) not in note.read_text()


def test_logits_in_bfloat16(cache_folder):
    points = TensorDataset(torch.randn(4, 2).bfloat16(), torch.zeros(4).long())
    model = nn.Linear(2, 2).bfloat16()
    assert torch.equal(models.cached_logits(model, points), predict(model, points))


def test_fingerprints_are_those_that_stored_results_were_made_with():
    pictures = TensorDataset(torch.arange(6.0).view(2, 3), torch.tensor([0, 1]))
    assert models.fingerprint(pictures) == "0cb4b800635ed444"


def test_a_fingerprint_sees_every_token_and_border():
    prints = {
        models.fingerprint(data)
        for data in (
            tokenized([1, 2], [3]),
            tokenized([1], [2, 3]),
            tokenized([3], [1, 2]),
            tokenized([1, 2], [3], labels=1),
        )
    }
    assert len(prints) == 4


# --- the teacher


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cache that holds what was fetched alone; shared by the tests of the quick teacher."""
    folder = tmp_path_factory.mktemp("cache")
    for key in sources.SOURCES:
        sources.source_folder(key)
    (folder / "sources").symlink_to(cache.cache_dir() / "sources")
    return folder


@pytest.fixture
def own_cache(folder, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(folder))
    return folder


def test_a_quick_teacher_is_trained_once_and_its_embeddings_stay(own_cache, monkeypatch, capsys):
    first = models.teacher(n=64, recipe=QUICK)
    assert "64 reviews" in capsys.readouterr().out
    monkeypatch.setattr(zoo, "fit", never)
    again = models.teacher(n=64, recipe=QUICK)
    assert capsys.readouterr().out == ""
    pretrained = load_encoder().state_dict()
    changed = set()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        if not torch.equal(tensor, pretrained[name]):
            changed.add(name.split(".")[1])
    assert changed == {"encoder", "pooler", "weight", "bias"}  # weight and bias: the classifier's
    assert not again.training
    assert all(parameter.requires_grad for parameter in again.parameters())
    assert not list(own_cache.glob("checkpoints/*"))


def test_the_teacher_is_a_plain_transformers_model(own_cache, tmp_path, monkeypatch):
    from transformers import pipeline

    monkeypatch.setattr(zoo, "fit", never)
    model = models.teacher(n=64, recipe=QUICK)
    answer = pipeline("text-classification", model=model, tokenizer=load_tokenizer(), device="cpu")
    assert answer("A good film.")[0]["label"] in sentences.LABELS
    model.save_pretrained(tmp_path)
    assert torch.equal(load_encoder(str(tmp_path)).classifier.weight, model.classifier.weight)


@pytest.mark.parametrize("change", [{"n": 65}, {"recipe": Recipe(epochs=1, seed=1)}])
def test_other_data_or_another_recipe_is_another_teacher(own_cache, monkeypatch, change):
    monkeypatch.setattr(zoo, "fit", never)
    with pytest.raises(MadeAgainError):
        models.teacher(**({"n": 64, "recipe": QUICK} | change))


def test_teachers_of_other_data_do_not_go_on_from_each_others_checkpoint(own_cache, monkeypatch):
    names = []

    def fit(model, parts, recipe):
        names.append(recipe.checkpoint)
        raise MadeAgainError

    monkeypatch.setattr(zoo, "fit", fit)
    for n in (70, 71, 70):
        with pytest.raises(MadeAgainError):
            models.teacher(n=n, recipe=QUICK)
    assert names[0] == names[2] != names[1]


def test_the_full_teacher_is_good_where_it_is_cached(monkeypatch):
    monkeypatch.setattr(zoo, "fit", never)
    try:
        model = models.teacher()
    except MadeAgainError:
        pytest.skip("the teacher is not in the cache; lesson 3 makes it")
    test = models.reviews_tokenized()["test"]
    right = models.cached_logits(model, test).argmax(-1) == torch.tensor(test["labels"][:])
    assert right.float().mean() >= 0.86


# --- the baseline


def test_the_baseline_is_chosen_on_validation_and_gives_its_answers():
    baseline = models.baseline_tfidf()
    assert 0.78 < baseline.test.value < 0.83
    assert baseline.correct.dtype == torch.bool
    assert len(baseline.correct) == baseline.test.n == 2000
    assert int(baseline.correct.sum()) == baseline.test.correct
    assert baseline.validation.n == 800
    parts = datasets.reviews()
    answers = torch.from_numpy(baseline.pipeline.predict(parts["test"]["text"][:]))
    assert torch.equal(answers == torch.tensor(parts["test"]["label"][:]), baseline.correct)
