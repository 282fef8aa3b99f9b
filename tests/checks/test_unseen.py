"""The report on unseen answers counts what matters."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent / "unseen"
spec = importlib.util.spec_from_file_location("unseen_report", HERE / "report.py")
report = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = report  # where its dataclass looks for itself
spec.loader.exec_module(report)

ANSWERS = '''
def right_sum(words, width):
    return words * width + 4 * words

def right_and_refused(words, width):
    global KEPT
    KEPT = words * width
    return KEPT

def wrong_accepted(words, width):
    """none, in truth"""
    return words * (width + 4)

def wrong_and_named(words, width):
    """bits
    and more words"""
    return 8 * words * (width + 4)

def wrong_in_general(words, width):
    """anything"""
    return words**2 + width**3
'''


def test_the_report_counts(tmp_path):
    path = tmp_path / "int8_bytes.py"
    path.write_text(ANSWERS, "utf-8")
    found = report.looked_at(path)
    assert [one.said for one in found if one.words == "bits"] == [
        "8 times what is expected: bits for bytes?"
    ]
    assert report.summary(found, {"int8_bytes.wrong_and_named"}) == [
        "right answers refused: 1 of 2 (50.0%)",
        "wrong answers accepted: 1 of 3 (33.3%)",
        "wrong answers with the general message: 1 of 3 (33.3%)",
        "wrong answers named wrongly: 1 of 3 (33.3%)",
    ]
