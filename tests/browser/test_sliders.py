"""A person moves each slider: numbers and picture change, and nothing jumps."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from labdriver import (
    copy_notebook,
    find_control,
    look,
    open_notebook,
    output_of,
    press,
    run_all,
    wait_for_change,
)
from nbformat.v4 import new_code_cell, new_notebook
from slider_samples import make

from course_lib.lessons.sliders.static import page as page_of

TESTS = Path(__file__).parents[1]
# A slider of each example, the key that moves it, and what then stands in the readout.
MOVES = {
    "sparsity": ("sparsity", "51 % sparsity"),
    "temperature": ("temperature", "T = 1.5:"),
    "amount": ("parameters left", "25 % of the parameters"),
    "attention": ("head", "head 2"),
    "compression": ("bits", "8 bits"),
    "bits": ("rounded to", "8 bits"),
}
BROKEN = """
def view(amount):
    if amount == 2:
        raise ValueError("<b>two</b>")
    return State(f"<b>{amount}</b>", "a number", {"rows": [{"x": amount}]})

drawing = chart(panel("", 90, 40, mark("bar", "rows", x=number("x", "x", (0, 4)))))
explore([Control("broken", "1", {str(i): i for i in range(4)})], view, drawing, stored={})
"""
WORKS = """
view = lambda amount: State(f"{amount} of 4", f"a bar of {amount}", {"rows": [{"x": amount}]})
drawing = chart(panel("", 90, 40, mark("bar", "rows", x=number("x", "x", (0, 4)))))
explore([Control("works", "1", {str(i): i for i in range(5)})], view, drawing)
"""
# What stands still → what is written for it in place of what moves.
STILL = {
    "readout": ('f"{amount} of 4"', '"some"'),
    "chart": ('{"x": amount}', '{"x": 3}'),
    "alt": ('f"a bar of {amount}"', '"a bar"'),
}

pytestmark = pytest.mark.browser


def open_samples(page, lab, *codes: str) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    first = f"import sys\nsys.path.insert(0, {str(TESTS)!r})\nimport slider_samples\n"
    first += (
        "from course_lib.lessons.sliders import *\nfrom course_lib.lessons.sliders.charts import *"
    )
    cells = [new_code_cell(code) for code in (first, *codes)]
    copy_notebook(new_notebook(cells=cells, metadata=kernel), lab.folder / "sliders.ipynb")
    open_notebook(page, lab, "sliders.ipynb")
    run_all(page)


def height(control) -> float:
    return output_of(control).bounding_box()["height"]


def test_the_harness_sees_what_works_and_fails_where_something_stands_still(lab, page):
    """The other tests mean something only if they can fail."""
    codes = [WORKS]
    for part, (moving, still) in STILL.items():
        assert WORKS.count(moving) == 1
        codes.append(WORKS.replace(moving, still).replace('"works"', f'"{part}"'))
    open_samples(page, lab, *codes)
    page.locator(".course-chart svg").nth(len(STILL)).wait_for()
    slider = find_control(page, "works")
    before = look(slider)
    press(slider, "ArrowRight", "ArrowRight")
    after = wait_for_change(slider, before)
    assert (before["readout"], after["readout"]) == ("1 of 4", "3 of 4")
    assert (before["alt"], after["alt"]) == ("a bar of 1", "a bar of 3")
    for part in STILL:
        slider = find_control(page, part)
        before = look(slider)
        press(slider, "ArrowRight")
        with pytest.raises(AssertionError, match=rf"unchanged: \['{part}'\]"):
            wait_for_change(slider, before, seconds=3)


def test_the_harness_reports_a_cell_that_fails(lab, page):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        open_samples(page, lab, "1 / 0")


def test_each_slider_moves_number_and_picture_and_keeps_its_height(lab, page, tmp_path):
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(urlsplit(request.url)))
    open_samples(page, lab, *(f"slider_samples.make({name!r})" for name in MOVES))
    page.locator(".course-chart svg").nth(len(MOVES) - 1).wait_for()
    for name, (description, words) in MOVES.items():
        slider = find_control(page, description)
        before, tall = look(slider), height(slider)
        assert before["chart"].startswith("<svg") and words not in before["readout"]
        press(slider, "ArrowLeft" if name in ("amount", "compression") else "ArrowRight")
        after = wait_for_change(slider, before)
        assert words in after["readout"], name
        size = re.compile(r'<svg[^>]*viewBox="(.*?)"')
        assert size.search(before["chart"]).group(1) == size.search(after["chart"]).group(1)
        assert height(slider) == tall, name
        page.screenshot(path=tmp_path / f"{name}.png")
    assert not errors
    hosts = {url.netloc for url in asked if url.scheme not in ("data", "blob")}
    assert hosts == {urlsplit(lab.url).netloc}  # no chart library from elsewhere


def test_hovering_names_a_point_and_only_ctrl_and_the_wheel_zoom(lab, page):
    open_samples(page, lab, "slider_samples.make('compression')")
    chart = page.locator(".course-chart svg")
    chart.wait_for()
    chart.scroll_into_view_if_needed()
    labels = chart.locator(".role-axis-label text")
    before = labels.all_inner_texts()

    chart.locator(".mark-symbol path").nth(3).hover(force=True)
    page.locator("#vg-tooltip-element.visible", has_text="MB").wait_for()

    page.mouse.wheel(0, -300)
    page.wait_for_timeout(300)
    assert labels.all_inner_texts() == before
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    page.wait_for_timeout(300)
    zoomed = labels.all_inner_texts()
    assert zoomed != before
    # A move does not take the zoom away.
    slider = find_control(page, "bits")
    seen = look(slider)
    press(slider, "ArrowLeft")
    wait_for_change(slider, seen)
    assert labels.all_inner_texts() == zoomed


def test_an_error_is_shown_and_the_next_move_works(lab, page):
    open_samples(page, lab, BROKEN)
    page.locator(".course-chart svg").wait_for()
    slider = find_control(page, "broken")
    tall = height(slider)
    press(slider, "ArrowRight")
    page.get_by_role("alert").get_by_text("ValueError: <b>two</b>").wait_for()
    assert height(slider) == tall
    press(slider, "ArrowRight")
    page.locator(".course-readout b", has_text="3").wait_for()
    assert page.locator(".course-stale").count() == 0


def test_the_static_page_needs_no_kernel_and_no_network(page, tmp_path):
    file = tmp_path / "sliders.html"
    file.write_text(page_of(*(make(name).stored for name in MOVES)), "utf-8")
    asked, troubles = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text))
    page.goto(file.as_uri())
    page.locator(".course-chart svg").nth(len(MOVES) - 1).wait_for()
    for i, name in enumerate(MOVES):
        root = page.locator(".course-slider").nth(i)
        control = root.locator("input[type=range], select").last
        before = root.locator(".course-readout").inner_text()
        picture = root.locator("svg").get_attribute("aria-label")
        at_the_end = name in ("amount", "compression")
        control.press("ArrowLeft" if at_the_end else "ArrowRight")
        root.locator("svg").and_(page.locator(f"svg:not([aria-label={picture!r}])")).wait_for()
        assert root.locator(".course-readout").inner_text() != before
    page.screenshot(path=tmp_path / "static.png", full_page=True)
    # Each chart is one described image: what lies inside is hidden from screen readers.
    assert page.locator("svg:not([role=img])").count() == 0
    assert page.locator("svg > :not([aria-hidden=true])").count() == 0
    assert asked == [file.as_uri()] and not troubles


def test_the_static_page_fits_a_phone(page, tmp_path):
    file = tmp_path / "sliders.html"
    file.write_text(page_of(make("sparsity").stored, make("compression").stored), "utf-8")
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(file.as_uri())
    page.locator(".course-chart svg").nth(1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 391
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
