"""The experiment of lesson 1, tried out on small numbers."""

import runpy
from pathlib import Path

import pytest

from course_lib import datasets, training
from course_lib.pruning import schedules, sparsity

SCRIPT = Path(__file__).parents[2] / "notebooks" / "experiments" / "lesson1_recovery.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def mnist():
    return {name: datasets.subset(part, 128) for name, part in datasets.mnist().items()}


@pytest.mark.parametrize(
    "way", ["dense, more epochs", "one-shot, no training", "one-shot", "iterative", "gradual"]
)
def test_each_way_has_the_same_epochs_and_its_sparsity(script, mnist, way, monkeypatch):
    """Counted at `fit`: so many passes over the data behind the common start."""
    recipe = script["RECIPE"] | {
        "train_epochs": 0,
        "prune_epochs": 10,
        "final_epochs": 4,
        "rounds": 3,
    }
    script["dense"](0, 0)  # made before counting
    epochs, last, real = [], [], training.fit

    def fit(model, data, recipe, **options):
        epochs.append(recipe.epochs)
        last.append(recipe.select_from_last)
        return real(model, data, recipe, **options)

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(schedules, "fit", fit)
    target = 0.0 if way.startswith("dense") else 0.9
    network = script["train"]({"way": way, "sparsity": target}, 0, recipe, mnist)
    assert sum(epochs) == (0 if way == "one-shot, no training" else 10)
    assert set(last) <= {1}  # the last epoch counts: no way has more to choose from
    assert sparsity(network) == pytest.approx(target, abs=1e-4)


def test_the_last_epochs_are_spent_at_the_final_sparsity(script):
    recipe = script["RECIPE"]
    spare = recipe["prune_epochs"] - recipe["final_epochs"]
    assert recipe["final_epochs"] >= 5
    assert spare % recipe["rounds"] == 0  # else the rounds would lose an epoch
    assert recipe["test_sparsity"] in recipe["sparsities"]


def test_the_test_set_is_used_for_one_row_only(script, mnist):
    recipe = script["RECIPE"] | script["QUICK"] | {"train_epochs": 0, "prune_epochs": 0}
    rows = {
        sparsity: script["run"](
            {"way": "one-shot, no training", "sparsity": sparsity}, 0, recipe, mnist
        )
        for sparsity in (0.9, 0.97)
    }
    assert "test" not in rows[0.9]
    assert rows[0.97]["test"].shape == (128,)


def test_an_unknown_way_is_refused(script, mnist):
    with pytest.raises(ValueError, match="unknown way 'twice'"):
        script["train"](
            {"way": "twice", "sparsity": 0.5}, 0, script["RECIPE"] | {"train_epochs": 0}, mnist
        )
