"""The committed lessons: in step with their sources, executed, clean and readable."""

import json
from collections.abc import Iterator

import pytest
from cells import claims_output
from lesson_budget import LAYER_0
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import notebooks as tool

LONGEST_CELL = 25  # lines
LONGEST_COLLAPSED = 25  # of a cell that a learner does not see: plots and claims
SOURCES = tool.find_sources([])
each_lesson = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def most(cell: NotebookNode) -> int:
    hidden = cell.metadata.get("jupyter", {}).get("source_hidden")
    return LONGEST_COLLAPSED if hidden else LONGEST_CELL


def house_rules(notebook: NotebookNode) -> list[str]:
    """What a lesson promises beyond clean outputs."""
    cells = tool.code_cells(notebook)
    found = [f"cell {c.id} was not run" for c in cells if c.execution_count is None]
    found += [
        f"cell {c.id} has {len(c.source.splitlines())} lines, {most(c)} are the most"
        for c in cells
        if len(c.source.splitlines()) > most(c)
    ]
    found += [f"cell {c.id} is empty" for c in cells if not c.source.strip()]
    if [c for c in cells if "setup" in tool.tags(c)] != cells[:1]:
        found.append("the first code cell, and no other, is tagged `setup`")
    parameters = [c.source for c in cells if "parameters" in tool.tags(c)]
    if len(parameters) != 1 or 'profile = "full"' not in parameters[0].splitlines():
        found.append('one cell is tagged `parameters` and says profile = "full"')
    if not any("nbval-check-output" in tool.tags(c) for c in cells):
        found.append("no cell is tagged `nbval-check-output`: nbval would compare nothing")
    found += [
        f"{match.group()!r} in what cell {c.id} shows: count layers from 1"
        for c in cells
        for output in c.outputs
        for text in texts(output)
        if (match := LAYER_0.search(text))
    ]
    if not tool.collect_claims(notebook):
        found.append("no claim is shown: what does this lesson check?")
    return found


def texts(output: NotebookNode) -> Iterator[str]:
    """What a reader of an output finds in words: text, tables, and the alt text of pictures."""
    yield output.get("text", "")
    for kind, content in output.get("data", {}).items():
        if not kind.startswith("image/"):
            yield content if isinstance(content, str) else json.dumps(content)
    for of_kind in output.get("metadata", {}).values():
        yield of_kind.get("alt", "") if isinstance(of_kind, dict) else ""


@each_lesson
def test_the_notebook_is_what_its_source_builds(source):
    assert tool.in_step(source), "run: python tools/notebooks.py sync"


@each_lesson
def test_outputs_are_clean(source):
    assert tool.scan(tool.read(tool.notebook_of(source))) == []


@each_lesson
def test_house_rules(source):
    assert house_rules(tool.read(tool.notebook_of(source))) == []


def test_every_notebook_has_a_source():
    stored = {path.stem for path in tool.SOURCES.parent.glob("*.ipynb")}
    assert stored == {source.stem for source in SOURCES}


# --- the scanners themselves must be able to fail -----------------------------------------------


def lesson(*outputs: NotebookNode, source: str = "1 + 1", count: int | None = 3) -> NotebookNode:
    """A lesson that keeps every rule, but for what is asked."""
    claim = claims_output()
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell("x", execution_count=1, metadata={"tags": ["setup"]}),
        new_code_cell('profile = "full"', execution_count=2, metadata={"tags": ["parameters"]}),
        new_code_cell(
            source,
            execution_count=count,
            outputs=[claim, *outputs],
            metadata={"tags": ["nbval-check-output"]},
        ),
    ]
    return new_notebook(cells=cells)


def picture(**metadata: dict) -> NotebookNode:
    return new_output("display_data", {"image/png": "AAAA"}, metadata=metadata)


def test_a_good_lesson_passes():
    good = lesson(picture(**{"image/png": {"alt": "a curve"}}), new_output("stream", text="94 %"))
    assert tool.scan(good) == []
    assert house_rules(good) == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "ValueError: no"),
        (new_output("stream", text="\x1b[31mX\nTraceback (most recent call last)"), "traceback"),
        (new_output("stream", text="/tmp/ipykernel_7/1.py:3: UserWarning"), "local path"),
        (new_output("stream", text="cached in '/root/.cache/course'"), "local path"),
        (new_output("stream", text="at file:///home/ann/x"), "local path"),
        (new_output("stream", text=r"C:\Users\ann\x"), "local path"),
        (
            new_output("display_data", {"text/html": "<a href='/home/someone/course'>"}),
            "local path",
        ),
        (new_output("display_data", {"text/plain": str(tool.ROOT / "x")}), "local path"),
        (picture(), "without alt"),
        (picture(**{"image/png": {"alt": ""}}), "without alt"),
    ],
)
def test_an_unclean_output_is_found_and_its_cell_named(output, message):
    found = tool.scan(lesson(output, source="show(it)"))
    assert any(message in one and "show(it)" in one for one in found), found


@pytest.mark.parametrize(
    "text", ["https://example.org/home/x and https://a.b/tmp/c", "the /work of others", "a/tmp/b"]
)
def test_addresses_and_words_are_no_local_paths(text):
    assert tool.scan(lesson(new_output("stream", text=text))) == []


@pytest.mark.parametrize(
    "state",
    [
        {"outputs": [{"output_type": "error", "ename": "KeyError", "evalue": "'x'"}]},
        {"value": "<pre>Traceback (most recent call last)</pre>"},
        {"outputs": [{"output_type": "display_data", "data": {"image/png": "A"}, "metadata": {}}]},
    ],
)
def test_what_a_widget_swallowed_is_found(state):
    notebook = lesson()
    model = {"model_name": "OutputModel", "state": state}
    notebook.metadata["widgets"] = {tool.STATE: {"state": {"abc": model}}}
    (found,) = tool.scan(notebook)
    assert "OutputModel" in found


def test_house_rules_can_be_broken():
    def broken(notebook: NotebookNode) -> str:
        return " ".join(house_rules(notebook))

    assert "was not run" in broken(lesson(count=None))
    assert "26 lines" in broken(lesson(source="x\n" * 26))
    assert "empty" in broken(lesson(source=" "))
    assert "`setup`" in broken(new_notebook(cells=lesson().cells[2:]))
    assert "`parameters`" in broken(new_notebook(cells=lesson().cells[:2]))
    for message in ("no claim", "nbval would compare nothing"):
        assert message in broken(new_notebook(cells=lesson().cells[:3]))
    for shown in (
        new_output("stream", text="accuracy of layer 0: 90 %"),
        new_output("display_data", {"text/html": "<td>Layers 0 to 2</td>"}),
        picture(**{"image/png": {"alt": "layer 0 goes first"}}),
    ):
        assert "count layers from 1" in broken(lesson(shown))
    quick = lesson()
    quick.cells[2].source = 'profile = "quick"'
    assert "`parameters`" in broken(quick)
