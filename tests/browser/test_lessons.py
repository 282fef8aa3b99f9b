"""A person runs a lesson and moves each of its controls: numbers and picture change."""

import sys
from pathlib import Path

import pytest
from labdriver import find_control, look, output_of, press, run_lesson, wait_for_change

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from tools.notebooks import build

SOURCES = Path(__file__).parents[2] / "notebooks" / "src"
# Lesson → a call in it → the controls that it shows, the keys that move each one, and what the
# readout then says. (In the quick profile lesson 5 rounds to 4 and to 8 bits alone.)
# A menu has its choice in place of keys: JupyterLab takes the arrows for itself.
LESSONS = {
    "01_pruning_basics": {
        "sparsity_explorer(": [("sparsity", ["ArrowLeft"] * 10, "80 % sparsity")],
    },
    "02_structured_pruning": {
        "amount_explorer(": [("parameters left", ["ArrowLeft"], "50 % of the parameters left")],
    },
    "03_distillation_loss": {
        "temperature_explorer(": [
            ("temperature", ["ArrowLeft"] * 8, "T = 16:"),
            ("example", "the unsure one", "T = 16:"),
        ],
    },
    "04_distilbert": {
        "attention_explorer(": [
            ("head", ["ArrowRight"], "teacher, layer 6, head 2"),
            ("layer", ["ArrowLeft"], "student, layer 2, head 2"),
        ],
        "answers_explorer(": [("sentence", ["ControlOrMeta+a", *"dull", "Enter"], "% sure")],
    },
    "05_combined_compression": {
        "compression_explorer(": [
            ("bits", ["ArrowLeft"], " 8 bits"),
            ("zeros", ["ArrowRight"], "50 % zeros"),
            ("tokens", ["ArrowLeft"], "50 % zeros"),
        ],
        "bits_explorer(": [("rounded to", ["ArrowRight"], "8 bits")],
    },
}

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_control_of_the_lesson_moves_number_and_picture(lesson, lab, page, tmp_path):
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    calls = LESSONS[lesson]
    run_lesson(page, lab, build(SOURCES / f"{lesson}.py"), *calls)
    page.locator(".course-chart svg").nth(len(calls) - 1).wait_for()
    for moves in calls.values():
        for name, keys, words in moves:
            control = find_control(page, name)
            before, tall = look(control), output_of(control).bounding_box()["height"]
            assert "chart" in before
            output_of(control).screenshot(path=tmp_path / f"{name} before.png")
            if isinstance(keys, str):
                control.select_option(keys)
            else:
                press(control, *keys)
            assert words in wait_for_change(control, before)["readout"]
            output_of(control).screenshot(path=tmp_path / f"{name} after.png")
            assert output_of(control).bounding_box()["height"] == tall
    assert page.locator(".course-stale").count() == 0
    assert not errors
