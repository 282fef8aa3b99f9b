"""Drawings: they show the numbers given, nothing overlaps or is cut off, and the alt text is true."""

from __future__ import annotations

import base64
import itertools
import xml.etree.ElementTree as ElementTree
from functools import cache

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgba

from course_lib.lessons import diagrams, diagrams_structure, style
from course_lib.lessons.sketch import PRUNED, SVG, Drawing

# Each drawing: as it is, and with other arguments, some of them at the limits of what is allowed.
OTHERS = {
    "attention_head": [
        {"head": 0, "heads": 4, "head_size": 2, "neuron": 11, "neurons": 12},
        {"head": 0, "heads": 1, "head_size": 3, "neuron": 0, "neurons": 2},
    ],
    "channel_with_batch_norm": [{"gamma": 2.0, "beta": -0.5, "mean": 1.5, "std": 0.25}],
    "compress_steps": [],
    "copied_layers": [
        {"copied": [0]},
        {"copied": [5, 0, 0]},
        {"copied": range(0, 12, 2), "teacher_layers": 12},
    ],
    "distill_before_or_after": [],
    "distilbert_losses": [{"weights": (0.5, 0.25, 0), "teacher_layers": 12, "student_layers": 1}],
    "factored_table": [
        {"words": 9, "width": 8, "rank": 1},
        {"words": 30_522, "width": 768, "rank": 700},
    ],
    "gated_units": [{"units": 5, "gated": 4}, {"units": 2, "gated": 0}],
    "grouped_heads": [{"queries": 12, "groups": 2, "gone": 0}, {"queries": 4, "groups": 4}],
    "int8_number_line": [
        {"weights": [0.25, -0.5], "limit": 0.5, "zoom": 1},
        {"weights": [3.0, -3.0, 0.4], "limit": 2.0, "zoom": 2},
        {"weights": [1.0], "limit": 1.0, "zoom": 0},
    ],
    "kl_terms": [
        {"teacher": (0.98, 0.02), "student": (0.5, 0.5)},
        {"teacher": (0.25,) * 4, "student": (0.7, 0.1, 0.1, 0.1)},
    ],
    "layers_dropped": [{"layers": 3, "gone": [0]}, {"layers": 9, "gone": [8, 1]}],
    "loss_verdicts": [
        {"yours": (-0.8, -1.7, 0.1)},
        {"yours": (-9.2, -17.4, -0.7), "points": 0.5},
    ],
    "mask_times_weights": [
        {"weights": [[0.25, -1.0]], "mask": [[0, 1]]},
        {"weights": np.linspace(-1, 1, 32).reshape(8, 4)},
        {"weights": [[2.0]], "mask": [[0]]},
    ],
    "neuron_removed": [
        {"neuron": 5, "inputs": 6, "hidden": 6, "outputs": 6},
        {"neuron": 0, "inputs": 1, "hidden": 1, "outputs": 1},
        {"neuron": 1, "inputs": 1, "hidden": 6, "outputs": 1},
    ],
    "next_tokens": [
        {"words": ["I", "am", "very", "very", "here"], "probabilities": (0.9, 0.01, 0.5, 1.0)},
        {"words": ["a", "b", "c"], "probabilities": (0.5, 0.25)},
    ],
    "orders": [
        {"widths": {"one": [0.1]}, "end": 0.1},
        {"widths": {name: [1.0] * 8 for name in ("distill, prune, distill", *"bcdef")}},
    ],
    "pipeline": [
        {"stages": [("teacher", 91.7, 87.0), ("int8", 23.6, 87.15)]},
        {"stages": [(name, 100, 90) for name in ("original", "prune", "distill", "int8", "zip")]},
    ],
    "residual_groups": [{"basic": (64, 128), "bottleneck": (256, 256, 512)}],
    "share_of_gain": [
        {"student": 0.8, "teacher": 0.81, "linear": 0.8},
        {"student": 1.0, "teacher": 1.0, "linear": 0.0},
    ],
    "sparse_storage": [
        {"matrix": [0, 0, 0.5, 0], "index_bytes": 8},
        {"matrix": [[-0.25] * 8]},
        {"matrix": [[0.0] * 3] * 3},
    ],
    "teacher_and_student": [
        {"teacher_logits": (9, 1, 0, 0, 0), "student_logits": (0, 9, 0, 0, 0), "label_index": 4},
        {"T": 20, "alpha": 0.9},
        {"teacher_logits": (2, -1), "student_logits": (0, 0), "classes": ("no", "yes")},
    ],
    "training_sets": [{"labeled": 50, "total": 3500}],
    "texts_cut": [
        {"lengths": [3]},
        {"lengths": [5, 400, 9, 9, 2, 77, 8, 1, 6, 3], "max_length": 128},
    ],
    "transformer_layer": [
        {"hidden": 8, "heads": 1, "neurons": 32},
        {"hidden": 768, "heads": 3, "neurons": 3072},
    ],
    "two_divergences": [{"apart": 1.0, "width": 1.0}, {"apart": 3.0, "width": 0.4}],
    "two_of_four": [{"weights": [1, 2, 3, 4]}, {"weights": np.arange(8) / 8 - 0.75}],
    "wanda_mask": [{"weights": [[1, 2, 3, 4]], "norms": [4, 3, 2, 0.0]}],
    "what_goes": [],
}
CASES = [(name, i) for name in diagrams.__all__ for i in range(1 + len(OTHERS[name]))]


@cache
def drawn(name: str, variant: int) -> Drawing:
    """A drawing as it is (variant 0) or with other arguments; made once for all tests."""
    return getattr(diagrams, name)(**[{}, *OTHERS[name]][variant])


def texts(drawing: Drawing) -> list:
    return [text for ax in drawing.figure.axes for text in ax.texts if text.get_text()]


def words(drawing: Drawing) -> list[str]:
    return [text.get_text() for text in texts(drawing)]


def boxes(drawing: Drawing) -> list:
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    return [text.get_window_extent(renderer) for text in texts(drawing)]


def cell(drawing: Drawing, gid: str) -> str:
    (found,) = [text for text in texts(drawing) if text.get_gid() == f"{gid} text"]
    return found.get_text()


def patches(drawing: Drawing, gid: str) -> list:
    return [p for p in drawing.figure.axes[0].patches if (p.get_gid() or "").startswith(gid)]


def colors(drawing: Drawing, gid: str) -> list[str]:
    return [to_hex(patch.get_facecolor()) for patch in patches(drawing, gid)]


def pixels(drawing: Drawing) -> np.ndarray:
    canvas = FigureCanvasAgg(drawing.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(float)


def luminance(rgb: np.ndarray) -> np.ndarray:
    line = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return line @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_a_drawing_fits_a_notebook_and_nothing_is_cut_off(name, variant):
    drawing = drawn(name, variant)
    width, height = drawing.figure.get_size_inches()
    assert width <= style.WIDTH and height <= 5
    for text, area in zip(words(drawing), boxes(drawing), strict=True):
        inside = area.x0 >= 4 and area.y0 >= 4 and area.x1 <= 100 * width - 4
        assert inside and area.y1 <= 100 * height - 4, f"{text!r} leaves the picture"
    page = pixels(drawing)
    edges = (page[:2], page[-2:], page[:, :2], page[:, -2:])
    assert all((edge == 255).all() for edge in edges), "something touches the edge"


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_no_two_texts_overlap_and_none_is_tiny(name, variant):
    drawing = drawn(name, variant)
    assert min(text.get_fontsize() for text in texts(drawing)) >= 9
    for one, other in itertools.combinations(zip(words(drawing), boxes(drawing), strict=True), 2):
        assert not one[1].overlaps(other[1]), f"{one[0]!r} and {other[0]!r} overlap"


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_nothing_runs_through_a_text_and_it_stands_out(name, variant):
    drawing = drawn(name, variant)
    areas = boxes(drawing)
    for text in texts(drawing):
        text.set_visible(False)
    page = pixels(drawing)
    for text in texts(drawing):
        text.set_visible(True)
    for text, area in zip(texts(drawing), areas, strict=True):
        top, bottom = len(page) - area.y1, len(page) - area.y0
        behind = page[round(top) : round(bottom), round(area.x0) : round(area.x1)].reshape(-1, 3)
        ground = np.median(behind, axis=0)
        calm = (np.abs(behind - ground).max(1) < 30).mean()
        assert calm > 0.97, f"something runs through {text.get_text()!r}: {calm:.2f}"
        pair = luminance(np.stack([ground / 255, np.array(to_rgba(text.get_color())[:3])]))
        ratio = (pair.max() + 0.05) / (pair.min() + 0.05)
        assert ratio >= 4.5, f"{text.get_text()!r} has a contrast of {ratio:.1f}"


@pytest.mark.parametrize("name", diagrams.__all__)
def test_a_drawing_has_few_words(name):
    found = {w.strip(":,()") for text in words(getattr(diagrams, name)()) for w in text.split()}
    most = {"orders": 18, "training_sets": 13}.get(name, 12)  # five orders of three
    assert sum(word.isalpha() and len(word) > 2 for word in found) <= most, found


@pytest.mark.parametrize("name", diagrams.__all__)
def test_other_arguments_give_another_picture_and_another_alt_text(name):
    plain = drawn(name, 0)
    for variant in range(1, 1 + len(OTHERS[name])):
        other = drawn(name, variant)
        assert other.alt != plain.alt
        assert other.png() != plain.png()
    assert getattr(diagrams, name)().png() == plain.png()


@pytest.mark.parametrize("name", diagrams.__all__)
def test_a_drawing_travels_as_png_and_svg_with_its_alt_text(name):
    drawing = getattr(diagrams, name)()
    data, metadata = drawing._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == metadata["image/png"]["alt"] == drawing.alt
    svg = ElementTree.fromstring(data[SVG])
    assert len(data[SVG]) < 80_000
    assert svg.find("{http://www.w3.org/2000/svg}title").text == drawing.alt
    assert drawing.svg() == getattr(diagrams, name)().svg()
    assert SVG not in Drawing(drawing.figure, "a plot")._repr_mimebundle_()[0]


def test_a_cell_displays_it_as_png_with_alt_text():
    from IPython.core.formatters import DisplayFormatter

    drawing = diagrams.copied_layers()
    data, metadata = DisplayFormatter().format(drawing)
    assert metadata["image/png"]["alt"] == data["text/plain"] == drawing.alt


def test_the_product_is_the_weights_times_the_mask():
    weights = torch.tensor([[0.9, -0.1, 0.4], [-0.2, 0.6, -0.3]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, True, True]])
    drawing = diagrams.mask_times_weights(weights, mask)
    product = (weights * mask).tolist()
    for r, c in itertools.product(range(2), range(3)):
        shown = float(cell(drawing, f"product[{r},{c}]").replace("−", "-"))
        assert shown == pytest.approx(product[r][c])
        assert cell(drawing, f"mask[{r},{c}]") == str(int(mask[r, c]))
        pruned = colors(drawing, f"product[{r},{c}]") == [PRUNED]
        assert pruned == (not mask[r, c])
    assert len(patches(drawing, "weights")) == 6
    assert "keeps 4 of 6 weights (0.9, 0.4, 0.6, −0.3)" in drawing.alt


def test_the_default_mask_keeps_the_half_with_the_largest_magnitudes():
    drawing = diagrams.mask_times_weights([[0.1, -0.9], [0.3, 0.2]])
    mask = [[cell(drawing, f"mask[{r},{c}]") for c in range(2)] for r in range(2)]
    assert mask == [["0", "1"], ["1", "0"]]


def test_two_of_four_keeps_the_two_largest_magnitudes_of_each_group():
    drawing = diagrams.two_of_four([0.1, -0.2, 0.3, -0.4, 0.5, 0.5, 0.5, 0.9])
    assert [cell(drawing, f"values 0[0,{i}]") for i in range(2)] == ["0.3", "−0.4"]
    assert [cell(drawing, f"places 0[0,{i}]") for i in range(2)] == ["2", "3"]
    assert [cell(drawing, f"places 1[0,{i}]") for i in range(2)] == [
        "0",
        "3",
    ]  # of a tie, the first
    assert colors(drawing, "group 0").count(PRUNED) == 2
    assert "group 1 keeps 0.3 and −0.4" in drawing.alt


@pytest.mark.filterwarnings("ignore:Sparse CSR")  # PyTorch calls it beta
def test_sparse_storage_holds_what_csr_holds():
    matrix = torch.tensor([[0.0, 0.5, 0.0, -0.25], [0.0, 0.0, 0.0, 0.0], [0.75, 0.0, 0.0, 0.0]])
    csr = matrix.to_sparse_csr()
    drawing = diagrams.sparse_storage(matrix, index_bytes=8)
    columns = [int(cell(drawing, f"columns[0,{i}]")) for i in range(3)]
    assert columns == csr.col_indices().tolist()
    values = [float(cell(drawing, f"values[0,{i}]").replace("−", "-")) for i in range(3)]
    assert values == csr.values().tolist()
    starts = [int(cell(drawing, f"starts[0,{i}]")) for i in range(3)]
    assert starts == csr.crow_indices()[:-1].tolist()
    stored = csr.values().nbytes + csr.col_indices().nbytes
    assert f"{stored} bytes" in drawing.alt and f"{matrix.nbytes} bytes" in drawing.alt


def test_the_int8_line_rounds_and_clips():
    drawing = diagrams.int8_number_line([0.5, -3.0, 1.1], limit=2.54, zoom=2)
    assert "scale 2.54/127 = 0.02: 0.50 → 25, −3.00 → −127 (clipped), 1.10 → 55" in drawing.alt
    assert {"25", "−127", "55", "clipped"} <= set(words(drawing))
    assert words(drawing).count("clipped") == 1
    assert "clipped" not in words(diagrams.int8_number_line([0.5], limit=1.0, zoom=0))
    small = diagrams.int8_number_line([-0.0087, 0.0882], limit=0.0882, zoom=0)
    assert {"−0.009", "0.088", "−13", "127"} <= set(words(small)) and "clipped" not in words(small)
    assert "scale = 0.0882 / 127 = 0.0006945" in words(small)


@pytest.mark.parametrize("weight", [1.0, -1.0, 0.999, 0.0])
def test_the_close_up_shows_int8_values_alone(weight):
    drawing = diagrams.int8_number_line([weight], limit=1.0, zoom=0)
    whole = [int(t.replace("−", "-")) for t in words(drawing) if t.strip("−").isdigit()]
    assert len(whole) >= 5 and all(-127 <= value <= 127 for value in whole)


def test_a_removed_neuron_is_a_row_a_bias_and_a_column():
    drawing = diagrams.neuron_removed(neuron=1, inputs=2, hidden=3, outputs=4)
    gone = to_hex(diagrams_structure.GONE)
    assert [c == gone for c in colors(drawing, "W₁")] == [False] * 2 + [True] * 2 + [False] * 2
    assert [c == gone for c in colors(drawing, "b₁")] == [False, True, False]
    assert [c == gone for c in colors(drawing, "W₂")] == [False, True, False] * 4
    assert {"W₁: row 2", "W₂: column 2", "3 × 2 → 2 × 2", "4 × 3 → 4 × 2"} <= set(words(drawing))


def test_a_zeroed_channel_outputs_what_batch_norm_makes_of_zero():
    norm = torch.nn.BatchNorm2d(1, eps=0).eval()
    with torch.no_grad():
        norm.weight.fill_(2.0), norm.bias.fill_(0.5)
        norm.running_mean.fill_(0.75), norm.running_var.fill_(0.25)
        output = norm(torch.zeros(1, 1, 1, 1)).item()
    drawing = diagrams.channel_with_batch_norm(2.0, 0.5, 0.75, 0.5)
    assert output == -2.5
    assert "−2.5" in words(drawing)
    assert "0.5 − 2 · 0.75 / 0.5 = −2.5, which the ReLU turns into 0" in drawing.alt


def test_a_rounded_sum_does_not_claim_to_be_exact():
    drawing = diagrams.channel_with_batch_norm(gamma=1.0, beta=0.12346, mean=-0.5, std=1.0)
    assert "0.1235 − 1 · (−0.5) / 1 ≈ 0.6235" in drawing.alt


def test_lines_that_meet_in_a_sum_have_one_color():
    drawing = diagrams.residual_groups((16, 24), (8, 32, 64))
    assert [text for text in words(drawing) if ":" in text] == [
        "A: 16", "B: 24", "A: 16", "A: 16", "A: 16",
        "A: 16", "C: 8", "D: 32", "E: 64", "E: 64", "A: 16", "E: 64", "a color: removed together",
    ]  # fmt: skip
    assert {"stem\n3 × 3", "expand\n1 × 1", "shortcut\n1 × 1"} <= set(words(drawing))
    for circle in [p for p in drawing.figure.axes[0].patches if hasattr(p, "radius")]:
        meeting = {
            line.get_color()
            for line in drawing.figure.axes[0].lines
            if circle.center in list(zip(*line.get_data(), strict=True))
        }
        assert len(meeting) == 1


def test_a_head_is_the_rows_that_attention_slices():
    drawing = diagrams.attention_head(head=1, heads=2, head_size=3, neuron=0, neurons=4)
    grid = np.array([c == to_hex(diagrams_structure.GONE) for c in colors(drawing, "Q[")])
    weight = torch.arange(36).view(6, 6)
    ours = weight.view(2, 3, 6)[1].flatten().tolist()  # as attention splits the output into heads
    assert np.flatnonzero(grid).tolist() == ours
    columns = np.array([c == to_hex(diagrams_structure.GONE) for c in colors(drawing, "O[")])
    assert (columns.reshape(6, 6) == grid.reshape(6, 6).T).all()
    biases = [c == to_hex(diagrams_structure.GONE) for c in colors(drawing, "bV[")]
    assert biases == [False] * 3 + [True] * 3
    assert "rows 4 to 6 of Q, K and V, with their biases, and columns 4 to 6 of O" in drawing.alt


def test_the_bars_are_the_softmax_of_the_logits():
    teacher, student = torch.tensor([3.0, 1.0]), torch.tensor([0.5, 1.0])
    drawing = diagrams.teacher_and_student(teacher, student, label_index=1, T=2.0)
    expected = {
        "teacher[": torch.softmax(teacher / 2, 0),
        "student soft[": torch.softmax(student / 2, 0),
        "student hard[": torch.softmax(student, 0),
        "label[": torch.tensor([0.0, 1.0]),
    }
    for name, probabilities in expected.items():
        heights = [bar.get_height() / 0.8 for bar in patches(drawing, name)]
        assert heights == pytest.approx(probabilities.tolist())


def test_the_loss_is_written_in_symbols_and_in_numbers():
    drawing = diagrams.teacher_and_student(T=4, alpha=0.7)
    assert {"= 0.7 · 4² · KL", "+", "= 0.3 · CE", "α · T² · KL", "(1 − α) · CE"} <= set(
        words(drawing)
    )


def test_layers_are_counted_from_1_in_the_picture_and_from_0_in_code():
    drawing = diagrams.copied_layers([0, 3], teacher_layers=4)
    assert sorted(text for text in words(drawing) if text.isdigit()) == list("112234")
    assert "student layer 2 from teacher layer 4" in drawing.alt


def test_the_area_of_a_square_is_the_size():
    drawing = diagrams.pipeline([("original", 80, 90.0), ("prune", 20, 88.0)])
    large, small = (patches(drawing, f"size {i}")[0] for i in range(2))
    assert large.get_width() ** 2 / small.get_width() ** 2 == pytest.approx(4)
    assert {"80 MB", "90.0 %", "prune", "20 MB", "88.0 %"} <= set(words(drawing))


def test_distilbert_losses_name_their_weights():
    assert {"5 · soft", "2 · hard", "1 · cosine"} <= set(words(diagrams.distilbert_losses()))
    drawing = diagrams.distilbert_losses((0.5, 0.25, 2), teacher_layers=12, student_layers=1)
    assert {"0.5 · soft", "0.25 · hard", "2 · cosine"} <= set(words(drawing))
    assert {"12 layers", "1 layer"} <= set(words(drawing))
    assert "hard (weight 0.25) between its logits and the labels" in drawing.alt


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mask_times_weights", {"weights": [[1.0] * 5]}, r"\[1, 5\].*at most 8 rows and 4 columns"),
        ("mask_times_weights", {"weights": [[1.0]], "mask": [[2]]}, "expected 0 or 1"),
        ("mask_times_weights", {"weights": [[1.0]], "mask": [[1, 0]]}, r"shape \[1, 2\]"),
        ("two_of_four", {"weights": [1, 2, 3]}, "one row of 4 or 8"),
        ("sparse_storage", {"matrix": []}, "at most 3 rows of 1 to 8 numbers"),
        ("sparse_storage", {"matrix": [[1.0] * 5] * 2}, "10 nonzero numbers"),
        ("int8_number_line", {"limit": 0}, "positive limit"),
        ("int8_number_line", {"zoom": 4}, "no weight within ±1"),
        ("neuron_removed", {"neuron": 4}, "neuron is 4, expected an index from 0 to 3"),
        ("neuron_removed", {"hidden": 7}, "expected 1 to 6 each"),
        ("channel_with_batch_norm", {"std": 0}, "std is 0, expected a positive number"),
        ("residual_groups", {"basic": (16,)}, "got 1 and 3 counts"),
        ("residual_groups", {"names": ("stem",)}, "got 1 names, expected 7"),
        ("attention_head", {"head": 3}, "head is 3, expected an index from 0 to 2"),
        ("attention_head", {"heads": 12, "head_size": 64}, "Draw a smaller layer"),
        ("gated_units", {"units": 6}, "units is 6 and gated 1, expected 2 to 5 units"),
        ("gated_units", {"gated": 3}, "units is 3 and gated 3"),
        ("teacher_and_student", {"student_logits": (1, 2)}, "3 logits of the teacher, 2 of the"),
        ("teacher_and_student", {"T": 0}, "T is 0, expected a positive temperature"),
        ("copied_layers", {"copied": [6]}, "expected 1 to 12 indices from 0 to 5"),
        ("copied_layers", {"copied": []}, "copied is"),
        ("copied_layers", {"teacher_layers": 13}, "expected 1 to 12"),
        ("distilbert_losses", {"weights": (1, 2)}, "got 2 weights, expected three"),
        ("distilbert_losses", {"student_layers": 0}, "expected 1 to 12"),
        ("pipeline", {"stages": [("original", 1, 90)]}, "expected 2 to 5"),
        ("share_of_gain", {"student": 0.75}, "student 0.75, .*linear <= student <= teacher"),
        ("share_of_gain", {"student": 0.5, "teacher": 0.5, "linear": 0.5}, "linear < teacher"),
    ],
)
def test_what_cannot_be_drawn_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(diagrams, name)(**arguments)


def test_what_is_dark_is_the_gain():
    drawing = diagrams.share_of_gain(student=0.75, teacher=0.9, linear=0.7)
    student, teacher = (patches(drawing, f"gain of the {who}")[0] for who in ("student", "teacher"))
    assert student.get_width() / teacher.get_width() == pytest.approx(0.25)
    assert not patches(drawing, "gain of the linear")
    assert "83 % of the teacher's accuracy, and 25 % of its gain" in drawing.alt


def test_the_terms_of_a_divergence_add_up_to_pytorchs():
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    drawing = diagrams.kl_terms(p, q)
    total = torch.nn.functional.kl_div(q.log(), p, reduction="sum").item()
    assert f"=  {total:.3f}" in words(drawing)
    shown = [float(w.replace("−", "-")) for w in words(drawing) if w[0] in "+−" and len(w) > 1]
    assert sum(shown) == pytest.approx(total, abs=2e-3)
    heights = [bar.get_height() / 1.2 for bar in patches(drawing, "q[")]
    assert heights == pytest.approx(q.tolist())


def test_who_sees_all_examples_has_the_longer_bar():
    drawing = diagrams.training_sets(10, 100, "images")
    rows = ["labels alone", *(f"{how} images" for how in ("soft, same", "soft, all", "hard, all"))]
    long = [patches(drawing, name)[0].get_width() > 5 for name in rows]
    assert long == [False, False, True, True]
    assert {"10 labeled", "90 unlabeled"} <= set(words(drawing))


def test_a_divergence_and_examples_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="2 and 3 probabilities, expected 2 to 4 for both"):
        diagrams.kl_terms((0.5, 0.5), (0.2, 0.3, 0.5))
    with pytest.raises(ValueError, match="all above 0"):
        diagrams.kl_terms((1.0, 0.0), (0.5, 0.5))
    with pytest.raises(ValueError, match="0 < labeled < total"):
        diagrams.training_sets(10, 10)
