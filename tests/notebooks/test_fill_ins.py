"""A lesson runs with its gaps empty (test_papermill.py) and with the folded answers in them."""

import ast
import re

import jupytext
import pytest

from tools import notebooks as tool

LESSONS = sorted(path.stem for path in tool.SOURCES.glob("[0-9]*.py"))
STUB = re.compile(r'^(def (\w+)\([^\n]*\):\n    """[^\n]*"""\n)    \.\.\.\n', re.M)
ANSWER = re.compile(r"# ```python\n((?:#.*\n)+?)# ```")


def answers(source: str) -> dict[str, str]:
    """Function name → the answer that a lesson folds away. Other code in its text is no answer."""
    codes = [re.sub(r"^# ?", "", code, flags=re.M) for code in ANSWER.findall(source)]
    firsts = {code: ast.parse(code).body[0] for code in codes}
    return {one.name: code for code, one in firsts.items() if isinstance(one, ast.FunctionDef)}


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_with_its_gaps_filled(name, tmp_path):
    source = (tool.SOURCES / f"{name}.py").read_text("utf-8")
    gaps = {match[2]: match[0] for match in STUB.finditer(source)}
    right = answers(source)
    assert len(gaps) in (2, 3) and gaps.keys() == right.keys()
    for function, gap in gaps.items():
        source = source.replace(gap, right[function])
    assert not STUB.search(source) and jupytext.reads(source, fmt="py:percent").cells
    filled = tmp_path / "notebooks" / "src" / f"{name}.py"
    filled.parent.mkdir(parents=True)
    filled.write_text(source, "utf-8")
    result = tool.run(filled, profile="quick", minutes=8)
    assert result.problems == []
    printed = "".join(
        output.get("text", "")
        for cell in tool.code_cells(result.notebook)
        for output in cell.outputs
    )
    assert all(f"✓ {function}: " in printed for function in gaps)
    assert "not written yet" not in printed
