"""The decision table, and the questions that look it up."""

import pytest
from slider_samples import ADVICE, QUESTIONS

from course_lib.lessons.sliders.advice import Advice, advise, chooser, decision_table


def test_the_first_row_that_fits_gives_the_advice():
    assert advise(ADVICE, {"goal": "a small file", "data": "some"}).first == "vocabulary"
    assert advise(ADVICE, {"goal": "speed", "data": "none"}).first == "layers <first>"
    with pytest.raises(ValueError, match="No row of the table fits"):
        advise(ADVICE[:2], {"goal": "speed"})


def test_the_chooser_answers_each_change():
    explorer = chooser(QUESTIONS, ADVICE)
    goal, data = explorer.controls
    assert "int8" in explorer.readout.value
    data.value = "some"
    assert "vocabulary" in explorer.readout.value
    goal.value = "speed"
    assert "layers &lt;first&gt;" in explorer.readout.value


def test_the_decision_table_says_any_where_a_question_does_not_matter():
    rows = [Advice({"goal": "small"}, "int8", "4 × < 5 ×"), Advice({}, "layers", "faster")]
    shown = decision_table(["goal", "data"], rows)
    assert shown.count("<tr>") == 3
    cells = [cell.split(">")[1].split("<")[0] for cell in shown.split("<td")[1:]]
    assert cells == ["small", "any", "int8", "4 × &lt; 5 ×", "any", "any", "layers", "faster"]
