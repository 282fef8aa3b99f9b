"""How fast do the lessons' sliders answer?

    python benchmarks/bench_sliders.py [--quick]

First the callback alone: one move of the slider in Python, without a browser. Then, in JupyterLab and
Chromium, the time from a key press until the changed picture is on the screen; `--quick` leaves it out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "browser")]

from slider_samples import EXAMPLES, make  # noqa: E402

CALLBACK, BROWSER = (50, 100), (80, 150)  # goals in ms: median and 95th percentile
DRAWN = list(EXAMPLES)
# Notes when a key goes down, and when the chart has changed and been painted.
WATCH = """chart => {
    window.times = [];
    let pressed = null;
    document.addEventListener("keydown", () => { pressed = performance.now(); }, true);
    const painted = start => setTimeout(() => window.times.push(performance.now() - start), 0);
    new MutationObserver(() => {
        if (pressed === null) return;
        const start = pressed;
        pressed = null;
        requestAnimationFrame(() => painted(start));
    }).observe(chart, {subtree: true, childList: true, attributes: true, characterData: true});
}"""


def callback(name: str, moves: int) -> list[float]:
    """Milliseconds of each of some moves to random positions, after a warm-up."""
    control: Any = make(name).controls[-1]
    places = np.random.default_rng(0).integers(len(control.options), size=10 * moves)
    times = []
    for place in places[places != np.roll(places, 1)][: moves + 5]:
        before = time.perf_counter()
        control.index = int(place)
        times.append(1000 * (time.perf_counter() - before))
    return times[5:]


def browser(moves: int) -> dict[str, list[float]]:
    """Slider → milliseconds from key press to changed picture, in JupyterLab."""
    import labdriver
    from nbformat.v4 import new_code_cell, new_notebook
    from playwright.sync_api import sync_playwright

    codes = [f"import sys\nsys.path.insert(0, {str(TESTS)!r})\nimport slider_samples"]
    codes += [f"slider_samples.make({name!r})" for name in DRAWN]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(
        cells=[new_code_cell(code) for code in codes], metadata={"kernelspec": kernel}
    )
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        labdriver.serve(Path(folder)) as lab,
        sync_playwright() as playwright,
    ):
        labdriver.copy_notebook(notebook, lab.folder / "bench.ipynb")
        chromium = playwright.chromium.launch(
            executable_path=labdriver.find_chromium(), args=labdriver.CHROMIUM_FLAGS
        )
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        labdriver.open_notebook(page, lab, "bench.ipynb")
        labdriver.run_all(page)
        page.locator(".course-chart svg").nth(len(DRAWN) - 1).wait_for()
        for name in DRAWN:
            cell = labdriver.find_cell(page, f"make('{name}')")
            cell.locator(".course-chart svg").evaluate(WATCH)
            handle = cell.locator(".noUi-handle").last
            handle.scroll_into_view_if_needed()
            handle.focus()
            found[name] = press_keys(handle, moves + 3)[3:]
        chromium.close()
    return found


def press_keys(handle: Any, times: int) -> list[float]:
    """Press an arrow key and wait for the picture, so many times; at an end, turn round."""
    page, key = handle.page, "ArrowRight"
    for i in range(times):
        end = handle.get_attribute("aria-valuenow")
        if end == handle.get_attribute("aria-valuemax"):
            key = "ArrowLeft"
        elif end == handle.get_attribute("aria-valuemin"):
            key = "ArrowRight"
        page.keyboard.press(key)
        page.wait_for_function("n => window.times.length > n", arg=i, polling=20)
        page.wait_for_timeout(60)
    return page.evaluate("window.times")


def report(title: str, rows: dict[str, list[float]], goals: tuple[int, int]) -> None:
    print(f"{title:32}{'median':>10}{'95 %':>10}   goals {goals[0]} and {goals[1]} ms")
    for name, times in rows.items():
        print(f"{name:32}{np.median(times):10.1f}{np.percentile(times, 95):10.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few moves, and no browser")
    quick = parser.parse_args().quick
    moves = 10 if quick else 60
    title = f"callback alone, {torch.get_num_threads()} thread(s)"
    report(title, {name: callback(name, moves) for name in DRAWN}, CALLBACK)
    if not quick:
        report("key press to picture, Chromium", browser(moves), BROWSER)


if __name__ == "__main__":
    main()
