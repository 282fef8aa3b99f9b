"""What the site's builder does to a page, without Sphinx; tests/browser/test_site.py sees the whole."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # tools/ is not installed

from course_lib.lessons import diagrams
from tools import build_site as tool

README = """\
# A course

Read [lesson 1](notebooks/01_a.ipynb), [the code](code/) and [a script](code/x.py#L3).
"""
EXPLAINED = """\
A **mask** is
a matrix of ones and zeros (Li et al. 2017). **Predict first.** Why?
<details><summary>`Answer`</summary>It is *so*.</details>
"""


def pixels() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def stage(tmp_path: Path) -> tool.Stage:
    """A small project, whose one lesson has a slider."""
    project = tmp_path / "project"
    for folder in ("code", "docs", "notebooks"):
        (project / folder).mkdir(parents=True)
    (project / "README.md").write_text(README)
    (project / "CONTRIBUTING.md").write_text("# Contributing\n\nSee [home](README.md).\n")
    (project / "code" / "x.py").write_text("pass\n")
    (project / "docs" / "try.md").write_text("# Try\n\n<!-- slider: 01_a 1 --> <!-- a note -->\n")
    states = {
        "controls": [],
        "states": {"": {"readout": "<b>1</b>", "alt": "", "data": {}}},
        "chart": None,
    }
    output = new_output("display_data", {tool.MIME: states, "image/png": pixels()})
    output.metadata["image/png"] = {"alt": 'a "picture"'}
    cells = [
        new_markdown_cell("# Lesson 1 · A"),
        new_code_cell("secret = 1", metadata={"tags": ["setup"]}),
        new_markdown_cell(EXPLAINED),
        new_code_cell("slider", outputs=[output]),
    ]
    (project / "notebooks" / "01_a.ipynb").write_text(json.dumps(new_notebook(cells=cells)))
    return tool.Stage(project, tmp_path / "copy")


def written(stage: tool.Stage, name: str) -> str:
    return (stage.folder / name).read_text("utf-8")


def cells_of(stage: tool.Stage) -> list[dict]:
    tool.prepare(stage)
    return json.loads(written(stage, "notebooks/01_a.ipynb"))["cells"]


def test_a_link_leads_to_a_page_a_copy_or_is_words(stage):
    tool.prepare(stage)
    home = written(stage, "index.md")
    assert "[lesson 1](notebooks/01_a.ipynb), the code and [a script](code/x.py)" in home
    assert written(stage, "code/x.py") == "pass\n"
    assert "[home](index.md)" in written(stage, "CONTRIBUTING.md")


def test_with_an_address_links_lead_to_the_code_host_and_lessons_to_colab_and_binder(stage):
    stage.repository = "https://github.com/ann/course"
    run = cells_of(stage)[1]["source"]
    assert "[the code](https://github.com/ann/course/tree/main/code)" in written(stage, "index.md")
    assert (
        "https://colab.research.google.com/github/ann/course/blob/main/notebooks/01_a.ipynb" in run
    )
    assert "https://mybinder.org/v2/gh/ann/course/HEAD?urlpath=lab/tree/notebooks/01_a.ipynb" in run


def test_a_picture_that_is_a_link_is_there_and_leads_to_its_page(stage):
    (stage.source / "docs" / "a.svg").write_text("<svg/>")
    text = "[![A b (1–3)](docs/a.svg)](docs/try.md) [![c](docs/a.svg)](https://d.e)"
    (stage.source / "README.md").write_text(text)
    (stage.source / "docs" / "try.md").write_text("# Try\n\n[![A](a.svg)](../README.md)\n")
    tool.prepare(stage)
    assert written(stage, "index.md").startswith(text)
    assert "[![A](a.svg)](../index.md)" in written(stage, "docs/try.md")
    assert written(stage, "docs/a.svg") == "<svg/>"


def test_a_picture_that_is_missing_inside_a_link_is_named(stage):
    (stage.source / "README.md").write_text("[![a](docs/gone.svg)](docs/try.md)\n")
    with pytest.raises(ValueError, match=r"README\.md links to docs/gone\.svg"):
        tool.prepare(stage)


def test_without_an_address_no_link_leads_to_colab(stage):
    run = cells_of(stage)[1]["source"]
    assert "http" not in run and 'href="../_static/notebooks/01_a.ipynb" download' in run


def test_a_link_to_nothing_is_named(stage):
    (stage.source / "docs" / "try.md").write_text("# Try\n\n[gone](../gone.md)\n")
    with pytest.raises(ValueError, match=r"docs/try\.md links to \.\./gone\.md"):
        tool.prepare(stage)


def test_links_in_code_stay(stage):
    text = "`[a](b.md)`\n\n```\n[a](b.md)\n```\n"
    assert tool.markdown(stage, "docs/try.md", text) == text


def test_a_schematic_is_an_svg_in_the_size_of_its_png(stage):
    drawing = diagrams.pipeline()
    data, metadata = drawing._repr_mimebundle_()
    output = new_output("display_data", data, metadata=metadata)
    shown = tool.picture(stage, "notebooks/01_a.ipynb", output)
    width, height = Image.open(io.BytesIO(drawing.png())).size
    name = re.search(r'src="\.\./(_static/pictures/\w+\.svg)"', shown)[1]
    assert written(stage, name) == drawing.svg()
    assert f'width="{width}" height="{height}" alt="{html.escape(drawing.alt)}"' in shown


def test_a_slider_has_its_states_and_a_described_picture(stage):
    (output,) = cells_of(stage)[4]["outputs"]
    (shown,) = output["data"].values()
    assert 'class="course-slider"' in shown and 'id="slider-1"' in shown
    assert 'width="8" height="4" alt="a &quot;picture&quot;"' in shown
    assert 'src="../_static/pictures/' in shown
    assert 'class="course-slider"' in written(stage, "docs/try.md")
    assert "a note" not in written(stage, "docs/try.md")


def test_a_slider_alone_is_a_page_of_one_file(stage):
    page = tool.try_page(stage.source)
    assert "<h1>Try</h1>" in page and page.count('<div class="course-slider">') == 1
    assert "<link" not in page and "<script src" not in page


def test_the_setup_is_folded_and_an_answer_reads_as_markdown(stage):
    cells = cells_of(stage)
    assert cells[2]["metadata"] == {"tags": ["hide-cell"]}
    assert (
        "<details><summary><code>Answer</code></summary>\n\nIt is *so*.\n\n</details>"
        in cells[3]["source"]
    )


def test_a_term_leads_to_its_sentence(stage):
    assert "[**mask**](#term-mask)" in cells_of(stage)[3]["source"]
    page = written(stage, "docs/glossary.md")
    assert (
        "(term-mask)=\n## Mask\n\nA **mask** is a matrix of ones and zeros (Li et al. 2017)."
        in page
    )
    assert "[lesson 1](../notebooks/01_a.ipynb)" in page and "Predict" not in page


def test_solutions_are_not_searched(stage):
    (stage.source / "solutions").mkdir()
    lesson = stage.source / "notebooks" / "01_a.ipynb"
    (stage.source / "solutions" / "01_a.ipynb").write_bytes(lesson.read_bytes())
    tool.prepare(stage)
    assert json.loads(written(stage, "solutions/01_a.ipynb"))["metadata"]["nosearch"] is True
    assert "Solutions\n\nsolutions/01_a" in written(stage, "index.md")
