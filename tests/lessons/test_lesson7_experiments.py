"""The experiments of lesson 7, on the tiny model."""

import runpy
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "notebooks" / "experiments"


@pytest.fixture(scope="module", params=["lesson7_layers", "lesson7_recovery"])
def found(request):
    """(script, rows): each case run once."""
    script = runpy.run_path(str(FOLDER / f"{request.param}.py"))
    recipe = script["RECIPE"] | script["QUICK"]
    cases = script["cases"](recipe)
    return request.param, [case | script["run"](case, 0, recipe, {}) for case in cases]


def test_every_case_says_the_loss_of_each_review(found):
    name, rows = found
    measured = [row for row in rows if "losses" in row or "validation" in row]
    assert len(measured) == (7 if name == "lesson7_layers" else 6)
    for row in measured:
        losses, tokens = (row["losses"], row["tokens"]) if "losses" in row else (
            row["test"], row["test tokens"])  # fmt: skip
        assert losses.shape == tokens.shape == (3,) and torch.isfinite(losses).all()


def test_the_layers_that_go_are_those_of_the_lowest_score(found):
    name, rows = found
    if name == "lesson7_layers":
        scores = {row["by"]: row["scores"] for row in rows if row["what"] == "ranking"}
        for row in rows:
            if row["what"] == "dropped" and row["by"] in scores:
                lowest = scores[row["by"]].argsort()[: row["layers"]]
                assert row["gone"] == sorted(lowest.tolist())
        (speed,) = [row for row in rows if row["what"] == "speed"]
        assert len(speed["decode"]) == 3 and min(speed["decode"]) > 0


def test_no_layer_is_dropped_from_the_whole_and_training_changes_the_rest(found):
    name, rows = found
    if name == "lesson7_recovery":
        sizes = [row["parameters"] for row in rows]
        assert sizes[0] > sizes[1] == min(sizes) == max(sizes[1:])
        losses = [row["test"] for row in rows]
        assert not any(torch.equal(losses[1], one) for one in (losses[0], *losses[2:]))
