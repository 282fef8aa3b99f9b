"""Write the table of docs/reliability.md from the tests: python tools/reliability.py

One heading for each file with tests that are marked `reliability`, most of them in tests/reliability:
what it says of itself, each fault that its tests try, and how many cases these are. pytest collects the
tests and runs none. A test compares the page with them.
"""

from __future__ import annotations

import subprocess
import sys
from ast import FunctionDef, get_docstring, parse
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
MARK = "mark." + "reliability"  # in two parts, so that this tool's own test is no such file
START, END = "<!-- made by tools/reliability.py -->\n", "<!-- end -->\n"


def marked_files() -> list[str]:
    """The test files in which a test is marked."""
    found = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = [path for path in found if MARK in path.read_text("utf-8")]
    return [path.relative_to(ROOT).as_posix() for path in marked]


def collected() -> Counter[tuple[str, str]]:
    """(file, test) → how many cases it has, for the tests that are marked `reliability`."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "reliability"]
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", *marked_files()]
    run = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"pytest could not collect the tests:\n{run.stdout[-2000:]}{run.stderr}")
    return cases(run.stdout.splitlines())


def cases(lines: list[str]) -> Counter[tuple[str, str]]:
    """The same from pytest's node ids.

    >>> cases(["tests/a.py::test_b[1]", "tests/a.py::test_b[x::y]", "2 tests collected"])
    Counter({('tests/a.py', 'test_b'): 2})
    """
    nodes = (line.partition("[")[0].split("::") for line in lines if ".py::test_" in line)
    return Counter((node[0], node[1]) for node in nodes)


def table(found: Counter[tuple[str, str]]) -> str:
    """For each file a heading, its number of cases, and a row for each test."""
    files = sorted({file for file, _ in found})
    total = sum(found.values())
    lines = [f"{total} cases of faults are tried. Each must be survived, or `make test` fails.\n"]
    for file in files:
        module = parse((ROOT / file).read_text("utf-8"))
        about = (get_docstring(module) or file).partition("\n\n")[0]
        tests = [
            node
            for node in module.body
            if isinstance(node, FunctionDef) and (file, node.name) in found
        ]
        count = sum(found[file, node.name] for node in tests)
        lines += [f"### {plain(about).rstrip('.')}\n", f"{count} cases in `{file}`.\n"]
        lines += ["| What holds | Why | Cases |", "|---|---|---:|"]
        for node in tests:
            why = plain(get_docstring(node) or "")
            lines.append(f"| {said(node.name)} | {why} | {found[file, node.name]} |")
        lines.append("")
    return "\n".join(lines)


def said(name: str) -> str:
    """The name of a test as a sentence.

    >>> said("test_two_at_once_wait_for_each_other")
    'Two at once wait for each other'
    """
    words = name.removeprefix("test_").replace("_", " ")
    return words[:1].upper() + words[1:]


def plain(text: str) -> str:
    """One line that a table takes."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def rewritten(page: str, made: str) -> str:
    """The page with the table between the two marks."""
    before, _, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name} must hold the lines {START.strip()} and {END.strip()}.")
    return f"{before}{START}\n{made}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), table(collected())), "utf-8", newline="\n")
