"""The tables of docs/lesson5_experiments.md are those of the stored results."""

import re
from pathlib import Path

from course_lib.lessons import results

PAGE = Path(__file__).parents[2] / "docs" / "lesson5_experiments.md"
CNN = {  # what was added → the student's name
    "transfer set": "text CNN, transfer set, validation alone",
    "+ found": "text CNN, + found, validation alone",
    "+ found + varied": "text CNN",
}


def tables() -> dict[str, str]:
    """Name of a part of the page → its text."""
    students, leaks = results("lesson5_students"), results("lesson5_leaks").rows
    text = ["| text besides the labeled sentences | passes | accuracy of each seed | mean |"]
    text.append("|---|---|---|---|")
    for added, name in CNN.items():
        passes = students.recipe["ways"][name]["passes"]
        seeds = [100 * row.double().mean().item() for row in students.column("float", student=name)]
        each = ", ".join(f"{one:.1f}" for one in seeds)
        text.append(f"| {added} | {passes} | {each} % | {sum(seeds) / len(seeds):.1f} % |")
    counts = ["| text | sentences | that share eight words in a row |", "|---|---|---|"]
    counts += [f"| {row['text']} | {row['sentences']:,} | {row['sharing']} |" for row in leaks]
    runs = [f"- {row['text']}: {'; '.join(row['runs'])}" for row in leaks]
    return {"text": "\n".join(text), "leaks": "\n".join(counts), "runs": "\n".join(runs)}


def test_the_pages_tables_are_those_of_the_stored_results():
    page = PAGE.read_text("utf-8")
    for name, text in tables().items():
        (found,) = re.findall(f"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.DOTALL)
        assert found == text, name
