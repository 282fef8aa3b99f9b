"""How fast do the lessons' sliders answer?

    python benchmarks/bench_sliders.py [--quick]

One move is one call of what stands behind the slider; what the browser adds is not in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from course_lib import data, explorer, widgets
from course_lib.measure import Accuracy, Runs
from course_lib.models import LeNet300, build


def milliseconds(change: Callable[[float], object], moves: int) -> tuple[float, float]:
    """Median and 95th percentile over `moves` random positions between 0 and 1, after a warm-up."""
    times = []
    for position in np.random.default_rng(0).uniform(0, 1, moves + 5):
        before = time.perf_counter()
        change(float(position))
        times.append(1000 * (time.perf_counter() - before))
    return float(np.median(times[5:])), float(np.percentile(times[5:], 95))


def move(slider: Any, position: float) -> None:
    """Choose an option of a slider: all that hangs on it is called."""
    slider.value = slider.options[int(position * len(slider.options))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few moves")
    moves = 10 if parser.parse_args().quick else 60
    model = build(LeNet300).eval()
    images = data.subset(data.mnist()["train"], 1000)  # for the time it does not matter which
    logits, names = torch.randn(10, generator=torch.Generator().manual_seed(0)), list("0123456789")
    runs = Runs(tuple(Accuracy(80 + i, 100) for i in range(3)))
    grid = {(T, 0.5): runs for T in (1.0, 2.0, 4.0)}
    variants = {
        (i, j): explorer.Variant(f"{i} {j}", 1000 + 37 * i * j, 1 + i + j, Accuracy(50 + i, 100))
        for i in range(18)
        for j in range(18)
    }
    layers = explorer.compression_explorer(variants, ["layers", "bits"]).children[0]
    sliders = {
        "sparsity, 1,000 images": (lambda x: widgets.sparsity_view(model, images, x), (100, 200)),
        "temperature": (lambda x: widgets.temperature_view(logits, names, 0.5 + 20 * x), (50, 50)),
        "T and alpha": (lambda x: widgets.grid_view(grid, runs, (2.0, 0.5)), (50, 50)),
        "compression, 324 variants": (lambda x: move(layers, x), (100, 100)),
    }
    print(
        f"{'slider':28}{'median':>10}{'95 %':>10}   goals (ms, {torch.get_num_threads()} threads)"
    )
    for name, (change, goals) in sliders.items():
        median, slow = milliseconds(change, moves)
        print(f"{name:28}{median:10.1f}{slow:10.1f}   {goals[0]} and {goals[1]}")


if __name__ == "__main__":
    main()
