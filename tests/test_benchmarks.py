"""The benchmarks run, and print the table that they promise."""

from __future__ import annotations

import re
import runpy
from pathlib import Path


def test_bench_pruning_prunes_the_same_and_says_how_fast(monkeypatch, capsys):
    script = str(Path(__file__).parents[1] / "benchmarks" / "bench_pruning.py")
    monkeypatch.setattr("sys.argv", [script, "--quick"])
    runpy.run_path(script, run_name="__main__")
    shown = capsys.readouterr().out
    rows = {
        line.split()[0]: line.split()[1:]
        for line in shown.splitlines()
        if line.startswith(("torch ", "course_lib "))
    }
    (total,) = re.findall(r"([\d,]+) weights, 50% pruned", shown)
    half = f"{round(int(total.replace(',', '')) / 2):,}"
    for seconds, _, pruned, lowest_went in (rows["torch"], rows["course_lib"]):
        assert float(seconds) > 0
        assert (pruned, lowest_went) == (half, "yes")
    assert re.search(r"time: 1/\d+\.\d of torch's \(goal: 1/12", shown)
    assert re.search(r"extra memory: \d+\.\d\d × the largest weight \(goal: 2", shown)


def test_bench_sliders_times_every_slider(monkeypatch, capsys):
    script = str(Path(__file__).parents[1] / "benchmarks" / "bench_sliders.py")
    monkeypatch.setattr("sys.argv", [script, "--quick"])
    runpy.run_path(script, run_name="__main__")
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [re.split(r"  +", row)[0] for row in rows] == [
        "sparsity, 1,000 images",
        "temperature",
        "T and alpha",
    ]
    for row in rows:
        median, slow = (float(x) for x in re.findall(r"\d+\.\d", row)[:2])
        assert 0 < median <= slow
