"""The challenge of lab 6: a folder that `compress` wrote, and each way to miss the budget."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from course_lib import checks

HERE = Path(__file__).parents[1] / "compression" / "test_report.py"
spec = importlib.util.spec_from_file_location("report_example", HERE)
example = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = example
spec.loader.exec_module(example)


def written(folder: Path, size: int = 4_500_000, differing=(15, 10), n: int = 1000) -> Path:
    """A folder with a report and a file of some size."""
    folder.mkdir()
    counts = {"before": differing, "TF-IDF": (25, 100)}
    test = example.REPORT.test | {"after": (n // 2, n)}
    report = replace(example.REPORT, megabytes=(90.9, size / 1e6), differing=counts, test=test)
    (folder / "report.json").write_bytes(report.save())
    (folder / "model.onnx").write_bytes(bytes(size))
    return folder


def test_a_small_model_that_loses_little_holds(tmp_path, capsys):
    checks.own_budget(written(tmp_path / "mine"))
    said = capsys.readouterr().out
    assert "✓ own_budget" in said and "in points -1.49" in " ".join(said.split())
    checks.own_budget(str(written(tmp_path / "as text", size=5_000_000)))


@pytest.mark.parametrize(
    ("mistake", "given"),
    [
        ("too large", {"size": 5_100_000}),
        ("too few test texts", {"n": 150, "differing": (2, 2)}),
        ("it may lose too much", {"differing": (190, 60)}),
    ],
)
def test_each_way_to_miss_the_budget_is_named(tmp_path, mistake, given):
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.own_budget(written(tmp_path / "mine", **given))
    assert caught.value.mistake == mistake


def test_what_is_no_such_folder_is_named(tmp_path):
    folder = written(tmp_path / "mine")
    (tmp_path / "other").mkdir()
    (folder / "model.onnx").write_bytes(b"another one")
    for given, mistake in (
        (example.REPORT, "the report for its folder"),
        (folder / "model.onnx", "the file for its folder"),
        (tmp_path / "nothing", "there is no such folder"),
        (tmp_path / "other", "a folder of another kind"),
        (folder, "another file than the report is about"),
    ):
        with pytest.raises(checks.WrongAnswerError) as caught:
            checks.own_budget(given)
        assert caught.value.mistake == mistake
