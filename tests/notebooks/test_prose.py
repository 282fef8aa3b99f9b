"""No lesson's text holds a number that was measured: it would stay when the measurement changes.

A number with a unit, or with a decimal point, must have a reason to stand in the text:

1. it is a setting of this lesson: "97 %" where its code has 0.97, "1.5 ×" where it has 1.5; or
2. its paragraph (or list item, or table) quotes someone, names a year, a table or a paper, asks or
   predicts something, or stands in a quiz with answers to unfold. There, too, a decimal number that
   one of the lesson's claims has measured is refused; or
3. its paragraph says why, unseen by the reader: <!-- not measured: the reason -->

Numbers that are spelled out ("twice") and whole ones without a unit ("8,000 weights") pass unseen.
"""

from __future__ import annotations

import re

import pytest
from cells import claims_output
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import notebooks as tool

UNIT = r"%|points?\b|×(?! \d)|times\b|[mµ]?s\b|seconds?\b|[MKk]i?B\b|GB\b|bits?\b"
NUMBER = re.compile(rf"(?<![\w.,])(\d+(?:,\d{{3}})*(?:\.\d+)?)(?![\w.]\d)\s?({UNIT})?")
SETTING = re.compile(r"(?<![\w.])\d*\.\d+")
# Names, formulas, and the sections of papers, whose numbers may equal a measured one by chance.
SECTION = r"\bsections? \d+(?:\.\d+)*(?:(?:,| and| to) \d+(?:\.\d+)+)*"
CODE = re.compile(rf"```.*?```|`[^`]*`|\$[^$]*\$|{SECTION}", re.DOTALL)
PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )")
EXCUSE = re.compile(r"[\"“?]|\bpredict|\b(?:19|20)\d\d\b|\btables? \d|\bpaper", re.IGNORECASE)
REASON = re.compile(r"<!-- not measured: \w.*?-->", re.DOTALL)


def hard_coded(notebook: NotebookNode) -> list[str]:
    """The numbers in the text that have no reason to stand there, each with its cell."""
    code = "\n".join(cell.source for cell in tool.code_cells(notebook))
    settings = {float(text) for text in SETTING.findall(code)}
    claims = " ".join(claim["measured"] for claim in tool.collect_claims(notebook))
    measured = set(NUMBER.findall(claims))
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        for paragraph in PARAGRAPH.split(CODE.sub(" ", cell.source)):
            excused = "<details>" in cell.source or EXCUSE.search(paragraph)
            for number, unit in [] if REASON.search(paragraph) else NUMBER.findall(paragraph):
                value = float(number.replace(",", ""))
                is_setting = round(value / 100 if unit == "%" else value, 9) in settings
                refused = not excused or ("." in number and (number, unit) in measured)
                if (unit or "." in number) and refused and not is_setting:
                    found.append(f"{number} {unit}".strip() + f" in {tool.label(cell)}")
    return found


@pytest.mark.parametrize("source", tool.find_sources([]), ids=lambda source: source.stem)
def test_no_lesson_hard_codes_a_measured_number(source):
    assert hard_coded(tool.read(tool.notebook_of(source))) == []


def test_the_instructors_answers_repeat_no_measured_number():
    """Those to the guide's discussion questions, with the code and the claims of all lessons."""
    guide = (tool.ROOT / "docs" / "instructors.md").read_text("utf-8")
    questions = guide.partition("\n## Discussion questions\n")[2].partition("\n## ")[0]
    texts = questions.replace("<details>", "").split("\n\n")  # a fold is no excuse here
    lessons = [tool.read(tool.notebook_of(source)) for source in tool.find_sources([])]
    code = [cell for one in lessons for cell in tool.code_cells(one)]
    assert len(texts) > 3 * len(lessons)
    assert hard_coded(new_notebook(cells=[*map(new_markdown_cell, texts), *code])) == []


# --- the detector itself must be able to fail ---------------------------------------------------


def lesson(text: str) -> NotebookNode:
    """A lesson with this text, a setting of 0.97 and 1.5, and a claim that measured 92.8 %."""
    claim = claims_output()
    code = new_code_cell("amount, speed_up = 0.97, 1.5", outputs=[claim])
    return new_notebook(cells=[new_markdown_cell(text), code])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The network keeps 92.8 % of it.", "92.8 %"),
        ("After training it has 93%: a surprise.", "93 %"),  # rounded, or from an earlier run
        ("It gains 1.9 points.", "1.9 points"),
        ("The small one is 2.2 × faster.", "2.2 ×"),
        ("It is 33 times smaller.", "33 times"),
        ("One sentence takes 6.7 ms.", "6.7 ms"),
        ("The file has 1,024 kB.", "1,024 kB"),
        ("Its calibration error falls to 0.034.", "0.034"),
        ("- the dense one\n- the sparse one: 91.1 %\n- is it enough?", "91.1 %"),
        ("| network | accuracy |\n|---|---|\n| dense | 93.4 % |", "93.4 %"),
        ("The smaller half goes, and 92.8 % stay. Why?", "92.8 %"),  # no excuse for a measured one
        ("Han et al. 2015 did so; here 92.8 % are left.", "92.8 %"),
        ("It keeps 91 % <!-- not measured: -->", "91 %"),  # no reason given
    ],
)
def test_a_number_without_a_reason_is_found_and_its_cell_named(text, number):
    (found,) = hard_coded(lesson(text))
    assert found.startswith(f"{number} in cell ")
    assert text.splitlines()[0][:20] in found


@pytest.mark.parametrize(
    "text",
    [
        "We prune to 97 %, and ask for 1.5 × the speed.",
        "How much can go: 10 %, 30 %, 50 %?",
        "**Predict first.** The accuracy falls by some points: 1 %, 2 %, more.",
        "Han et al. 2015 removed 92 % of it.",
        "The paper's own table has 69.3 % for BERT.",
        'A sentence like "60 % faster" is 1.6 times the speed.',
        "Model B takes 40 % less time. <details><summary>Answer</summary>1.67 times</details>",
        "Ninety-five in a hundred: 95 % <!-- not measured: what an interval is -->",
        "LeNet-300-100 has 266,200 weights; a 3 × 3 convolution has nine, `x = 0.42` is code.",
        "## 7 · Lesson 2, section 4, seed 3",
        "## Quiz\n\nSee McNemar 1947 and Dietterich 1998, sections 2.1 and 92.8.",
    ],
)
def test_a_number_with_a_reason_passes(text):
    assert hard_coded(lesson(text)) == []
