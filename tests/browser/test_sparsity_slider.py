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
def sample(description):
    slider = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.01, description=description)
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
    return ipywidgets.VBox([slider, readout, histogram, mask])

sample("works")
"""
BROKEN = {
    "mask": ("int(255 * slider.value)", "128"),
    "everything": ('slider.observe(show, "value")', ""),
}
FAR = "Cells out of view must count as well.\n\n" * 40

pytestmark = pytest.mark.browser


def write_sample(path: Path, *codes: str) -> None:
    cells = [new_code_cell("import io\nimport ipywidgets\nfrom PIL import Image")]
    for code in codes:
        cells += [new_markdown_cell(FAR), new_code_cell(code.strip())]
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


def test_the_harness_sees_what_works_and_fails_where_something_stands_still(lab, page):
    """The other tests mean something only if they can fail."""
    codes = [SAMPLE]
    for dead, (code, instead) in BROKEN.items():
        assert SAMPLE.count(code) == 1
        codes.append(SAMPLE.replace(code, instead).replace('"works"', f'"{dead}"'))
    write_sample(lab.folder / "samples.ipynb", *codes)
    open_notebook(page, lab, "samples.ipynb")
    run_all(page)
    slider = find_slider(page, "works")
    before = look(slider)
    assert before["readout"] == "accuracy 0.50"
    press(slider, "ArrowRight", 5)
    after = wait_for_change(slider, before)
    assert after["readout"] == "accuracy 0.45"
    assert after["histogram"].startswith("<svg")
    for dead in BROKEN:
        slider = find_slider(page, dead)
        before = look(slider)
        press(slider, "ArrowRight", 5)
        with pytest.raises(AssertionError, match="mask"):
            wait_for_change(slider, before, seconds=3)


def test_the_harness_reports_a_cell_that_fails(lab, page):
    write_sample(lab.folder / "fails.ipynb", "1 / 0")
    open_notebook(page, lab, "fails.ipynb")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_all(page)
