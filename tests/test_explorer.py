"""The picture of all variants, and the decision table."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.explorer import (
    Advice,
    Variant,
    advise,
    chooser,
    compression_explorer,
    decision_table,
    explorer_view,
    pareto,
)
from course_lib.measure import Accuracy
from course_lib.plots import ORANGE


def variant(size: int, ms: float, right: int) -> Variant:
    return Variant(f"{size} bytes", size, ms, Accuracy(right, 100))


GRID = {
    (layers, bits): variant(layers * bits * 1000, layers * 1.5, 60 + 5 * layers + bits // 16)
    for layers in (1, 3, 6)
    for bits in (8, 32)
}


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12
    )
)
def test_each_variant_is_on_the_front_or_beaten_by_one_that_is(rows):
    variants = {i: variant(*row) for i, row in enumerate(rows)}
    front = pareto(variants)
    assert front
    for i, (size, ms, right) in enumerate(rows):
        beaten = [
            j
            for j in front
            if rows[j] != rows[i]
            and rows[j][0] <= size
            and rows[j][1] <= ms
            and rows[j][2] >= right
        ]
        assert (i in front) != bool(beaten)


def test_the_view_shows_every_variant_twice_and_the_chosen_one_in_words():
    shown = explorer_view(GRID, (3, 8))
    assert shown.count("<circle") == 2 * (len(GRID) + 1)  # and the chosen one on top
    assert "<div>24000 bytes: 0.02 MB, 4.5 ms, 75.0 %" in shown
    assert "not beaten by any other</div>" in shown
    worse = GRID | {(9, 9): variant(500_000, 99.0, 50)}
    best = "192000 bytes: 0.19 MB, 9 ms, 92.0 %"  # of those that beat it the most accurate one
    assert f"another one beats it, such as {best}" in explorer_view(worse, (9, 9))


def test_the_chosen_one_is_orange_and_the_others_stay_as_they_are():
    def circles(at):
        return re.findall(
            r'<circle cx="(\d+)" cy="(\d+)" r="(\d)" fill="(.*?)"', explorer_view(GRID, at)
        )

    one, other = circles((3, 8)), circles((1, 8))
    assert one[:-2] == other[:-2]  # all are drawn, and the chosen one once more in each panel
    assert {mark[2:] for mark in one[-2:]} == {("8", ORANGE)}
    assert [mark[:2] for mark in one[-2:]] != [mark[:2] for mark in other[-2:]]


def test_marks_stay_inside_their_panels():
    shown = explorer_view(GRID, (6, 32))
    for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', shown):
        assert 50 <= float(x) <= 320 or 400 <= float(x) <= 670
        assert 24 <= float(y) <= 226


def test_variants_that_cost_the_same_are_drawn():
    same = {i: variant(1000, 1.0, 90) for i in range(3)}
    assert "nan" not in explorer_view(same, 0)


def test_a_variant_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no variant at \(2, 8\)"):
        explorer_view(GRID, (2, 8))


def test_the_sliders_choose_the_variant():
    layers, bits, picture = compression_explorer(GRID, ["layers", "bits"]).children
    assert "6 layers" not in picture.value and "192000 bytes" in picture.value
    layers.value, bits.value = 1, 8
    assert "<div>8000 bytes" in picture.value


def test_a_grid_with_holes_is_refused():
    holes = {key: value for key, value in GRID.items() if key != (1, 8)}
    with pytest.raises(ValueError, match="6 positions, and there are 5 variants"):
        compression_explorer(holes, ["layers", "bits"])


ROWS = [
    Advice({"goal": "a small file", "data": "none"}, "int8", "it needs no data"),
    Advice({"goal": "a small file"}, "vocabulary", "most bytes are there"),
    Advice({}, "layers <first>", "faster anywhere"),
]


def test_the_first_row_that_fits_gives_the_advice():
    assert advise(ROWS, {"goal": "a small file", "data": "some"}).first == "vocabulary"
    assert advise(ROWS, {"goal": "speed", "data": "none"}).first == "layers <first>"
    with pytest.raises(ValueError, match="No row of the table fits"):
        advise(ROWS[:2], {"goal": "speed"})


def test_the_chooser_answers_each_change():
    questions = {"goal": ["a small file", "speed"], "data": ["none", "some"]}
    goal, data, answer = chooser(questions, ROWS).children
    assert "int8" in answer.value
    data.value = "some"
    assert "vocabulary" in answer.value
    goal.value = "speed"
    assert "layers &lt;first&gt;" in answer.value


def test_marked_variants_are_diamonds_with_names_and_leave_the_front_as_it_is():
    best = {"a <stack>": variant(10, 0.1, 99)}
    shown = explorer_view(GRID, (3, 8), best)
    assert shown.count("a &lt;stack&gt;</text>") == 2  # over size and over latency
    assert shown.count("l6 -6l6 6l-6 6z") == 2
    assert shown.count("<circle") == 2 * (len(GRID) + 1)
    assert "not beaten by any other</div>" in shown
    assert "diamonds" in shown and "diamonds" not in explorer_view(GRID, (3, 8))
    widget = compression_explorer(GRID, ("layers", "bits"), best)
    assert "a &lt;stack&gt;" in widget.children[-1].value


def test_names_of_points_that_lie_close_together_do_not_cover_each_other():
    close = {name: variant(24_000 + i, 4.5, 80) for i, name in enumerate(("one", "two", "three"))}
    shown = explorer_view(GRID, (3, 8), close)
    heights = [int(y) for y in re.findall(r'y="(\d+)" font-weight="bold"', shown)]
    assert len(heights) == 6
    for panel in (heights[:3], heights[3:]):
        assert all(abs(a - b) >= 12 for i, a in enumerate(panel) for b in panel[:i])


def test_a_picture_of_some_hundred_variants_stays_small_and_a_move_is_quick():
    many = {(i,): variant(1000 + i * 37 % 500, 1 + i % 29, 50 + i % 45) for i in range(324)}
    assert len(explorer_view(many, (5,))) < 100_000  # what a notebook stores, and a slider sends
    slider = compression_explorer(many, ["i"]).children[0]
    start = time.process_time()  # processor time: a busy neighbour does not count
    for i in range(1, 21):
        slider.value = i if slider.value != i else 0
    assert (time.process_time() - start) / 20 < 0.1  # seconds


def test_the_decision_table_says_any_where_a_question_does_not_matter():
    rows = [Advice({"goal": "small"}, "int8", "4 × < 5 ×"), Advice({}, "layers", "faster")]
    shown = decision_table(["goal", "data"], rows)
    assert shown.count("<tr>") == 3
    assert "4 × &lt; 5 ×" in shown
    assert [cell.split(">")[1].split("<")[0] for cell in shown.split("<td")[1:]] == [
        "small", "any", "int8", "4 × < 5 ×".replace("<", "&lt;"), "any", "any", "layers", "faster",
    ]  # fmt: skip
