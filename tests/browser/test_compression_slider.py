"""A person moves the sliders of lesson 5, and asks the chooser."""

from pathlib import Path

import pytest
from labdriver import find_slider, look, press, run_lesson, wait_for_change

LESSON = Path(__file__).parents[2] / "notebooks" / "05_combined_compression.ipynb"

pytestmark = pytest.mark.browser


@pytest.mark.timeout(900)
def test_the_sliders_and_the_chooser_of_lesson_5(lab, page, tmp_path):
    run_lesson(page, lab, LESSON, "compression_explorer(", "explorer.chooser(")

    slider = find_slider(page, "bits")
    before = look(slider, ("compression",))
    assert before["compression"].startswith("<svg") and "32 bits" in before["compression"]
    press(slider, "ArrowLeft", 1)
    after = wait_for_change(slider, before)
    assert " 8 bits" in after["compression"]
    page.screenshot(path=tmp_path / "compression_slider.png")

    advice = page.locator(".course-advice")
    assert "Try first: the stack" in advice.inner_text()
    page.get_by_label("data").select_option("none")
    page.locator(".course-advice", has_text="Try first: int8").wait_for()
