"""The bits slider's numbers."""

import torch

from course_lib.evaluation.accuracy import Accuracy
from course_lib.lessons.sliders.bits import bits_chart, bits_explorer, bits_view
from course_lib.lessons.sliders.charts import svg
from course_lib.lessons.solutions import rounded_row

ROW = torch.tensor([1.0, -0.5, 0.1, 0.34])
FOUND = {
    32: (91.0, Accuracy(710, 800)),
    8: (23.0, Accuracy(709, 800)),
    3: (8.8, Accuracy(541, 800)),
}


def test_the_row_is_rounded_as_the_library_does_it():
    state = bits_view(ROW, FOUND, 3)
    rounded = [row["rounded"] for row in state.data["weights"]]
    assert torch.allclose(torch.tensor(rounded), rounded_row(ROW, 3))
    assert [row["level"] for row in state.data["levels"]] == [q / 3 for q in range(-3, 4)]
    for text in ("7 values, 0.33 apart", "up to 0.17", "8.8 MB", "67.6 %"):
        assert text in state.readout, text


def test_32_bits_leave_the_row_alone():
    state = bits_view(ROW, FOUND, 32)
    assert all(row["weight"] == row["rounded"] for row in state.data["weights"])
    assert state.data["levels"] == [] and "as they are" in state.alt


def test_all_points_lie_inside_the_picture_and_a_move_arrives():
    picture = svg(bits_chart(ROW, FOUND), bits_view(ROW, FOUND, 8))
    assert "NaN" not in picture and ">32<" in picture
    explorer = bits_explorer(ROW, FOUND)
    assert "<b>3 bits</b>" in explorer.readout.value  # the fewest: 4 are not there
    explorer.controls[0].value = "8 bits"
    assert "255 values" in explorer.readout.value
