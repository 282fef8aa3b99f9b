"""A person moves the amount slider of lesson 2."""

from pathlib import Path

import pytest
from labdriver import find_slider, look, press, run_lesson, wait_for_change

LESSON = Path(__file__).parents[2] / "notebooks" / "02_structured_pruning.ipynb"

pytestmark = pytest.mark.browser


@pytest.mark.timeout(900)
def test_the_slider_of_lesson_2(lab, page, tmp_path):
    run_lesson(page, lab, LESSON, "amount_explorer(")

    slider = find_slider(page, "amount")
    before = look(slider, ("amount",))
    assert before["amount"].startswith("<svg") and "as cut" in before["amount"]
    press(slider, "ArrowRight", 1)
    after = wait_for_change(slider, before)
    assert "90 % of the parameters removed" in after["amount"]
    page.screenshot(path=tmp_path / "amount_slider.png")
