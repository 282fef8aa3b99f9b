"""Checks for the exercises of lesson 6, your own model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib.checks.checking import Check, call, calls
from course_lib.checks.comparing import Range
from course_lib.checks.guarding import Seen
from course_lib.compression.report import Report, stored_report

Answer = Callable[..., Any]

# --- 1 · choose max_length --------------------------------------------------------------------------

choose_max_length = Check(
    name="choose_max_length",
    right="""
def choose_max_length(lengths, most_cut):
    for limit in sorted(lengths):
        cut = sum(length > limit for length in lengths)
        if cut / len(lengths) <= most_cut:
            return limit
""",
    tries={
        "lengths 12, 30, 40, 7, 90, 25, 18, 33, and a quarter may be cut": call(
            [12, 30, 40, 7, 90, 25, 18, 33], 0.25
        ),
        "the same, and 30 % may be cut": call([12, 30, 40, 7, 90, 25, 18, 33], 0.3),
        "the same, and 35 % may be cut (2.8 of 8)": call([12, 30, 40, 7, 90, 25, 18, 33], 0.35),
        "lengths 20, 50, 20, 20, 20, and a fifth may be cut": call([20, 50, 20, 20, 20], 0.2),
        "lengths 5, 6, and all may be cut": call([5, 6], 1.0),
        "eleven lengths: 8, 31, 15, 4, 22, 15, 60, 9, 41, 15, 27, and many shares": calls(
            {
                f"{percent}%": ([8, 31, 15, 4, 22, 15, 60, 9, 41, 15, 27], percent / 100)
                for percent in (12, 16, 19, 24, 28, 33, 41, 50, 58, 67, 76, 85, 94)
            }
        ),
    },
    mistakes="""
a text of exactly that length counts as cut | A text with as many tokens as max_length is read in full.
  length > limit => length >= limit
fewer than the share, never as many | "At most a quarter" allows exactly a quarter.
  <= most_cut => < most_cut
a number of texts, not a share | most_cut is a share of all texts, such as 0.25.
  cut / len(lengths) => cut
the share that may stay whole | most_cut is the share that loses its end, not the one that stays whole.
  <= most_cut => <= 1 - most_cut
a fixed list of limits, not the lengths | The smallest limit that does is one of the lengths themselves.
  sorted(lengths) => (16, 32, 64, 128, 256, 512)
the longest text | That cuts nothing, and one long text then makes all the others slow. Take the smallest limit that keeps to the share.
  = return max(lengths)
the mean length | About half of the texts are longer than the mean. Count how many are cut.
  = return sum(lengths) / len(lengths)
the median length | Half of the texts are longer than that, whatever most_cut says.
  = return sorted(lengths)[len(lengths) // 2]
equal lengths are counted once | The share is that of all texts: three texts of one length are three.
  = lengths = sorted(set(lengths))
  = return next(n for n in lengths if sum(m > n for m in lengths) / len(lengths) <= most_cut)
a count that is rounded up | 2.8 texts may be cut, so two may, and not three: the share would be larger than allowed.
  cut / len(lengths) <= most_cut => cut <= round(most_cut * len(lengths))
where all may be cut, the longest | An index of −1 is the last place. Where all may be cut, the smallest length will do.
  = row = sorted(lengths)
  = return row[len(row) - 1 - int(most_cut * len(row))]
how many are cut, not the limit | Give the limit in tokens.
  return limit => return cut
the percentile between two texts | An interpolated percentile is no length of a text, and may cut more texts than allowed.
  = return float(np.quantile(lengths, 1 - most_cut))
""",
    checked="shares that fit exactly and that do not, equal lengths, all of the texts",
    not_checked="a share of 0, no texts at all, what the cut ends would have said",
)

# --- 2 · a width for a budget -----------------------------------------------------------------------


def _raises(*given: Any) -> Callable[[Answer], Any]:
    """A try: the result, or the name of what was raised."""

    def attempt(answer: Answer) -> Any:
        try:
            return call(*given)(answer)
        except ValueError:  # or a kind of it
            return "ValueError"
        except (ArithmeticError, LookupError, AssertionError, TypeError) as error:
            return type(error).__name__

    return attempt


_TOO_MANY = "9 MB, 30,000 tokens, 6 layers, hidden size 384: which error?"
_JUST = "3 MB, 30,000 tokens, 1 layer, hidden size 100 (no room is left): which error?"

width_for = Check(
    name="width_for",
    right="""
def width_for(megabytes, tokens, layers, hidden):
    left = megabytes * 1e6 - tokens * hidden
    if left <= 0:
        raise ValueError("The embeddings alone do not fit.")
    return min(1.0, left / (layers * 12 * hidden**2))
""",
    tries={
        "5 MB, 12,000 tokens, 6 layers, hidden size 312": call(5, 12_000, 6, 312),
        "3.4 MB, 5,000 tokens, 4 layers, hidden size 256": call(3.4, 5_000, 4, 256),
        "40 MB, 12,000 tokens, 6 layers, hidden size 384 (all of it fits)": _raises(
            40, 12_000, 6, 384
        ),
        "many budgets: MB, tokens, layers, hidden size": calls(
            {
                "2.6, 7,000, 5, 200": (2.6, 7_000, 5, 200),
                "11.5, 30,000, 12, 312": (11.5, 30_000, 12, 312),
                "0.9, 3,000, 2, 128": (0.9, 3_000, 2, 128),
                "19, 21,000, 7, 512": (19, 21_000, 7, 512),
                "0.4, 1,300, 1, 300": (0.4, 1_300, 1, 300),
            }
        ),
        _TOO_MANY: _raises(9, 30_000, 6, 384),
        _JUST: _raises(3, 30_000, 1, 100),
    },
    mistakes="""
the embeddings are forgotten | The table of embeddings takes its bytes first. Only what it leaves is for the layers.
  megabytes * 1e6 - tokens * hidden => megabytes * 1e6
attention only | A layer has two feed-forward matrices, too, and they are larger.
  12 * hidden**2 => 4 * hidden**2
feed-forward matrices only | A layer has four attention matrices, too.
  12 * hidden**2 => 8 * hidden**2
feed-forward matrices as wide as the hidden size | They are hidden × 4 hidden: four times as wide.
  12 * hidden**2 => 6 * hidden**2
float32, not int8 | In int8 a weight takes one byte, not four.
  left / (layers * 12 * hidden**2) => left / (4 * layers * 12 * hidden**2)
megabytes taken for bytes | A megabyte is a million bytes.
  megabytes * 1e6 => megabytes
a negative width, and nobody is told | If the embeddings alone take the budget, no width fits. Raise ValueError.
  - if left <= 0:
  -         raise ValueError("The embeddings alone do not fit.")
  + pass
a width of 0, and nobody is told | A model without heads and units is none. Raise ValueError.
  raise ValueError("The embeddings alone do not fit.") => return 0.0
the fraction of a megabyte is dropped | 3.4 megabytes are 3,400,000 bytes.
  megabytes * 1e6 => int(megabytes) * 1e6
a width of 0 where no room is left | If nothing is left, no width above 0 fits.
  left <= 0 => left < 0
megabytes of 1,048,576 bytes | A megabyte is a million bytes here, as everywhere in this course.
  megabytes * 1e6 => megabytes * 2**20
the root of the share | Of a matrix one side alone shrinks: that of the heads or units. The hidden size stays.
  left / (layers * 12 * hidden**2) => (left / (layers * 12 * hidden**2)) ** 0.5
the embeddings shrink with the width, too | Heads and units go; the hidden size stays, and with it the table of embeddings.
  left / (layers * 12 * hidden**2) => megabytes * 1e6 / (tokens * hidden + layers * 12 * hidden**2)
where all of it fits, an error | Then the whole width fits, which is 1. Only embeddings that take the whole budget are an error.
  if left <= 0: => if left <= 0 or left > layers * 12 * hidden**2:
the megabytes of the layers, not the width | Divide by what all layers take at full width.
  min(1.0, left / (layers * 12 * hidden**2)) => left / 1e6
another error | ValueError is for a value that cannot be used. The caller looks for that one.
  raise ValueError => raise AssertionError
one layer only | The budget is for all layers together.
  layers * 12 * hidden**2 => 12 * hidden**2
""",
    checked="two budgets, one that everything fits into, two that only the embeddings fill",
    not_checked="biases and scales, whole heads, whether such a width is any good",
)

# --- 3 · does it lose less than you can afford? -----------------------------------------------------

loses_less = Check(
    name="loses_less",
    right="""
def loses_less(only_large, only_small, n, points):
    change = (only_small - only_large) / n
    half = 1.96 * (only_large + only_small - (only_small - only_large) ** 2 / n) ** 0.5 / n
    low, high = 100 * (change - half), 100 * (change + half)
    if low > -points:
        return "yes"
    return "no" if high < -points else "cannot tell"
""",
    tries={
        "30 and 24 of 2,000, 2 points": call(30, 24, 2000, 2),
        "130 and 60 of 2,000, 2 points": call(130, 60, 2000, 2),
        "70 and 60 of 2,000, 1 point": call(70, 60, 2000, 1),
        "190 and 60 of 2,000, 2 points": call(190, 60, 2000, 2),
        "8 and 5 of 60, 2 points": call(8, 5, 60, 2),
        "10 and 60 of 2,000, 2 points (the small one is better)": call(10, 60, 2000, 2),
        "100 and 70 of 2,000, 2.4 points": call(100, 70, 2000, 2.4),
        "20 and 17 of 1,000, 1.2 points": call(20, 17, 1000, 1.2),
        "22 and 0 of 100, 14 points": call(22, 0, 100, 14),
        "22 and 0 of 100, 30.2 points": call(22, 0, 100, 30.2),
        "40 and 0 of 100, 30.39 points": call(40, 0, 100, 30.39),
        "300 and 150 of 1,000, 10.95 points": call(300, 150, 1000, 10.95),
        "300 and 150 of 1,000, 19.05 points": call(300, 150, 1000, 19.05),
        "100 and 0 of 100, 100 points": call(100, 0, 100, 100),
        "0 and 0 of 50, 0 points": call(0, 0, 50, 0),
        "70 and 30 of 1,000, 1.5 points": call(70, 30, 1000, 1.5),
        "37 and 22 of 640, and many points": calls(
            {f"{points} points": (37, 22, 640, points) for points in (0.1, 2.3, 4.5, 4.8, 5.5, 9)}
        ),
        "260 and 90 of 900, and many points": calls(
            {
                f"{points}": (260, 90, 900, points)
                for points in (14, 15.5, 17, 18.9, 20.5, 22.8, 23.5)
            }
        ),
    },
    mistakes="""
the accuracies alone decide | Another test set would give another change. The interval says by how much.
  change - half => change
the other way round | `only_large` are the texts that the small model gets wrong. Who loses them?
  (only_small - only_large) / n => (only_large - only_small) / n
not significant, so it is good | A small test set never shows a significant difference. Ask whether the whole interval lies above −points.
  if low > -points: => if high >= 0:
the upper end decides | The lower end is the worst that the data allow. It must lie above −points.
  if low > -points: => if high > -points:
above 0, not above minus the points | You have said what you can lose. The interval may reach below 0.
  if low > -points: => if low > 0:
above the points, not above minus the points | A loss is a negative change.
  if low > -points: => if low > points:
compared with plus the points | A loss is a change below 0: the bar lies at minus the points, for both ends.
  low > -points => low > points
  high < -points => high < points
a gain counts as a loss | Who answers more rightly than before has lost nothing: keep the sign of the change.
  (only_small - only_large) / n => -abs(only_small - only_large) / n
the interval is left out | The change itself is one number; another test set would give another one.
  half = 1.96 * => half = 0 *
the change is rounded first | Rounding belongs to printing: near the bar it turns the answer.
  change = (only_small - only_large) / n => change = round(100 * (only_small - only_large) / n) / 100
an interval that ends at the limit counts as above it | "Above" means more than −points. What touches it is neither above nor below.
  low > -points => low >= -points
an interval that ends at the limit counts as below it | "Below" means less than −points. What touches it is neither above nor below.
  high < -points => high <= -points
"no" as soon as the change is below 0 | You can lose `points`. Only an interval that lies below −points says no.
  "no" if high < -points => "no" if high < 0
fractions for points | The change is a fraction: 0.01 is one point.
  100 * (change - half), 100 * (change + half) => change - half, change + half
two texts for the models, as if they were not the same | Both models answer the same texts. Only those on which they differ count.
  only_large + only_small - (only_small - only_large) ** 2 / n => n / 2
2 points, whatever may be lost | `points` says how much may be lost.
  low > -points => low > -2
  high < -points => high < -2
the interval with half a text in each count | That is for small test sets. Here the formula of the exercise is asked for.
  = m, change = n + 2, (only_small - only_large) / (n + 2)
  = half = 1.96 * ((only_large + only_small + 1) / m - change**2) ** 0.5 / m**0.5
  = if 100 * (change - half) > -points:
  =     return "yes"
  = return "no" if 100 * (change + half) < -points else "cannot tell"
the squared difference is not divided by n | Both terms below the root count texts; a square must be divided by n first.
  (only_large + only_small - (only_small - only_large) ** 2 / n) => max(0, only_large + only_small - (only_small - only_large) ** 2)
never "no" | If the whole interval lies below −points, the answer is no.
  "no" if high < -points else "cannot tell" => "cannot tell"
never "cannot tell" | An interval across −points allows both.
  "no" if high < -points else "cannot tell" => "no"
the root of the sum alone, as if nothing were shared | The formula subtracts the squared difference, divided by n.
  only_large + only_small - (only_small - only_large) ** 2 / n => only_large + only_small
True and False, not the words | Three answers do not fit into two.
  = change = (only_small - only_large) / n
  = half = 1.96 * (only_large + only_small - (only_small - only_large) ** 2 / n) ** 0.5 / n
  = return 100 * (change - half) > -points
""",
    checked="all three answers, near the limits, few texts, a small model that is better",
    not_checked="very small test sets, where half a text is added to each kind, and several seeds",
)

# --- 4 · who reads which ids? -----------------------------------------------------------------------

_TEXTS = ["good film", "dull", "so good", "film", "dull film"]
_TWICE = ["film", "good film", "film"]


def _large(text: str) -> list[int]:
    return [101, *(1000 + len(word) for word in text.split()), 102]


def _small(text: str) -> list[int]:
    return [1, *(10 + len(word) for word in text.split()), 2]


def _teacher(ids: list[int]) -> Tensor:
    return torch.tensor([sum(ids) / 100, len(ids) - 2.5])


def _rows(held_out: set[str], texts: list[str] = _TEXTS) -> Callable[[Answer], Any]:
    """A try: ids and logits of each row, as one flat list of numbers."""

    def attempt(answer: Answer) -> Any:
        rows = call(list(texts), set(held_out), _large, _small, _teacher)(answer)
        try:
            if any(isinstance(ids, str) for ids, _ in rows):
                return "texts in place of ids"
            return [[*map(float, ids), -1.0, *map(float, logits)] for ids, logits in rows]
        except (TypeError, ValueError):
            return "no pairs of ids and logits"

    return attempt


_NONE4 = "five texts, none held out"

teaching_rows = Check(
    name="teaching_rows",
    right="""
def teaching_rows(texts, held_out, large, small, teacher):
    return [(small(text), teacher(large(text))) for text in texts if text not in held_out]
""",
    tries={
        _NONE4: _rows(set()),
        "five texts, two of them held out": _rows({"so good", "dull"}),
        "five texts, one of two words held out": _rows({"dull film"}),
        "five texts, all held out": _rows(set(_TEXTS)),
        'three texts, "film" twice, none held out': _rows(set(), _TWICE),
    },
    mistakes="""
the teacher reads the student's ids | The student has another vocabulary: the same id is another token for the teacher. No error comes up, and the answers are about other texts.
  teacher(large(text)) => teacher(small(text))
the student reads the teacher's ids | Ids beyond the smaller vocabulary stop it later, and all others are other tokens.
  (small(text), teacher => (large(text), teacher
each reads the other's ids | Each model reads the ids of its own tokenizer.
  (small(text), teacher(large(text))) => (large(text), teacher(small(text)))
held-out texts are not left out | The student would train on what it is tested on, and the table would be too good.
  if text not in held_out => if True
the held-out texts alone | These are the ones to leave out.
  text not in held_out => text in held_out
the answers first, then the ids | A row is (ids, logits), in this order.
  (small(text), teacher(large(text))) => (teacher(large(text)), small(text))
the answers without the ids | A row is a pair: what the student reads, and what it should answer.
  (small(text), teacher(large(text))) => teacher(large(text))
the texts, not the ids | The student reads ids: give small(text).
  (small(text), teacher => (text, teacher
a class, not the logits | The student learns from all logits, so do not take the largest alone.
  teacher(large(text))) => teacher(large(text)).argmax().reshape(1))
a text that is a part of a held-out one goes, too | It is another text. `in` of a set compares whole texts.
  text not in held_out => not any(text in other for other in held_out)
it stops at the first held-out text | Texts behind it may be taught. `continue` goes on with the next one, `break` ends the loop.
  in texts if text not in held_out => in texts[: next((i for i, one in enumerate(texts) if one in held_out), None)]
ids and answers of different texts | zip() pairs by place. Leave the held-out texts out on both sides.
  = answers = [teacher(large(text)) for text in texts if text not in held_out]
  = return list(zip(map(small, texts), answers))
a text that comes twice has one row | A dict or a set holds each text once. Each place in `texts` has its row.
  for text in texts if => for text in dict.fromkeys(texts) if
two lists, not a list of pairs | Give a list with one pair (ids, logits) for each text.
  = rows = [text for text in texts if text not in held_out]
  = return [small(text) for text in rows], [teacher(large(text)) for text in rows]
""",
    checked="who reads which ids, held-out texts, the order of the rows",
    not_checked="texts that are the same but for case and spaces, padding, texts that are cut",
)

# --- 5 · challenge: your own budget -----------------------------------------------------------------

MEGABYTES, POINTS, TEXTS = 5.0, 10.0, 200
_GIVES = "what you give"
_MB = "model.onnx: MB"
_SAME = "model.onnx is the file that the report is about"
_N = "texts in its test part"
_LOW = "the lower end of the change, in points"


def _kind(given: Any) -> str:
    if not isinstance(given, str | Path):
        return "a report" if isinstance(given, Report) else type(given).__name__
    if not Path(given).is_dir():
        return "a file" if Path(given).exists() else "nothing is there"
    return "a folder" if stored_report(given) is not None else "a folder without a report"


def _found(folder: str | Path) -> Report:
    report = stored_report(folder)
    assert report is not None
    return report


def _megabytes(folder: str | Path) -> float:
    return (Path(folder) / "model.onnx").stat().st_size / 1e6


_ENOUGH = {_GIVES: "a folder", _MB: Range(0, MEGABYTES), _SAME: True, _N: Range(TEXTS, 1e9)}

own_budget = Check(
    name="own_budget",
    right=Seen(_ENOUGH | {_LOW: Range(-POINTS, 100)}),
    tries={
        _GIVES: _kind,
        _MB: lambda folder: _megabytes(folder),
        _SAME: lambda folder: abs(_megabytes(folder) - _found(folder).megabytes[1]) < 1e-9,
        _N: lambda folder: _found(folder).test["after"][1],
        _LOW: lambda folder: 100 * _found(folder).change.interval[0],
    },
    mistakes=f"""
the report for its folder | Give the folder that compress has written: its parameter `out`.
  ? {_GIVES}: a report
the file for its folder | Give the folder that compress has written, not a file in it.
  ? {_GIVES}: a file
there is no such folder | Is the path right, seen from where this notebook runs?
  ? {_GIVES}: nothing is there
a folder of another kind | compress writes report.json beside the model. Was the folder made by it?
  ? {_GIVES}: a folder without a report
too large | Ask for it: Target(megabytes={MEGABYTES:g}). If most of the bytes are embeddings, a lower rank helps.
  ? {_GIVES}: a folder
  ? {_MB}: {MEGABYTES} to 1e6
another file than the report is about | The report must be about this model. Run compress again.
  ? {_GIVES}: a folder
  ? {_SAME}: no
too few test texts | With so few, the interval says almost nothing. A fifth of your file becomes the test part, or what its column split says.
  ? {_GIVES}: a folder
  ? {_N}: 0 to {TEXTS - 1}
it may lose too much | The interval reaches below −{POINTS:g} points. Two ways help: a better student (more unlabeled text, more reading, a wider shape), or more test texts for a narrower interval. Choose by the validation part.
  ? {_GIVES}: a folder
  ? {_N}: {TEXTS} to 1e9
  ? {_LOW}: -100 to -{POINTS}
""",
    checked="the bytes, that the report belongs to them, the test texts, the interval of the change",
    not_checked="whether your labels are right, how often you looked at the test part, other machines",
)
