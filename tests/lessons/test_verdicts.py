"""Claims: the verdict follows from an interval and a margin alone; one table shows them all."""

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter

from course_lib.lessons import TestSet
from course_lib.lessons.claims import MIME, SIDES, Claim, Claims, shown_in, verdict

numbers = st.floats(-1e6, 1e6)
margins = st.floats(1e-6, 1e6)
intervals = st.tuples(numbers, numbers).map(lambda ends: tuple(sorted(ends)))
OPPOSITE = {"holds": "does not hold", "does not hold": "holds", "cannot tell": "cannot tell"}


# --- the verdict


@pytest.mark.parametrize(
    ("interval", "margin", "side", "expected"),
    [
        ((0.4, 2.2), 0, "above", "holds"),
        ((-2.2, -0.4), 0, "above", "does not hold"),
        ((-0.4, 2.2), 0, "above", "cannot tell"),
        ((0.4, 2.2), 3, "below", "holds"),
        ((3.1, 4), 3, "below", "does not hold"),
        ((2, 4), 3, "below", "cannot tell"),
        ((-0.9, 0.9), 1, "within", "holds"),
        ((1.1, 2), 1, "within", "does not hold"),
        ((-2, -1.1), 1, "within", "does not hold"),
        ((0.5, 1.5), 1, "within", "cannot tell"),
        ((-1.5, 0.5), 1, "within", "cannot tell"),
        ((-5, 5), 1, "within", "cannot tell"),
        ((2, 2), 1.9, "above", "holds"),  # an exact number
    ],
)
def test_verdicts(interval, margin, side, expected):
    assert verdict(interval, margin, side) == expected


@given(margins, st.floats(0, 10), st.sampled_from(SIDES))
def test_the_verdict_flips_exactly_at_the_margin(margin, width, side):
    """An interval that ends at the margin cannot tell; the next float to either side can."""
    over, under = math.nextafter(margin, math.inf), math.nextafter(margin, -math.inf)
    assume(-margin < under - min(width, margin))
    low = under - min(width, margin)  # for "within": still above -margin
    outside, inside = (over, over + width), (low, under)
    judged = [verdict(one, margin, side) for one in (outside, (margin, over + width))]
    assert judged == ["holds" if side == "above" else "does not hold", "cannot tell"]
    judged = [verdict(one, margin, side) for one in (inside, (low, margin))]
    assert judged == ["does not hold" if side == "above" else "holds", "cannot tell"]


@given(intervals, numbers)
def test_above_and_below_are_opposites(interval, margin):
    assert verdict(interval, margin, "below") == OPPOSITE[verdict(interval, margin, "above")]


@given(intervals, numbers)
def test_a_mirrored_interval_has_the_mirrored_verdict(interval, margin):
    low, high = interval
    assert verdict((-high, -low), -margin, "below") == verdict(interval, margin, "above")


@given(intervals, margins)
def test_equivalence_does_not_depend_on_the_sign(interval, margin):
    low, high = interval
    assert verdict((-high, -low), margin, "within") == verdict(interval, margin, "within")


@given(intervals, margins)
def test_equivalence_holds_where_both_one_sided_claims_do(interval, margin):
    sides = verdict(interval, -margin, "above"), verdict(interval, margin, "below")
    expected = "does not hold" if "does not hold" in sides else "cannot tell"
    expected = "holds" if sides == ("holds", "holds") else expected
    assert verdict(interval, margin, "within") == expected


@given(margins, margins)
def test_noise_of_either_sign_cannot_tell(left, right):
    """An interval around 0 decides neither "better" nor "worse"."""
    for side in ("above", "below"):
        assert verdict((-left, right), 0.0, side) == "cannot tell"


@given(intervals, numbers, st.sampled_from(("above", "below")), st.floats(0, 1e6))
def test_a_wider_interval_never_turns_a_verdict_around(interval, margin, side, more):
    low, high = interval
    wider = verdict((low - more, high + more), margin, side)
    assert wider in {"cannot tell", verdict(interval, margin, side)}


@given(st.sampled_from(SIDES), st.sampled_from([math.nan, math.inf, -math.inf]), numbers)
def test_ends_that_are_not_finite_cannot_tell(side, end, other):
    ends = (end, other) if not end > other else (other, end)
    assert verdict(ends, 1.0, side) == "cannot tell"
    assert verdict((math.nan, math.nan), 1.0, side) == "cannot tell"


@pytest.mark.parametrize(
    ("interval", "margin", "side", "message"),
    [
        ((2, 1), 0, "above", r"\(2, 1\); expected its lower end first"),
        ((1, -math.inf), 0, "above", "lower end first"),
        ((1, 2), math.nan, "above", "margin is nan"),
        ((1, 2), math.inf, "below", "margin is inf"),
        ((1, 2), 0, "within", "margin is 0; expected a finite number above 0"),
        ((1, 2), -1, "within", "above 0"),
        ((1, 2), 0, "over", "side is 'over'; expected one of above, below, within"),
    ],
)
def test_what_cannot_be_judged_is_refused(interval, margin, side, message):
    with pytest.raises(ValueError, match=message):
        verdict(interval, margin, side)


# --- claims


def claim(statement="LeNet keeps its accuracy", **changes) -> Claim:
    given = {"value": (0.013, 0.004, 0.022), "margin": -0.01, "unit": "points"} | changes
    return Claims().add(statement, **given)


@pytest.mark.parametrize(
    ("changes", "measured", "claimed"),
    [
        ({}, "+1.3 points (+0.4 to +2.2)", "above -1 point"),
        (
            {"value": (-0.02, -0.03, 0.001), "side": "within", "margin": 0.01},
            "-2.0 points (-3.0 to +0.1)",
            "within ± 1 point",
        ),
        (
            {"value": (0.948, 0.933, 0.96), "unit": "%", "margin": 0.9},
            "94.8 % (93.3–96.0)",
            "above 90 %",
        ),
        (
            {"value": (1.82, 1.71, 1.95), "unit": "×", "margin": 1},
            "1.82 × (1.71–1.95)",
            "above 1 ×",
        ),
        (
            {"value": 12345, "unit": "bytes", "margin": 20000, "side": "below"},
            "12,345 bytes",
            "below 20,000 bytes",
        ),
        ({"value": 0.1, "margin": 0.0}, "+10.0 points", "above 0 points"),
        (  # an end that would round to the margin
            {"value": (0.0051, -0.0098, 0.02), "margin": -0.01},
            "+0.51 points (-0.98 to +2.00)",
            "above -1 point",
        ),
        (
            {"value": (-0.0038, -0.00998, 0.003), "side": "within", "margin": 0.01},
            "-0.380 points (-0.998 to +0.300)",
            "within ± 1 point",
        ),
        (
            {"value": (280, 249.7, 301), "unit": "×", "margin": 250},
            "280 × (249.7–301)",
            "above 250 ×",
        ),
        ({"value": (0.01, -0.01, 0.02), "margin": -0.01}, "+1.0 points (-1.0 to +2.0)", None),
        ({"value": (0.01, -0.01000001, 0.02), "margin": -0.01}, "+1.0 points (-1.0 to +2.0)", None),
        ({"value": 0.1, "margin": 0.07}, "+10.0 points", "above +7 points"),
        ({"value": 7, "unit": "", "margin": 6.5}, "7", "above 6.5"),
        (
            {"value": (math.nan, math.nan, math.nan), "unit": "%"},
            "unknown % (unknown to unknown)",
            None,
        ),
        ({"value": (1.0, -math.inf, math.inf), "unit": "×"}, "1 × (-∞ to ∞)", None),
    ],
)
def test_numbers_are_shown_as_a_person_reads_them(changes, measured, claimed):
    one = claim(**changes)
    assert one.measured == measured
    assert claimed is None or one.claimed == claimed


def test_a_result_brings_its_value_interval_and_n():
    accuracy = SimpleNamespace(value=0.95, interval=(0.93, 0.96), n=1000)
    one = claim(value=accuracy, unit="%", margin=0.9)
    assert (one.value, one.low, one.high, one.n, one.verdict) == (0.95, 0.93, 0.96, 1000, "holds")
    assert claim(value=accuracy, unit="%", margin=0.9, n=500).n == 500
    assert one.counted == "1,000"


def test_a_claim_says_what_else_its_interval_is_over():
    counts = {"seeds": {"n": 2000, "seeds": 3}, "rounds": {"rounds": 30}, "neither": {}}
    counts["one"] = {"seeds": 1}
    expected = {"seeds": "2,000, 3 seeds", "rounds": "30 rounds", "neither": "–", "one": "1 seed"}
    for name, said in expected.items():
        value = SimpleNamespace(value=2.0, interval=(1.9, 2.1), **counts[name])
        one = claim(value=value, unit="×", margin=1.6)
        assert one.counted == said


def test_accuracies_of_the_library_are_such_results():
    from course_lib.evaluation.accuracy import Accuracy

    one = claim(value=Accuracy(95, 100), unit="%", margin=0.9)
    assert (one.measured, one.verdict, one.n) == ("95.0 % (88.8–97.8)", "cannot tell", 100)


@pytest.mark.parametrize("value", ["94 %", None, (1, 2), SimpleNamespace(value=1)])
def test_what_is_no_quantity_is_refused(value):
    with pytest.raises(TypeError, match=r"expected a result with .value and .interval"):
        claim(value=value)


def test_a_margin_in_points_instead_of_a_fraction_is_refused():
    with pytest.raises(ValueError, match=r"expected a fraction.* -0.01 for -1 points"):
        claim(margin=-1)
    with pytest.raises(ValueError, match=r"0.9 for 90 %"):
        claim(margin=90, unit="%")


def test_what_cannot_be_judged_is_not_added():
    claims = Claims()
    with pytest.raises(ValueError, match="lower end first"):
        claims.add("x", value=(1, 2, 0), margin=0)
    assert claims == []


def test_a_cell_that_runs_again_replaces_its_claim():
    claims = Claims()
    for value in (1, 2):
        claims.add("first", value=value, margin=1.5)
        claims.add("second", value=value, margin=1.5)
    assert [(one.statement, one.verdict) for one in claims] == [
        ("first", "holds"),
        ("second", "holds"),
    ]


def test_a_claim_cannot_be_edited():
    with pytest.raises(dataclasses.FrozenInstanceError):
        claim().low = 3


# --- the table


def scored(*models: str) -> TestSet:
    """A test set on which these models were scored."""
    test = TestSet([0, 0])
    for i, name in enumerate(models):
        test.stored(name, torch.tensor([True, i % 2 == 0]))
    return test


def lesson() -> Claims:
    claims = Claims(scored("dense", "97 % <sparse>"))
    claims.add(
        "It stays within 1 point", value=(0.0, -0.02, 0.01), margin=-0.01, unit="points", n=1000
    )
    claims.add("It is faster", value=1.5, margin=1, unit="×", source="Han et al. 2015, § 3")
    return claims


def test_a_long_list_of_models_is_folded_away():
    names = [f"model <{i}>" for i in range(40)]
    claims = Claims(scored(*names))
    html = claims._repr_html_()
    assert "<summary><small>40 models were scored on the test set</small></summary>" in html
    assert "model &lt;39&gt;.</small></details>" in html
    assert "<details>" not in Claims(scored(*names[:3]))._repr_html_()


def test_the_table_has_a_row_for_each_claim_and_the_models_scored():
    shown, _ = DisplayFormatter().format(lesson())
    html = shown["text/html"]
    assert html.count("<tr>") == 3
    for text in ("?\xa0cannot tell", "✓\xa0holds", "1,000", "Han et al. 2015, § 3", "this course"):
        assert text in html
    assert "2 models were scored on the test set: dense, 97 % &lt;sparse&gt;." in html
    assert "2 models were scored" in shown["text/plain"]
    assert "cannot tell: It stays within 1 point\n" in shown["text/plain"]


def test_claims_beyond_those_shown_are_folded_and_still_collected(tmp_path):
    claims = lesson()
    claims.shown = 1
    first, _, folded = claims._repr_html_().partition("<details><summary>1 more</summary>")
    assert "It stays within 1 point" in first and "It is faster" in folded
    assert "models were scored" in folded.partition("</details>")[2]
    assert shown_in(notebook(tmp_path, claims)) == list(claims)
    assert "<details" not in lesson()._repr_html_()


def test_the_models_are_counted_when_the_table_is_shown():
    test = scored()
    claims = Claims(test)
    assert claims.scored == "0 models were scored on the test set."
    test.stored("dense", torch.tensor([True, True]))
    assert claims.scored == "1 model was scored on the test set: dense."
    assert Claims().scored == ""
    assert repr(Claims()) == "no claims yet"


def test_html_is_escaped_everywhere():
    nasty = "<script>&"
    claims = Claims(scored(nasty))
    one = claims.add(nasty, value=1, margin=0, unit=nasty, source=nasty)
    for html in (claims._repr_html_(), one._repr_html_()):
        assert "<script>" not in html
        assert "&lt;script&gt;&amp;" in html


def notebook(tmp_path, *tables: Claims):
    cells = [{"cell_type": "markdown"}]
    for table in tables:
        data = DisplayFormatter().format(table)[0]
        stream = {"output_type": "stream", "name": "stdout", "text": "no claim"}
        cells.append({"cell_type": "code", "outputs": [stream, {"data": data}]})
    path = tmp_path / "lesson.ipynb"
    path.write_text(json.dumps({"cells": cells}, allow_nan=False))
    return path


def test_claims_are_read_back_from_an_executed_notebook(tmp_path):
    claims = lesson()
    assert shown_in(notebook(tmp_path, Claims(), claims)) == list(claims)
    assert shown_in(notebook(tmp_path)) == []
    with pytest.raises(FileNotFoundError):
        shown_in(tmp_path / "none.ipynb")


def test_what_is_not_finite_is_stored_too(tmp_path):
    claims = Claims()
    claims.add("x", value=(math.nan, 0.0, math.inf), margin=1)
    (back,) = shown_in(notebook(tmp_path, claims))
    assert back.verdict == claims[0].verdict == "cannot tell"
    assert back.low == 0.0 and math.isnan(back.value) and math.isnan(back.high)


def test_a_single_claim_is_not_collected_twice():
    shown, _ = DisplayFormatter().format(claim())
    assert MIME not in shown
    assert shown["text/html"].startswith("<b>✓ holds: LeNet")
