"""A person moves the sliders of lesson 4, and writes a sentence."""

from pathlib import Path

import pytest
from labdriver import find_slider, look, press, run_lesson, wait_for_change

LESSON = Path(__file__).parents[2] / "notebooks" / "04_distilbert.ipynb"

pytestmark = pytest.mark.browser


@pytest.mark.timeout(900)
def test_the_sliders_and_the_sentence_of_lesson_4(lab, page, tmp_path):
    run_lesson(page, lab, LESSON, "attention_explorer(", "answers_explorer(")

    head = find_slider(page, "head")
    before = look(head, ("attention",))
    assert "teacher, layer 5, head 1" in before["attention"]
    press(head, "ArrowRight", 1)
    after = wait_for_change(head, before)
    assert "teacher, layer 5, head 2" in after["attention"]
    page.screenshot(path=tmp_path / "attention_slider.png")

    layer = find_slider(page, "layer")
    before = look(layer, ("attention",))
    press(layer, "ArrowLeft", 1)
    after = wait_for_change(layer, before)
    assert "teacher, layer 3, head 2" in after["attention"]
    assert "student, layer 2, head 2" in after["attention"]

    answers = page.locator(".course-answers")
    line = page.get_by_label("sentence")
    line.fill("What a dreadful, boring mess.")
    line.press("Enter")
    answers.get_by_label("Answers to: What a dreadful, boring mess.").wait_for()
    assert "agree" in answers.inner_text()
    page.screenshot(path=tmp_path / "answers.png")
