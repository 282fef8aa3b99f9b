"""Every lesson runs from its source, start to end, in the quick profile."""

import pytest

from tools import notebooks as tool


@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", tool.find_sources([]), ids=lambda source: source.stem)
def test_quick_run(source):
    result = tool.run(source, "quick", minutes=8)
    assert result.problems == []
    assert all(cell.execution_count for cell in tool.code_cells(result.notebook))
    assert tool.collect_claims(result.notebook), "the lesson shows no claim"
