"""A learner's own texts: three parts from one file, and every file that is refused."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset
from labeled_texts import sentences, written

from course_lib.datasets.custom_data import class_counts, read_examples, read_unlabeled


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
@pytest.mark.parametrize(("labels", "names"), [((1, 0), ["0", "1"]), (("no", "None"), None)])
def test_a_file_becomes_three_stratified_parts(tmp_path, capsys, name, labels, names):
    file = written(tmp_path, labels, 250, name)
    with file.open("a") as more:
        again = sentences(1)[0].upper() + "!"  # the same words as the first row
        more.write(
            f"\n{json.dumps({'text': again, 'label': labels[0]})}" if "jsonl" in name else ""
        )
        more.write("" if "jsonl" in name else f'\n"{again}",{labels[0]}')
    parts = read_examples(file)
    assert {part: len(rows) for part, rows in parts.items()} == {
        "train": 150,
        "validation": 50,
        "test": 50,
    }
    assert f"{name}: 251 rows, 1 repeated" in capsys.readouterr().out
    names = names or sorted(map(str, labels))
    truth = {text: str(labels[i % 2]) for i, text in enumerate(sentences(250))}
    for rows in parts.values():
        assert rows.features["label"].names == names
        assert sum(rows["label"]) * 2 == len(rows)
        assert all(names[row["label"]] == truth[row["text"]] for row in rows)
    assert len({text for rows in parts.values() for text in rows["text"]}) == 250
    again, other = read_examples(file), read_examples(file, seed=1)
    assert again["test"]["text"][:] == parts["test"]["text"][:] != other["test"]["text"][:]


def test_signs_without_words_are_not_all_the_same_text(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text() + "\n:),yes\n:(,no\n:),yes", "utf-8-sig")
    assert sum(map(len, read_examples(file).values())) == 242


def test_classes_are_counted_and_a_text_with_two_labels_is_named(tmp_path, capsys):
    file = written(tmp_path, ("no", "yes"), 250)
    read_examples(file)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("test 50; no 125, yes 125.")
    with file.open("a") as more:
        more.write(f'\n"{sentences(1)[0].upper()}!", yes \n"{sentences(2)[1]}",yes')
    read_examples(file)
    _, conflicts = capsys.readouterr().out.splitlines()
    assert conflicts.startswith(
        "Of the dropped ones 1 have another label than the same text before"
    )
    assert "was kept: line 252: yes, not no. Which is right?" in conflicts


def test_there_is_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.csv"):
        read_examples(tmp_path / "nothing.csv")


REFUSED = {
    "columns": (lambda s: s.replace("text,label", "review,stars"), "'review', 'stars'; expected"),
    "semicolons": (
        lambda s: s.replace(",", ";").replace('"', ""),
        "semicolons between the columns.*commas",
    ),
    "semicolons and quotes": (lambda s: s.replace(",", ";"), "holds semicolons.*commas"),
    "no text": (lambda s: s + "\n ,yes", "Line 242 .*text ' '"),
    "no label": (lambda s: s + "\na film,", "Line 242 .*label ''"),
    "no comma": (lambda s: s + "\na film", "Line 242 .*label None"),
    "no quotes": (lambda s: s + "\nA good, fine film,yes", "Line 242 .*more fields.*double quotes"),
    "open quotes": (lambda s: s + '\n"A good film,yes', "cannot be read.*double quotes"),
    "few rows": (lambda s: "\n".join(s.split("\n")[:21]), r"20 different.*200.*n = 4\)"),
    "empty": (lambda s: "", "0 different texts"),
    "one class": (lambda s: s.replace(",no", ",yes"), "'yes'; expected two"),
    "a rare class": (lambda s: s + "\na film,maybe", "'maybe': 1"),
    "a gap": (lambda s: s.replace(",no", ",1").replace(",yes", ",2"), "1, 2; expected.*0, 1"),
    "signs": (lambda s: s.replace(",no", ",-1").replace(",yes", ",1"), "-1, 1; expected.*0, 1"),
    "case": (
        lambda s: s.replace(",no", ",No", 20).replace(",yes", ",YES", 20),
        r"'No', 'YES', 'no', 'yes' of mine\.csv differ in case alone; expected one word",
    ),
    "fractions": (lambda s: s.replace(",no", ",0.0").replace(",yes", ",1.0"), "0.0, 1.0; exp"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_not_fit_is_refused(tmp_path, case):
    change, words = REFUSED[case]
    file = written(tmp_path)
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=words):
        read_examples(file)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{text", "cannot be read: line 241 is not JSON"),
        ("[1, 2]", "Line 241 .*expected"),
        ('{"text": 1, "label": 1}', "text 1"),
        ('{"text": "a film", "label": NaN}', "Line 241 .*label nan"),
        ('{"text": "a film", "label": -Infinity}', "Line 241 .*label -inf"),
        ("[" * 100_000, "cannot be read.*JSON"),
    ],
)
def test_a_broken_line_of_json_is_refused(tmp_path, line, words):
    file = written(tmp_path, name="mine.jsonl")
    file.write_text("\n".join([file.read_text(), *[line] * 20]))  # enough for a class
    with pytest.raises(ValueError, match=words):
        read_examples(file)


def test_another_encoding_is_refused(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text().replace("film", "fïlm"), "latin-1")
    with pytest.raises(ValueError, match=r"is not UTF-8.*CSV UTF-8"):
        read_examples(file)


def test_a_line_is_counted_as_an_editor_counts(tmp_path):
    """A text over three lines moves all lines after it."""
    file = written(tmp_path)
    file.write_text(file.read_text() + '\n"A film\nover three\nlines.",yes\n ,yes')
    with pytest.raises(ValueError, match=r"Line 245 of mine\.csv has the text ' '"):
        read_examples(file)


def rows_with_other_names():
    return {"body": sentences(240), "stars": ["yes", "no"] * 120, "id": list(range(240))}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "DataFrame", "Dataset"])
def test_columns_have_their_own_names_in_each_kind_of_source(tmp_path, kind, capsys):
    table = pd.DataFrame(rows_with_other_names())
    file = tmp_path / f"mine.{kind}"
    if kind == "jsonl":
        table.to_json(file, orient="records", lines=True)
    elif kind.endswith("sv"):
        table.to_csv(file, sep="\t" if kind == "tsv" else ",", index=False)
    names = ClassLabel(names=["yes", "no"])  # the model's own order of the numbers
    source = {
        "DataFrame": table,
        "Dataset": Dataset.from_pandas(table).cast_column("stars", names),
    }.get(kind, file)
    parts = read_examples(source, text="body", label="stars")
    assert "240 rows, 0 repeated ones dropped" in capsys.readouterr().out
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 144, "validation": 48, "test": 48,
    }  # fmt: skip
    words = {
        row["text"]: parts["test"].features["label"].int2str(row["label"]) for row in parts["test"]
    }
    truth = dict(zip(table["body"], table["stars"], strict=True))
    assert words == {text: truth[text] for text in words}


def test_a_table_that_is_none_is_named():
    with pytest.raises(TypeError, match=r"Got a dict; expected the path of a \.csv"):
        read_examples(rows_with_other_names())
    with pytest.raises(
        ValueError, match=r"Row 1 of the table has 'body', .*read_examples\(…, text"
    ):
        read_examples(pd.DataFrame(rows_with_other_names()))


def test_tabs_in_a_csv_are_named(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text().replace('"', "").replace(",", "\t"))
    assert_refused(file, "its first line holds tabs .*a .tsv with tabs")


# --- files that once made a mess


def assert_refused(file, words):
    """With a message that a person can read."""
    with pytest.raises(ValueError, match=words) as refusal:
        read_examples(file)
    assert type(refusal.value) is ValueError
    assert len(str(refusal.value)) < 700
    assert str(refusal.value).encode()  # no half characters


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a film \ud83d", "label": "yes"}, "Line 241 .*half of a character"),
        ({"text": "a film", "label": "\ud83d"}, "Line 241 .*half of a character"),
        (
            {"text": "so " * 15_000_000, "label": "yes"},
            "Line 241 .* a text of 45,000,000 characters",
        ),
        ({"text": "a film", "label": ["so"] * 10**6}, "Line 241 .* the label .*fill it in"),
        ({"\ud83d" * 999: 1}, "Line 241 .*expected 'text'"),
        ({f"column {i}": 1 for i in range(10**6)}, "'column 0'.*expected 'text' and 'label'"),
        (["so"] * 10**6, "Line 241 .*expected 'text' and 'label'"),
    ],
    ids=["half text", "half label", "45 MB", "a list", "half key", "1,000,000 keys", "no object"],
)
def test_a_monstrous_row_of_json_is_refused_in_few_words(tmp_path, row, words):
    file = written(tmp_path, name="mine.jsonl")
    file.write_text(f"{file.read_text()}\n{json.dumps(row)}")
    assert_refused(file, words)


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: f'{text}\n"{"so " * 15_000_000}",yes', "field.*131,072 characters"),
        (
            lambda text: text.replace("label", "label" + ",more" * 10**6, 1),
            "it has 1,000,002 columns, and at most 1000",
        ),
        (lambda text: text.replace(",yes", ",yes" * 10**4, 1), "more fields than the first line"),
        (lambda text: text.replace(",yes", f",{'y' * 10**5}"), "yyy"),
        (lambda text: "", r"0 different texts; expected 200"),
        (lambda text: "text,label", r"0 different texts; expected 200"),
    ],
    ids=["45 MB", "columns", "fields", "a label", "empty", "a head alone"],
)
def test_a_monstrous_csv_is_refused_in_few_words(tmp_path, change, words):
    file = written(tmp_path, labels=("yes", "yes"))
    file.write_text(change(file.read_text()))
    assert_refused(file, words)


@pytest.mark.reliability
@pytest.mark.parametrize("name", ["x" * 5000, "a\0b.csv", "/dev/zero", ""])
def test_a_place_where_no_texts_can_be_is_said_in_few_words(name):
    with pytest.raises(FileNotFoundError, match="There is no file") as refusal:
        read_examples(name)
    assert len(str(refusal.value)) < 700


# --- a column of its own for the parts, and text without labels


def with_split(tmp_path, words=("train", "Validation", "test ")):
    rows = [f'"{text}",{i % 2},{words[i % 3]}' for i, text in enumerate(sentences(240))]
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(["text,label,split", *rows]))
    return file


def test_a_column_split_fixes_the_parts(tmp_path):
    parts = read_examples(with_split(tmp_path))
    for i, part in enumerate(("train", "validation", "test")):
        assert parts[part]["text"][:] == sentences(240)[i::3]
    assert class_counts(parts)["1"] == {"train": 40, "validation": 40, "test": 40}


@pytest.mark.parametrize(
    "words", [("train", "dev", "test"), ("train", "test", "test"), ("", "", "")]
)
def test_a_column_split_with_other_words_is_refused(tmp_path, words):
    with pytest.raises(ValueError, match=r"'split' of mine\.csv.*expected train, validation, test"):
        read_examples(with_split(tmp_path, words))


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "x" * 45_000_000, "Line 2 of a.txt has a text of 45,000,000 characters"),
        ("a.jsonl", json.dumps({"text": "x" * 200_000}), "Line 2 of a.jsonl has a text of 200,000"),
        ("a.jsonl", '{"text": "half \\ud83d"}', "Line 2 of a.jsonl .* half of a character"),
    ],
)
def test_monstrous_unlabeled_text_is_refused_in_few_words(tmp_path, name, content, words):
    """Before, it was found out in the tokenizer, after the training had begun."""
    first = "a text" if name == "a.txt" else '{"text": "a text"}'
    (tmp_path / name).write_text(f"{first}\n{content}\n")
    with pytest.raises(ValueError, match=words) as refusal:
        read_unlabeled(tmp_path / name)
    assert len(str(refusal.value)) < 400


def test_unlabeled_text_is_read_from_each_kind_of_file(tmp_path):
    lines = ["A film.", "Another, with a comma.", "A film."]
    (tmp_path / "a.txt").write_text("\n".join([*lines, "", " "]))
    (tmp_path / "a.csv").write_text("text\n" + "\n".join(f'"{line}"' for line in lines))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in lines))
    for kind in ("txt", "csv", "jsonl"):
        assert read_unlabeled(tmp_path / f"a.{kind}") == lines[:2]
    (tmp_path / "b.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"b\.txt holds no text"):
        read_unlabeled(tmp_path / "b.txt")
    (tmp_path / "b.csv").write_text("review\na film")
    with pytest.raises(ValueError, match="expected a row with a column 'text'"):
        read_unlabeled(tmp_path / "b.csv")
