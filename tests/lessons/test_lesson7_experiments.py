"""The experiments of lesson 7, on the tiny model."""

import runpy
from pathlib import Path

import pytest
import torch

from course_lib.lessons import plots, tables
from course_lib.lessons.experiments import Results

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
    measured = [row for row in rows if "losses" in row]
    assert len(measured) == (7 if name == "lesson7_layers" else 4)
    for row in measured:
        assert row["losses"].shape[-1] == len(row["tokens"]) == 3
        assert torch.isfinite(row["losses"]).all()


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
        ways = {row["way"]: row for row in rows}
        sizes = {way: row["parameters"] for way, row in ways.items()}
        assert sizes.pop("whole") > min(sizes.values()) == max(sizes.values())
        assert ways["as cut"]["after"] == ways["whole"]["after"] == [0]
        for way in ("distilled", "fine-tuned"):
            assert ways[way]["after"] == [2, 4]
            together = torch.cat([ways["as cut"]["losses"], ways[way]["losses"]])
            assert together.shape == (3, 3) and len(together.unique(dim=0)) == 3


def test_what_the_recovery_stores_becomes_the_lessons_figure(found):
    name, rows = found
    if name == "lesson7_recovery":
        stored = Results(name, rows, {}, 1, "2026-11-30", "a CPU", 1.0, {})
        curves = tables.recovery(stored)
        assert curves.keys() == {"distilled", "fine-tuned"}
        for steps, shares in curves.values():
            assert steps == [0, 2, 4] and shares[0].value == 0 and len(shares) == 3
        drawing = plots.recovery(curves, title="Is it back?")
        assert [text.get_text() for text in drawing.figure.axes[0].get_xticklabels()] == list("024")
        assert "after 4 steps" in drawing.alt
