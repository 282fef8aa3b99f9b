"""A person answers an exercise wrongly, reads which mistake it is, and answers rightly."""

from pathlib import Path

import nbformat
import pytest
from labdriver import copy_notebook, find_cell, open_notebook, run_above, run_cell, write_cell

LAB = Path(__file__).parents[2] / "exercises" / "01_pruning_basics.ipynb"
WRONG = """def sparsity(module):
    zeros = sum((p == 0).sum() for p in module.parameters())
    return zeros / sum(p.numel() for p in module.parameters())"""
RIGHT = """def sparsity(module):
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    weights = [layer.weight for layer in layers]
    return sum((w == 0).sum() for w in weights) / sum(w.numel() for w in weights)"""

pytestmark = pytest.mark.browser


def test_a_person_learns_from_a_mistake(lab, page, tmp_path):
    copy_notebook(nbformat.read(LAB, as_version=4), lab.folder / LAB.name)
    open_notebook(page, lab, LAB.name)
    answer, check = find_cell(page, "def sparsity"), find_cell(page, "checks.sparsity(")
    run_above(answer)

    run_cell(answer)
    assert "nothing is written yet" in run_cell(check)

    hint = page.locator("details", has_text="Hint 1").first
    words = hint.locator("summary")
    before = hint.bounding_box()["height"]
    words.click()
    assert hint.bounding_box()["height"] > before

    write_cell(answer, WRONG)
    run_cell(answer)
    said = run_cell(check)
    page.screenshot(path=tmp_path / "wrong.png")
    assert "biases are counted" in said and "Sparsity speaks of the weights" in said
    assert "Traceback" not in said and "checking.py" not in said
    assert len(said.splitlines()) <= 12

    write_cell(answer, RIGHT)
    run_cell(answer)
    said = run_cell(check)
    page.screenshot(path=tmp_path / "right.png")
    assert "✓ sparsity" in said and "not checked" in said
    assert "mistake" not in said
