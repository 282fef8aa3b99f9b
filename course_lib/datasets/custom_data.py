"""Your own labeled texts, read from a file and checked."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from course_lib.datasets.sentences import normalized
from course_lib.evaluation.accuracy import Accuracy
from course_lib.files import printable, quoted

ROWS, ROWS_OF_A_CLASS = 200, 10  # the fewest that are accepted
COLUMNS = 1000
PARTS = ("train", "validation", "test")
LONGEST = 131_072  # characters of one field, the limit of Python's csv


def read_examples(
    path: Any, seed: int = 0, *, text: str = "text", label: str = "label"
) -> DatasetDict:
    """Labeled texts from a file or a table, in three parts: 60 % train, 20 % validation, 20 % test.

    A text is dropped if an earlier one has the same words (`sentences.normalized`), so that no text is
    in two parts. Printed are how many were dropped, how many of those had another label than the one
    that stays, and the rows of each class. The parts are stratified. Explained in lesson 6.

    Args:
        path: a ``.csv`` or ``.tsv`` with the columns ``text`` and ``label``, a ``.jsonl`` with these
            keys, a `pandas.DataFrame` or a `datasets.Dataset`. Labels are whole numbers 0, 1, …, or
            words, which are numbered in alphabetical order. A column ``split`` with the words train,
            validation and test fixes the parts.
        seed: of the split (default 0).
        text, label: the columns, where yours have other names.

    Returns:
        ``train``, ``validation`` and ``test`` with the columns ``text`` and ``label``, a `ClassLabel`
        with the words.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: it is neither a path nor a table.
        ValueError: it cannot be read, lacks a column, a text or a label, or has a text of more than
            131,072 characters, too few different texts, one class, a class with too few rows, labels
            with gaps, fractions or two spellings; or its column ``split`` holds something else.

    Example:
        >>> import tempfile
        >>> rows = [json.dumps({"text": f"Film {i}.", "label": "no yes".split()[i % 2]})
        ...         for i in range(300)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "my.jsonl")
        ...     _ = file.write_text("\\n".join(rows))
        ...     parts = read_examples(file)
        my.jsonl: 300 rows, 0 repeated ones dropped; train 180, validation 60, test 60; no 150, yes 150.
        >>> parts["train"].features["label"].names
        ['no', 'yes']
    """
    file, found = _rows_of(path)
    for place, row in found.items():
        _check_row(row, f"{place} of {file}", text, label)
    rows = {place: _renamed(row, text, label) for place, row in found.items()}
    first: dict[str, dict[str, Any]] = {}
    conflicts = []
    for place, row in rows.items():  # signs alone, such as ":)", have no words
        kept = first.setdefault(normalized(row["text"]) or row["text"].strip(), row)
        if _label_of(kept) != _label_of(row):
            conflicts.append(f"{place.lower()}: {_label_of(row)}, not {_label_of(kept)}")
    different = list(first.values())
    if len(different) < ROWS:
        n = max(5, len(different)) // 5
        raise ValueError(
            f"{file} has {len(different)} different texts; expected {ROWS} or more. A fifth of "
            f"them is the validation part, where an accuracy would be {Accuracy(round(0.8 * n), n)}: "
            "too vague to choose by."
        )
    names, numbers = _numbered([_label_of(row) for row in different], file)
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    texts = [row["text"] for row in different]
    whole = Dataset.from_dict({"text": texts, "label": numbers}, features=features)
    parts = _own_split(whole, different, file) or _random_split(whole, seed)
    sizes = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
    dropped = len(rows) - len(different)
    count = Counter(numbers)
    classes = listed([f"{name} {count[i]:,}" for i, name in enumerate(names)])
    print(f"{file}: {len(rows):,} rows, {dropped:,} repeated ones dropped; {sizes}; {classes}.")
    if conflicts:
        print(
            f"Of the dropped ones {len(conflicts):,} have another label than the same text before "
            f"them, whose label was kept: {listed(conflicts)}. Which is right? Correct the file."
        )
    return DatasetDict(parts)


def read_unlabeled(path: Any, text: str = "text") -> list[str]:
    """Texts without labels from a file, each once: what a teacher can label for its student.

    Args:
        path: a ``.txt`` with one text a line, or whatever `read_examples` takes, without labels.
        text: the column that holds the text, if there are columns (default: this word).

    Raises:
        FileNotFoundError, TypeError, ValueError: as `read_examples`; or it holds no text.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "more.txt")
        ...     _ = file.write_text("A film.\\n\\nAnother film.\\nA film.\\n")
        ...     read_unlabeled(file)
        ['A film.', 'Another film.']
    """
    file, rows = _rows_of(path)
    texts = {}
    for place, row in rows.items():
        texts[place] = row if isinstance(row, str) else _text_of(row, text, f"{place} of {file}")
        _check_text("text", texts[place], f"{place} of {file}")
    found = list(dict.fromkeys(text.strip() for text in texts.values() if text.strip()))
    if not found:
        raise ValueError(f"{file} holds no text; expected one a line in a .txt.")
    return found


def class_counts(parts: Mapping[str, Dataset]) -> dict[str, dict[str, int]]:
    """Class → the number of its rows in each part.

    Example:
        >>> kind = Features({"label": ClassLabel(names=["no", "yes"])})
        >>> class_counts({"train": Dataset.from_dict({"label": [1, 0, 1]}, features=kind)})
        {'no': {'train': 1}, 'yes': {'train': 2}}
    """
    names = parts["train"].features["label"].names
    counted = {part: Counter(rows["label"][:]) for part, rows in parts.items()}
    return {
        name: {part: count[i] for part, count in counted.items()} for i, name in enumerate(names)
    }


def listed(words: Sequence[str]) -> str:
    """The first six of some words, at most 200 characters, for an error message.

    Example:
        >>> listed("negative positive".split())
        'negative, positive'
    """
    line = printable(", ".join(word[:200] for word in words[:6]))
    return line if len(line) <= 200 and len(words) <= 6 else f"{line[:198]} …"


def _random_split(whole: Dataset, seed: int) -> dict[str, Dataset]:
    settings: dict[str, Any] = {"stratify_by_column": "label", "seed": seed}
    most = whole.train_test_split(test_size=0.4, **settings)
    rest = most["test"].train_test_split(test_size=0.5, **settings)
    return {"train": most["train"], "validation": rest["train"], "test": rest["test"]}


def _own_split(whole: Dataset, rows: Sequence[Any], file: str) -> dict[str, Dataset] | None:
    """The parts that a column ``split`` names; None where there is no such column."""
    if not any("split" in row for row in rows):
        return None
    words = [str(row.get("split", "")).strip().lower() for row in rows]
    if set(words) != set(PARTS):
        raise ValueError(
            f"The column 'split' of {file} holds {listed(sorted(set(words)))}; expected "
            f"{', '.join(PARTS)}, each of them. Rename the words, or leave the column out: then the "
            "rows are split at random."
        )
    at = {part: [i for i, word in enumerate(words) if word == part] for part in PARTS}
    return {part: whole.select(places) for part, places in at.items()}


def _label_of(row: Mapping[str, Any]) -> str:
    return str(row["label"]).strip()


def _text_of(row: Any, text: str, place: str) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(text), str):
        raise ValueError(f"{place} is {quoted(row)}; expected a row with a column {text!r}.")
    return row[text]


def _renamed(row: Mapping[str, Any], text: str, label: str) -> dict[str, Any]:
    """A row with the columns that the course knows."""
    split = {"split": row["split"]} if "split" in row else {}
    return {"text": row[text], "label": row[label], **split}


def _rows_of(source: Any) -> tuple[str, dict[str, Any]]:
    """What the source is called, and its rows by their place, such as "Line 7"."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return path.name, _read(path)
    if isinstance(source, Dataset):
        rows, kinds = source.to_list(), source.features
        named = {k: kind.int2str for k, kind in kinds.items() if isinstance(kind, ClassLabel)}
        for row in rows:  # a hidden label, −1, has no word
            words = {k: word for k, word in named.items() if row[k] is not None and row[k] >= 0}
            row |= {k: word(row[k]) for k, word in words.items()}
    elif isinstance(source, pd.DataFrame):
        rows = source.to_dict("records")
    else:
        raise TypeError(
            f"Got a {type(source).__name__}; expected the path of a .csv, .tsv or .jsonl, a DataFrame "
            "or a Dataset. Of a DatasetDict, give one part."
        )
    return "the table", {f"Row {i}": row for i, row in enumerate(rows, 1)}


def _read(path: Path) -> dict[str, Any]:
    """The rows of a file, by the line where each begins."""
    if not os.path.isfile(path):  # False, too, where no path can be so long
        raise FileNotFoundError(
            f"There is no file {quoted(str(path))}; expected a .csv, .tsv or .jsonl. A path that does "
            "not begin with / starts at the notebook's folder."
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # Excel begins with a BOM
            return {f"Line {number}": row for number, row in _lines(file, path.suffix.lower())}
    except (ValueError, csv.Error, RecursionError, OSError) as error:
        why = str(error)[:200]
        if isinstance(error, UnicodeDecodeError):
            why = "it is not UTF-8. A spreadsheet can save it as “CSV UTF-8”"
        raise ValueError(
            f"{path.name} cannot be read: {why}. Expected UTF-8 with texts of at most "
            f"{LONGEST:,} characters: a .csv with commas (a .tsv with tabs) between the columns and "
            "texts in double quotes, or a .jsonl with one JSON object a line."
        ) from error


def _lines(file: Any, suffix: str) -> Iterator[tuple[int, Any]]:
    """The number of the line where a row begins, and the row."""
    if suffix == ".txt":
        yield from enumerate(file.read().splitlines(), 1)
        return
    if suffix == ".jsonl":
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number} is not JSON ({str(error)[:100]})") from None
            if row is not None:
                yield number, row
        return
    # Unlike pandas, it leaves words such as "None" alone, and hides no surplus column.
    reader = csv.DictReader(file, strict=True, delimiter="\t" if suffix == ".tsv" else ",")
    names = reader.fieldnames or ()
    if len(names) > COLUMNS:
        raise ValueError(f"it has {len(names):,} columns, and at most {COLUMNS} are read")
    for mark, word in {";": "semicolons", "\t": "tabs", ",": "commas"}.items():
        if len(names) == 1 and mark in names[0]:
            raise ValueError(f"its first line holds {word} between the columns")
    begins = reader.line_num + 1
    for row in reader:
        yield begins, row
        begins = reader.line_num + 1


def _check_row(row: Any, place: str, text: str, label: str) -> None:
    if not isinstance(row, dict) or not {text, label} <= set(row):
        there = (
            listed([quoted(key) for key in [*row][:7]]) if isinstance(row, dict) else quoted(row)
        )
        raise ValueError(
            f"{place} has {there}; expected {text!r} and {label!r}, separated by commas in a .csv. "
            "Rename what holds them, or name it: read_examples(…, text=…, label=…)."
        )
    if None in row:
        raise ValueError(
            f"{place} has more fields than the first line names: put texts that hold a comma into "
            "double quotes."
        )
    for column, right in ((text, str), (label, (str, int, float))):
        value = row[column]
        finite = not isinstance(value, float) or math.isfinite(value)  # JSON here knows NaN
        if not isinstance(value, right) or not str(value).strip() or not finite:
            raise ValueError(
                f"{place} has the {column} {quoted(value)}: fill it in, or delete the row."
            )
        _check_text(column, str(value), place)


def _check_text(column: str, text: str, place: str) -> None:
    if len(text) > LONGEST:
        raise ValueError(
            f"{place} has a {column} of {len(text):,} characters; expected at most {LONGEST:,}. Cut it."
        )
    if re.search("[\ud800-\udfff]", text):
        raise ValueError(
            f"{place} has the {column} {quoted(text)}, with half of a character (a lone surrogate such "
            "as \\ud83d): delete that half."
        )


def _numbered(words: Sequence[str], file: str) -> tuple[list[str], list[int]]:
    """The names of the classes, and the number of each row's class."""
    names = sorted(set(words))
    if all(re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", name, re.IGNORECASE) for name in names):
        expected = [str(number) for number in range(len(names))]
        if set(names) != set(expected):
            raise ValueError(
                f"The labels of {file} are {listed(names)}; expected whole numbers without a gap, "
                f"{listed(expected)}, or words."
            )
        names = expected
    twins = [name for name in names if [n.casefold() for n in names].count(name.casefold()) > 1]
    if twins:
        raise ValueError(
            f"The labels {listed([quoted(name) for name in twins])} of {file} differ in case alone; "
            "expected one word for each class. Write each the same way in all rows."
        )
    count = Counter(words)
    if len(names) == 1:
        raise ValueError(
            f"Every label of {file} is {quoted(names[0])}; expected two classes or more."
        )
    if few := [f"{name[:30]!r}: {count[name]}" for name in names if count[name] < ROWS_OF_A_CLASS]:
        raise ValueError(
            f"Of {len(names)} classes in {file}, {len(few)} have too few rows ({listed(few)}); "
            f"expected {ROWS_OF_A_CLASS} or more of each. Add rows, or join or drop small classes."
        )
    number = {name: i for i, name in enumerate(names)}
    return names, [number[word] for word in words]
