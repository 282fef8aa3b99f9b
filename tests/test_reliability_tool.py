"""The page on reliability says what the tests try."""

from __future__ import annotations

import doctest
from collections import Counter
from pathlib import Path

import pytest

from tools import reliability as tool

ROOT = Path(__file__).parents[1]


def test_the_committed_page_is_in_step_with_the_tests(request):
    """Of the tests that this run has collected, so that nothing is collected twice."""
    items = [item for item in request.session.items if item.get_closest_marker("reliability")]
    seen = {item.path.relative_to(ROOT).as_posix() for item in items}
    if missing := set(tool.marked_files()) - seen:
        pytest.skip(f"this run has not collected {', '.join(sorted(missing))}")
    page = tool.PAGE.read_text("utf-8")
    made = tool.table(tool.cases([item.nodeid for item in items]))
    assert page == tool.rewritten(page, made), (
        "docs/reliability.md is older than the tests: run python tools/reliability.py"
    )


def test_every_test_in_the_folder_is_marked():
    for file in (ROOT / "tests" / "reliability").glob("test_*.py"):
        assert file.relative_to(ROOT).as_posix() in tool.marked_files(), file.name


def test_a_test_is_a_row_with_its_cases():
    file = "tests/reliability/test_run_onnx.py"
    made = tool.table(Counter({(file, "test_any_text_gets_an_answer"): 7}))
    assert "7 cases of faults are tried. Each must be survived" in made
    assert "| Any text gets an answer |  | 7 |" in made


def test_a_page_without_the_marks_is_refused():
    with pytest.raises(ValueError, match="must hold the lines"):
        tool.rewritten("# A page\n", "table")


def test_its_examples_hold():
    assert doctest.testmod(tool).failed == 0
