"""A person moves the sliders of lesson 3: temperature, then T over the grid of students."""

from pathlib import Path

import pytest
from labdriver import find_slider, look, press, run_lesson, wait_for_change

LESSON = Path(__file__).parents[2] / "notebooks" / "03_distillation_loss.ipynb"

pytestmark = pytest.mark.browser


@pytest.mark.timeout(900)
def test_the_sliders_of_lesson_3(lab, page, tmp_path):
    run_lesson(page, lab, LESSON, "temperature_explorer(", "grid_explorer(")

    slider = find_slider(page, "temperature")
    cold = look(slider, ("readout", "temperature"))
    assert "T = 1:" in cold["readout"] and cold["temperature"].startswith("<svg")
    press(slider, "ArrowRight", 6)
    warm = wait_for_change(slider, cold)
    assert "T = 4:" in warm["readout"]
    page.screenshot(path=tmp_path / "temperature_slider.png")

    slider = find_slider(page, "T")
    before = look(slider, ("grid",))
    press(slider, "ArrowLeft", 1)
    wait_for_change(slider, before)
    page.screenshot(path=tmp_path / "grid_slider.png")
