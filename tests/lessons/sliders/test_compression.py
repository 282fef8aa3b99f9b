"""The picture of all variants."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.timing import Latency
from course_lib.lessons.sliders.compression import (
    HEIGHT,
    WIDTH,
    Variant,
    compression_explorer,
    explorer_chart,
    explorer_view,
    grid_variants,
    pareto,
    prices,
)  # fmt: skip


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
    front = pareto({i: variant(*row) for i, row in enumerate(rows)})
    assert front
    for i, (size, ms, right) in enumerate(rows):
        beaten = any(
            rows[j] != rows[i] and rows[j][0] <= size and rows[j][1] <= ms and rows[j][2] >= right
            for j in front
        )
        assert (i in front) != beaten


def test_the_view_says_what_is_chosen_and_which_one_beats_it():
    state = explorer_view(GRID, (3, 8))
    assert "24000 bytes: 0.02 MB, 4.5 ms, 75.0 %" in state.readout
    assert "not beaten by any other" in state.readout
    assert state.data["chosen"][0]["accuracy"] == 0.75
    worse = GRID | {(9, 9): variant(500_000, 99.0, 50)}
    best = "192000 bytes: 0.19 MB, 9 ms, 92.0 %"  # of those that beat it the most accurate one
    assert f"another one beats it, such as {best}" in explorer_view(worse, (9, 9)).readout


def test_a_name_is_escaped():
    state = explorer_view({1: Variant("<b>", 1, 1.0, Accuracy(1, 2))}, 1)
    assert "&lt;b&gt;: 0.00 MB" in state.readout and "<b>: " not in state.readout


def test_the_line_of_a_panel_goes_through_the_best_at_each_cost():
    spec = explorer_chart(GRID)
    steps = spec["datasets"]["megabytes front"]
    assert [row["megabytes"] for row in steps] == [0.008, 0.024, 0.048, 0.192]
    assert [row["accuracy"] for row in steps] == [0.65, 0.75, 0.9, 0.92]
    assert [row["milliseconds"] for row in spec["datasets"]["milliseconds front"]] == [1.5, 4.5, 9]


def test_each_panel_has_a_line_and_points_of_its_own_color():
    size, latency = explorer_chart(GRID)["hconcat"]
    used = []
    for panel, cost in ((size, "megabytes"), (latency, "milliseconds")):
        colors = [
            layer["encoding"]["color"]
            for layer in panel["layer"]
            if layer["data"]["name"] == f"{cost} front"
        ]
        assert len(colors) == 2 and colors[0]["datum"] == colors[1]["datum"]
        scale = colors[0]["scale"]
        used.append(scale["range"][scale["domain"].index(colors[0]["datum"])])
    assert used[0] != used[1]


def test_the_grid_s_models_run_in_int8_at_eight_bits_alone():
    bits = (32, 8, 4)
    row = {"layers": 3, "width": 0.25, "n": 10}
    row["variants"] = [[6523, one, 0.5, 1000 * one, 5] for one in bits]
    names = {f"3 layers, 0.25 wide, {form}": ms for form, ms in (("int8", 1.0), ("float32", 2.0))}
    took = {name: Latency((ms, ms), 1, 1) for name, ms in names.items()}
    found = grid_variants([row], took)
    assert list(found) == [(3, 0.25, 6523, one, 0.5) for one in bits]
    assert [one.milliseconds for one in found.values()] == [2.0, 1.0, 2.0]
    name = found[3, 0.25, 6523, 4, 0.5].name
    assert name == "3 layers, 25 % of the width, 6,523 tokens, 4 bits, 50 % zeros"


def test_every_variant_lies_inside_the_scales():
    spec = explorer_chart(GRID, {"huge": variant(10**8, 400.0, 99)})
    rows = spec["datasets"]["variants"] + spec["datasets"]["named"]
    for panel in spec["hconcat"]:
        for channel in ("x", "y"):
            place = panel["layer"][0]["encoding"][channel]
            low, high = place["scale"]["domain"]
            assert all(low <= row[place["field"]] <= high for row in rows)


def test_variants_that_cost_the_same_are_drawn():
    spec = explorer_chart({i: variant(1000, 1.0, 90) for i in range(3)})
    low, high = spec["hconcat"][0]["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low < high


def test_a_variant_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no variant at \(2, 8\)"):
        explorer_view(GRID, (2, 8))


def test_the_sliders_choose_the_variant():
    explorer = compression_explorer(GRID, ["layers", "bits"])
    assert "192000 bytes" in explorer.readout.value
    explorer.controls[0].value = "1"
    explorer.controls[1].value = "8"
    assert "<b>8000 bytes" in explorer.readout.value


def test_a_grid_with_holes_is_refused():
    holes = {key: value for key, value in GRID.items() if key != (1, 8)}
    with pytest.raises(ValueError, match="6 positions, and there are 5 variants"):
        compression_explorer(holes, ["layers", "bits"])


@pytest.mark.parametrize("spread", [1, 100, 10_000])
def test_names_do_not_cover_each_other_and_stay_in_the_panel(spread):
    names = ("teacher", "one", "two", "three <b>")
    named = {name: variant(24_000 + spread * i, 4.5, 80) for i, name in enumerate(names)}
    spec = explorer_chart(GRID, named)
    x, y = (spec["hconcat"][0]["layer"][0]["encoding"][c]["scale"]["domain"] for c in "xy")
    boxes = []
    for row in spec["datasets"]["megabytes labels"]:
        at = WIDTH * _log(row["end"] / x[0]) / _log(x[1] / x[0])
        long = 7 * len(row["name"])
        left = at if row["side"] == "left" else at - long
        boxes.append((left, left + long, HEIGHT * (y[1] - row["label"]) / (y[1] - y[0])))
    for i, (left, right, down) in enumerate(boxes):
        assert left > -1 and right < WIDTH + 1 and -1 < down < HEIGHT + 1
        assert all(right <= a or b <= left or abs(down - at) > 12 for a, b, at in boxes[:i])


def _log(value: float) -> float:
    import math

    return math.log(value)


def test_a_move_among_some_hundred_variants_is_quick():
    many = {(i,): variant(1000 + i * 37 % 500, 1 + i % 29, 50 + i % 45) for i in range(324)}
    slider = compression_explorer(many, ["i"]).controls[0]
    start = time.process_time()  # processor time: a busy neighbor does not count
    for i in range(1, 21):
        slider.value = str(i)
    assert (time.process_time() - start) / 20 < 0.05  # seconds


def test_a_step_costs_what_its_pairs_cost_on_average():
    found = prices(GRID, ["layers", "bits"])
    assert list(found) == ["layers 6 → 3", "layers 3 → 1", "bits 32 → 8"]
    assert round(found["layers 6 → 3"]["points lost"], 6) == 15
    assert round(found["layers 6 → 3"]["MB saved"], 6) == (96 + 24) / 2000
    assert found["layers 6 → 3"]["ms saved"] == 4.5
    assert found["bits 32 → 8"]["ms saved"] == 0
    assert round(found["bits 32 → 8"]["points for each MB"], 6) == round(2 / 0.08, 6)
