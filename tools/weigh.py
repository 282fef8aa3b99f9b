"""Write into docs/install.md what the packages of `make lab` weigh: python tools/weigh.py

It measures the environment that runs it. Packages below 10 MB share one row.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "install.md"
MARKS = re.compile(r"(<!-- weights:.*?-->\n).*?(<!-- end of weights -->)", re.DOTALL)
LEAST = 10e6  # bytes
NEEDED_FOR = {
    "torch": "every network and every training",
    "pyarrow": "`datasets`, which holds the texts",
    "scipy": "the intervals and tests of every comparison; scikit-learn needs it, too",
    "vl-convert-python": "the sliders' charts, drawn without a browser; it brings Vega for the site",
    "onnxruntime": "int8 models, and running one without PyTorch",
    "numpy": "everything above",
    "transformers": "BERT and its relatives",
    "pandas": "`datasets` needs it; lessons show tables with it",
    "jupyterlab": "opening the lessons",
    "scikit-learn": "the linear baseline on TF-IDF, and the split of the data",
    "babel": "JupyterLab needs it",
    "sympy": "PyTorch needs it",
    "matplotlib": "the figures",
    "fonttools": "matplotlib needs it",
    "onnx": "writing and changing int8 models",
    "pillow": "pictures",
    "jedi": "completion in notebooks",
    "debugpy": "JupyterLab's debugger",
    "hf-xet": "`huggingface_hub` needs it",
    "tokenizers": "turning text into tokens",
}


def weights() -> dict[str, int]:
    """The bytes of each installed package that `make lab` needs."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    groups = {line.partition("==")[0]: line.partition("  # ")[2].split() for line in lines}
    found = {}
    for package in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        if {"lab", "cpu"} & set(groups.get(name, [])):
            paths = [Path(str(package.locate_file(file))) for file in package.files or []]
            found[name] = sum(path.stat().st_size for path in paths if path.is_file())
    return found


def table(found: dict[str, int]) -> str:
    """The weights as a table, the heaviest first.

    >>> print(table({"torch": 700_000_000, "a": 1_000_000, "b": 2_000_000}))
    | package | MB | what for |
    |---|---|---|
    | torch | 700 | every network and every training |
    | 2 others | 3 | |
    | together | 703 | |
    """
    rows = ["| package | MB | what for |", "|---|---|---|"]
    light = [size for size in found.values() if size < LEAST]
    for name, size in sorted(found.items(), key=lambda item: -item[1]):
        if size >= LEAST:
            rows.append(
                f"| {name} | {size / 1e6:.0f} | {NEEDED_FOR.get(name, '')} |".replace("|  |", "| |")
            )
    rows.append(f"| {len(light)} others | {sum(light) / 1e6:.0f} | |")
    rows.append(f"| together | {sum(found.values()) / 1e6:,.0f} | |")
    return "\n".join(rows)


def main() -> None:
    """Replace the table."""
    text = PAGE.read_text("utf-8")
    if not MARKS.search(text):
        sys.exit(f"{PAGE.name} has no place for the table.")
    made = table(weights())
    PAGE.write_text(MARKS.sub(lambda marks: f"{marks[1]}{made}\n{marks[2]}", text), "utf-8")


if __name__ == "__main__":
    main()
