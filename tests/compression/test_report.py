"""What a report says, its card, and what it advises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from course_lib.compression.model_card import card
from course_lib.compression.report import Report, stored_report
from course_lib.lessons import Claims

REPORT = Report(
    folder="small",
    settings={"texts": "mine.csv", "model": "teacher", "classifier": True, "unlabeled": "",
              "points": 2.0, "reads": 14_000},
    rows={"train": 600, "validation": 200, "test": 1000},
    classes={"a | b": {"train": 300, "validation": 100, "test": 500},
             "c": {"train": 300, "validation": 100, "test": 500}},
    lengths={"median": 20, "95th percentile": 50, "longest": 90, "share cut": 0.01, "max_length": 64},
    cut={"layers": ("6", "3")},
    stages={"teacher": (90.9, 180, 200), "prune": (24.0, 100, 200), "distill": (24.0, 178, 200),
            "int8": (7.8, 177, 200)},
    megabytes=(90.9, 7.8),
    test={"before": (880, 1000), "after": (875, 1000), "TF-IDF": (800, 1000)},
    differing={"before": (15, 10), "TF-IDF": (25, 100)},
    recall={"a | b": ((440, 500), (430, 500)), "c": ((440, 500), (445, 500))},
    f1={"a | b": (0.88, 0.86), "c": (0.87, 0.89)},
    milliseconds={"median length (20 tokens)": {"PyTorch": (9, 8, 10), "before": (4, 3, 5),
                                                "after": (1, 0.9, 1.1)}},
    speedups={"median length (20 tokens)": {"ONNX Runtime": (4, 3.5, 4.5), "PyTorch": (9, 8, 10)}},
    minutes={"measure": 1.0},
)  # fmt: skip


@pytest.mark.parametrize(
    ("differing", "verdict", "words"),
    [
        ((15, 10), "holds", "It loses less than 2 points"),
        ((90, 20), "does not hold", "It loses more than 2 points"),
        ((60, 40), "cannot tell", "We cannot tell whether it loses less than 2 points"),
    ],
)
def test_the_verdict_follows_from_the_interval(differing, verdict, words):
    report = replace(REPORT, differing={"before": differing, "TF-IDF": (25, 100)})
    assert report.verdict == verdict and report.sentence().startswith(words)
    assert report.sentence() in repr(report) and report.sentence() in card(report)
    assert (len(report.advice()) > 1) == (verdict != "holds")


def test_a_lessons_claims_count_what_was_scored_on_the_test_part():
    summary = "3 models were scored on the test set: teacher, student, TF-IDF."
    assert Claims(REPORT).scored == summary


def test_it_advises_by_what_it_has_seen():
    worse = {"before": (90, 20), "TF-IDF": (25, 100)}
    found = replace(REPORT, differing=worse).advice()
    assert any("--unlabeled" in line for line in found)
    assert not any("--max-length" in line for line in found)
    with_text = replace(REPORT, differing=worse, settings=REPORT.settings | {"unlabeled": "m.txt"})
    assert not any("--unlabeled" in line for line in with_text.advice())
    cut = replace(REPORT, differing=worse, lengths=REPORT.lengths | {"share cut": 0.2})
    assert any("--max-length" in line for line in cut.advice())
    stages = REPORT.stages | {"int8": (7.8, 150, 200)}
    assert "int8 costs" in " ".join(replace(REPORT, differing=worse, stages=stages).advice())


def test_the_table_and_the_card_have_every_number():
    table = REPORT.table()
    assert table["size"] == ("90.9 MB", "7.80 MB (11.7 times smaller)")
    assert table["test accuracy"][0].startswith("88.0 %")
    assert "4.0 times as fast, 3.5–4.5" in table["time for a text of median length (20 tokens)"][1]
    text = card(REPORT)
    assert "a \\| b" in text and "| layers | 6 | 3 |" in text
    assert "**Base model**: teacher (6 layers)." in text
    assert "cut at 64 tokens" in text and "variations of them" in text
    assert "88.0 % (85.8–89.9, n = 1,000)" in text
    assert "a | b" in REPORT._repr_html_() and "90.9 MB" in REPORT.picture().alt


def test_what_was_counted_has_a_name():
    assert (REPORT.only_teacher_right, REPORT.only_student_right, REPORT.test_texts) == (
        15,
        10,
        1000,
    )
    assert REPORT.change.value == (10 - 15) / 1000
    assert REPORT.times_smaller == 90.9 / 7.8


def test_it_travels_as_json(tmp_path):
    (tmp_path / "report.json").write_bytes(REPORT.save())
    found = stored_report(tmp_path)
    assert found is not None and repr(found) == repr(REPORT) and found.advice() == REPORT.advice()
    (tmp_path / "report.json").write_text("{}")
    assert stored_report(tmp_path) is None
