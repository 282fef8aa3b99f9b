"""The benchmarks run, and print the table that they promise."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from course_lib.evaluation.size import footprint
from course_lib.models.networks import SmallCNN


@pytest.fixture
def run_quickly(monkeypatch, capsys):
    """A function: a benchmark's name → what it prints with --quick."""

    def run(name: str) -> str:
        folder = Path(__file__).parents[1] / "benchmarks"
        monkeypatch.syspath_prepend(str(folder))  # as when Python runs the script itself
        monkeypatch.setattr("sys.argv", [name, "--quick"])
        runpy.run_path(str(folder / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_bench_pruning_prunes_the_same_and_says_how_fast(run_quickly):
    shown = run_quickly("bench_pruning.py")
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


def test_bench_sliders_times_every_slider(run_quickly):
    rows = run_quickly("bench_sliders.py").splitlines()[1:]
    names = ["sparsity", "temperature", "amount", "attention", "compression", "bits", "depth"]
    assert [row.split()[0] for row in rows] == names
    for row in rows:
        median, slow = (float(x) for x in re.findall(r"\d+\.\d", row)[:2])
        assert 0 <= median <= slow  # a fast machine needs less than 0.05 ms


def test_bench_structured_removes_the_same_and_says_what_it_gains(run_quickly):
    shown = run_quickly("bench_structured.py")
    tables = [part for part in shown.split("\n\n") if "50% of each group removed" in part]
    assert [re.split(",", table.strip())[0] for table in tables] == [
        "SmallCNN",
        "a small BERT",
        "a small Llama",
    ]
    for table in tables:
        rows = {
            cells[0]: cells[1:]
            for line in table.splitlines()
            if len(cells := re.split(r"  +", line)) == 8 and cells[0]
        }
        tools = ["course_lib", "Torch-Pruning"]
        if "did not finish" in table:  # Torch-Pruning on a Llama
            tools.pop()
        assert list(rows) == ["dense", "masked", *tools]
        parameters, sizes = (
            [int(row[i].replace(",", "")) for row in rows.values()] for i in (2, 3)
        )
        assert parameters[0] == parameters[1] > parameters[2] == parameters[-1]
        assert sizes[0] == sizes[1] > sizes[2] == sizes[-1]
        for tool in tools:
            seconds, difference = float(rows[tool][0]), float(rows[tool][5])
            assert seconds > 0 and 0 <= difference <= 1e-5
        assert {row[4].split(" ")[1][0] for row in rows.values()} == {"("}  # quartiles
        assert [row[6] for row in rows.values()] == ["yes", "yes", "yes", "no: RuntimeError"][
            : len(rows)
        ]
    assert f" {footprint(SmallCNN()).bytes:,} " in tables[0]
    assert re.search(r"time: \d+\.\d\d s \(goal: 2 s", tables[1])
    assert re.search(r"extra memory: \d+\.\d\d × the model's \(goal: 1\.2", tables[1])
