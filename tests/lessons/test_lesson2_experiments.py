"""The experiments of lessons 2a and 2b, tried out on small numbers."""

import runpy
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from course_lib import datasets, models, pruning, structured, training
from course_lib.pruning import schedules

FOLDER = Path(__file__).parents[2] / "notebooks" / "experiments"


@pytest.fixture(scope="module")
def granularity():
    return runpy.run_path(str(FOLDER / "lesson2_granularity.py"))


@pytest.fixture
def mnist():
    return {name: datasets.subset(part, 128) for name, part in datasets.mnist().items()}


@pytest.mark.parametrize("units", ["weights", "neurons"])
@pytest.mark.parametrize("score", ["magnitude", "Taylor"])
def test_weights_and_neurons_have_the_same_epochs_and_size(
    granularity, mnist, units, score, monkeypatch
):
    recipe = granularity["RECIPE"] | {"train_epochs": 0, "rounds": 3, "final_epochs": 2}
    recipe |= {"scored_on": 64}  # of the 128 images
    granularity["dense"](0, 0)  # made before counting
    epochs, real = [], training.fit

    def fit(model, data, recipe, **options):
        epochs.append(recipe.epochs)
        assert recipe.select_from_last == 1  # the last epoch counts
        return real(model, data, recipe, **options)

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(schedules, "fit", fit)
    case = {"units": units, "score": score, "left": 0.1}
    network = pruning.make_permanent(granularity["train"](case, 0, recipe, mnist))
    assert epochs == [1, 1, 1, 2]
    nonzero = sum(int(p.count_nonzero()) for p in network.parameters())
    assert 0.095 * 266610 < nonzero <= 0.1 * 266610 + 1
    whole = [network.fc1.out_features, network.fc2.out_features] == [300, 100]
    assert whole == (units == "weights")


def test_a_neurons_score_is_all_that_goes_with_it(granularity):
    network = models.build(models.LeNet300)
    group = structured.groups(network)["fc1"]
    scores = granularity["sum_of_magnitudes"](network, group)
    row, bias = network.fc1.weight[7].abs().sum(), network.fc1.bias[7].abs()
    column = network.fc2.weight[:, 7].abs().sum()
    assert scores.shape == (300,)
    assert scores[7].item() == pytest.approx((row + bias + column).item(), rel=1e-5)


def test_the_numbers_of_weights_and_parameters_are_those_of_lenet(granularity):
    network = models.build(models.LeNet300)
    assert granularity["PARAMETERS"] == sum(p.numel() for p in network.parameters())
    assert granularity["WEIGHTS"] == sum(p.numel() for p in network.parameters() if p.ndim == 2)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=3, num_attention_heads=4, intermediate_size=6
    )
    return BertForSequenceClassification(config).eval()


@pytest.mark.parametrize("units", ["heads", "FFN neurons"])
@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_half_of_the_units_go_from_each_layer_or_from_all_together(small, units, score):
    script = runpy.run_path(str(FOLDER / "lesson2_scores.py"))
    kept_units = script["kept_units"]
    kept_units.__globals__["teacher"] = lambda size: small
    recipe, each = script["RECIPE"], 4 if units == "heads" else 6
    case = {"units": units, "score": score}
    alone = kept_units(case | {"ranked": "each layer by itself"}, 1, recipe)
    assert [len(kept) for kept in alone.values()] == [each // 2] * 3
    together = kept_units(case | {"ranked": "all layers together"}, 1, recipe)
    assert sum(len(kept) for kept in together.values()) == 3 * each // 2
    assert kept_units({"units": "none", "score": "none"}, 0, recipe) == {}


def test_each_case_comes_once_and_both_ways_of_recovery_see_the_same_sentences():
    scores = runpy.run_path(str(FOLDER / "lesson2_scores.py"))
    assert len(scores["cases"](scores["RECIPE"])) == 1 + 2 * 2 * 3
    recovery = runpy.run_path(str(FOLDER / "lesson2_recovery.py"))
    assert [case["way"] for case in recovery["cases"](recovery["RECIPE"])] == [
        "teacher", "as cut", "fine-tuned", "distilled",
    ]  # fmt: skip
    assert recovery["WAYS"] == {"fine-tuned": 0.0, "distilled": 1.0}
