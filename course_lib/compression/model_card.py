"""The model card: the README.md that lies beside a small model."""

from __future__ import annotations

import re
from collections.abc import Iterable

from course_lib.compression.report import Report
from course_lib.files import printable

PICTURE = "sizes.png"


def card(report: Report) -> str:
    """The card of a compressed model in Markdown: where it comes from, what it can do, its limits."""
    given, lengths = report.settings, report.lengths
    parts = ", ".join(f"{n:,} to {_verb(part)}" for part, n in report.rows.items())
    unlabeled = (
        f"unlabeled text from {_plain(given['unlabeled'])}"
        if given["unlabeled"]
        else "variations of them"
    )
    counts = [(name, *(f"{n:,}" for n in row.values())) for name, row in report.classes.items()]
    sizes = [(name, *both) for name, both in report.cut.items()]
    measured = [(name, *both) for name, both in report.table().items()]
    texts = _plain(given["texts"])
    return f"""# {_plain(report.folder)}

A small text classifier: {_plain(", ".join(report.classes))}. It was made from a larger one by pruning,
distillation and int8, with `python -m course_lib compress`. It needs onnxruntime, tokenizers and
numpy, and no PyTorch:

    python run.py "A text."

## Where it comes from

- **Base model**: {_base(report)}.
- **Labeled texts**: {texts}, {parts}.
- **Read by the small model, too**: {unlabeled}, answered by the large model.

{_table(("class", *report.rows), counts)}

## What was cut

{_table(("", "before", "after"), sizes)}

![Size and validation accuracy after each step]({PICTURE})

## What was measured

{_table(("", "before", "after"), measured)}

{report.sentence()} {report._linear()}

Accuracies have 95 % intervals. The test part was used for this table only. Before and after were
compared on the same texts. Times are medians of one run in ONNX Runtime on one
thread, float32 before and int8 after, without tokenizing. A speed-up is the median of the ratios of
single rounds, so it may differ from the ratio of the two medians. Times differ from machine to
machine.

## Limits

- Texts are cut at {lengths["max_length"]:.0f} tokens. That shortened
  {100 * lengths["share cut"]:.1f} % of the training texts (95th percentile:
  {lengths["95th percentile"]:.0f} tokens, longest: {lengths["longest"]:,.0f}).
- It was tested on texts like those of {texts}. On other kinds of text, or in other
  languages, expect more errors: measure before you use it there.
- It has the errors and biases of its base model and of the labels. The recall of a class may be lower
  than the accuracy.
- The probability that `run.py` prints is the model's own, and was not calibrated.
"""


def _base(report: Report) -> str:
    """The base model and what it is, as far as the report says it: a folder's name says little."""
    rows = ("architecture", "{}"), ("layers", "{} layers"), ("parameters", "{} parameters")
    found = [words.format(report.cut[row][0]) for row, words in rows if row in report.cut]
    kind = f" ({', '.join(found)})" if found else ""
    tuned = "" if report.settings["classifier"] else ", fine-tuned on the labeled texts"
    return f"{_plain(report.settings['model'])}{kind}{tuned}"


def _verb(part: str) -> str:
    return {"train": "train", "validation": "choose", "test": "test"}.get(part, part)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _plain(text: str) -> str:
    """Somebody's text in one line that is neither Markdown nor HTML: no picture in it is fetched."""
    return re.sub(r"([\\`*_\[\]<>|!~&])", r"\\\1", printable(" ".join(str(text).split())))
