"""A person moves the amount slider of lesson 2."""

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

LESSON = Path(__file__).parents[2] / "notebooks" / "02_structured_pruning.ipynb"

pytestmark = pytest.mark.browser


@pytest.mark.timeout(900)
def test_the_slider_of_lesson_2(lab, page, tmp_path):
    copy_notebook(nbformat.read(LESSON, as_version=4), lab.folder / LESSON.name)
    open_notebook(page, lab, LESSON.name)
    run_all(page, seconds=600)

    slider = find_slider(page, "amount")
    before = look(slider, ("amount",))
    assert before["amount"].startswith("<svg") and "as cut" in before["amount"]
    press(slider, "ArrowRight", 1)
    after = wait_for_change(slider, before)
    assert "90% of the parameters removed" in after["amount"]
    page.screenshot(path=tmp_path / "amount_slider.png")
