"""A person opens the lesson, runs it, moves the sparsity slider: number and pictures change."""

from pathlib import Path

import pytest
from labdriver import (
    copy_notebook,
    find_slider,
    look,
    open_notebook,
    press,
    run_all,
    run_lesson,
    wait_for_change,
)
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

LESSON = Path(__file__).parents[2] / "notebooks" / "01_pruning_basics.ipynb"
SAMPLE = """
import io
import ipywidgets
from PIL import Image

slider = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.01, description="sparsity")
readout = ipywidgets.HTML().add_class("course-readout")
histogram = ipywidgets.HTML().add_class("course-histogram")
mask = ipywidgets.Image(width=64).add_class("course-mask")

def show(change):
    readout.value = f"accuracy {1 - slider.value:.2f}"
    width = f"{100 * slider.value:.0f}"
    histogram.value = f"<svg width='100' height='9'><rect width='{width}' height='9'/></svg>"
    picture = io.BytesIO()
    Image.new("L", (8, 8), int(255 * slider.value)).save(picture, "PNG")
    mask.value = picture.getvalue()

show(None)
slider.observe(show, "value")
ipywidgets.VBox([slider, readout, histogram, mask])
"""
FAR = "Cells out of view must count as well.\n\n" * 40

pytestmark = pytest.mark.browser


def write_sample(path: Path, code: str) -> None:
    cells = [new_code_cell("1 + 1"), new_markdown_cell(FAR), new_code_cell(code.strip())]
    cells += [new_markdown_cell(FAR), new_code_cell("2 + 2")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    copy_notebook(new_notebook(cells=cells, metadata=kernel), path)


def test_the_slider_of_lesson_1(lab, page, tmp_path):
    run_lesson(page, lab, LESSON, "sparsity_explorer(")
    slider = find_slider(page, "sparsity")
    first = look(slider)
    assert all(first.values()), f"the lesson should show all three: {first}"
    press(slider, "ArrowRight", 30)
    second = wait_for_change(slider, first)
    page.screenshot(path=tmp_path / "sparsity_slider.png")
    press(slider, "Home", 1)  # no weight removed
    third = wait_for_change(slider, second)
    assert third["readout"] != first["readout"]


def test_the_harness_sees_a_slider_that_works(lab, page):
    write_sample(lab.folder / "works.ipynb", SAMPLE)
    open_notebook(page, lab, "works.ipynb")
    run_all(page)
    slider = find_slider(page, "sparsity")
    before = look(slider)
    assert before["readout"] == "accuracy 0.50"
    press(slider, "ArrowRight", 5)
    after = wait_for_change(slider, before)
    assert after["readout"] == "accuracy 0.45"
    assert after["histogram"].startswith("<svg")


@pytest.mark.parametrize("dead", ["mask", "everything"])
def test_the_harness_fails_where_something_stands_still(lab, page, dead):
    """The other tests mean something only if they can fail."""
    broken = {
        "mask": SAMPLE.replace("int(255 * slider.value)", "128"),
        "everything": SAMPLE.replace('slider.observe(show, "value")', ""),
    }[dead]
    assert broken != SAMPLE
    write_sample(lab.folder / "dead.ipynb", broken)
    open_notebook(page, lab, "dead.ipynb")
    run_all(page)
    slider = find_slider(page, "sparsity")
    before = look(slider)
    press(slider, "ArrowRight", 5)
    with pytest.raises(AssertionError, match="mask"):
        wait_for_change(slider, before, seconds=3)


def test_the_harness_reports_a_cell_that_fails(lab, page):
    write_sample(lab.folder / "fails.ipynb", "1 / 0")
    open_notebook(page, lab, "fails.ipynb")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_all(page)
