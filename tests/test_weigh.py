"""The table of what the packages weigh; and the examples in the site's tools hold."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # tools/ is not installed

from tools import build_site, pictures, weigh


@pytest.mark.parametrize("tool", [build_site, pictures, weigh], ids=lambda tool: tool.__name__)
def test_the_examples_hold(tool):
    assert doctest.testmod(tool) == doctest.TestResults(0, doctest.testmod(tool).attempted)


def test_the_page_has_the_table_and_says_what_the_heavy_packages_are_for():
    page = weigh.PAGE.read_text("utf-8")
    table = weigh.MARKS.search(page)[0]
    rows = [[cell.strip() for cell in row.split("|")[1:4]] for row in table.splitlines()[3:-3]]
    assert rows[0][0] == "torch" and [row[2] for row in rows if not row[2]] == []
    total = float(table.splitlines()[-2].split("|")[2].replace(",", ""))
    assert f"{total / 1000:.1f} GB of packages" in page


def test_only_what_the_lessons_need_is_weighed():
    found = weigh.weights()
    assert found["torch"] > 1e8 and "pytest" not in found and "sphinx" not in found
