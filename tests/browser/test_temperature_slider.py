"""A person moves the sliders of lesson 3: temperature, then T over the grid of students."""

from pathlib import Path

import nbformat
import pytest
from labdriver import (
    copy_notebook,
    find_slider,
    look,
    open_notebook,
    press,
    run_all,
    wait_for_change,
)

LESSON = Path(__file__).parents[2] / "notebooks" / "03_distillation_loss.ipynb"

pytestmark = pytest.mark.browser


@pytest.mark.timeout(900)
def test_the_sliders_of_lesson_3(lab, page, tmp_path):
    copy_notebook(nbformat.read(LESSON, as_version=4), lab.folder / LESSON.name)
    open_notebook(page, lab, LESSON.name)
    run_all(page, seconds=600)

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
