"""The experiments of lesson 4, tried out on a handful of sentences and a tiny teacher."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from course_lib import evaluation, models, training

FOLDER = Path(__file__).parents[2] / "notebooks" / "experiments"
FEW = {"sentences": 12, "batch_size": 4, "labels": 4}


@pytest.fixture(scope="module")
def reviews():
    return {name: part.select(range(24)) for name, part in models.reviews_tokenized().items()}


@pytest.fixture(scope="module", params=["lesson4_ablation", "lesson4_few_labels"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def script(name, reviews):
    """A script whose teacher and whose MiniLM are BERTs of six narrow layers."""
    script = runpy.run_path(str(FOLDER / f"{name}.py"))

    def tiny(seed=0):
        torch.manual_seed(seed)
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 6}
        config = transformers.BertConfig(**sizes, num_attention_heads=2)
        return transformers.BertForSequenceClassification(config).eval()

    space = script["run"].__globals__
    space["teacher"] = lambda sentences: tiny(7)
    space["models"] = SimpleNamespace(load_encoder=tiny, reviews_tokenized=lambda: reviews)
    return script


def run(script, case, seed, reviews):
    data = {**reviews, "electronics": reviews["validation"]}
    return script["run"](case, seed, script["RECIPE"] | FEW, data)


def test_every_case_trains_and_says_which_answers_are_right(script, reviews):
    for case in script["cases"](script["RECIPE"] | FEW):
        if case["start"] == "TF-IDF":  # learns from the texts themselves
            continue
        found = run(script, case, 0, reviews)
        assert found["test"].shape == (24,) and found["correct"] == int(found["test"].sum())


def test_every_case_has_the_same_steps(script, reviews, monkeypatch):
    seen, real = [], training.fit

    def fit(model, data, recipe, **options):
        seen.append((len(data["train"]), recipe.epochs, recipe.batch_size))
        return real(model, data, recipe, **options)

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr("course_lib.distillation.loop.fit", fit)
    trained = [
        case
        for case in script["cases"](script["RECIPE"] | FEW)
        if case["start"] not in ("TF-IDF", "the teacher itself")
    ]
    for case in trained:
        run(script, case, 0, reviews)
    assert seen == [(12, 1, 4)] * len(trained)


def test_sorting_by_length_changes_no_answer(script, reviews):
    model = script["start"](script["cases"](FEW)[0]["start"], 0, script["RECIPE"] | FEW)
    assert torch.equal(
        script["correct"](model, reviews["test"]), evaluation.correct(model, reviews["test"])
    )


def test_what_a_loss_leaves_out_is_left_out():
    script = runpy.run_path(str(FOLDER / "lesson4_ablation.py"))
    soft, hard, cosine = zip(*script["WEIGHTS"].values(), strict=True)
    assert list(script["WEIGHTS"])[1:] == ["without soft", "without hard", "without cosine"]
    assert (soft, hard, cosine) == ((5, 0, 5, 5), (2, 2, 0, 2), (1, 1, 1, 0))


def test_the_teacher_is_scored_once():
    script = runpy.run_path(str(FOLDER / "lesson4_ablation.py"))
    case = {"start": "the teacher itself", "losses": "no training"}
    assert script["run"](case, 1, script["RECIPE"], {}) == {}
