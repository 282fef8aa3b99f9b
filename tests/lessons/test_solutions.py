"""The functions behind the gaps give what the answers that the lessons print give."""

import torch

from course_lib.evaluation.significance import PairedTest
from course_lib.lessons import solutions

WEIGHT = torch.tensor([[0.9, -0.1, 0.4], [0.2, -0.6, 0.3]])


def test_magnitude_mask():
    assert solutions.magnitude_mask(WEIGHT, 0.5).tolist() == [
        [True, False, True],
        [False, True, False],
    ]
    assert solutions.magnitude_mask(WEIGHT, 0.0).all()


def test_masked_linear():
    mask, bias = WEIGHT > 0.25, torch.tensor([1.0, 2.0])
    expected = torch.eye(3) @ (WEIGHT * mask).T + bias
    assert torch.equal(solutions.masked_linear(torch.eye(3), WEIGHT, mask, bias), expected)


def test_remove_neurons():
    w1, b1, w2 = WEIGHT.T, torch.arange(3.0), WEIGHT
    removed = solutions.remove_neurons(w1, b1, w2, [0, 2])
    for ours, by_index in zip(removed, (w1[[0, 2]], b1[[0, 2]], w2[:, [0, 2]]), strict=True):
        assert torch.equal(ours, by_index)


def test_cut_sum():
    first, second, reader = torch.randn(3, 3, 4, 3, 3).unbind()
    ours = solutions.cut_sum(first, second, [reader[:, :3]], [1])
    assert torch.equal(ours[0], first[[1]])
    assert torch.equal(ours[1], second[[1]])
    assert torch.equal(ours[2][0], reader[:, [1]])


def test_rounded_row():
    row = torch.tensor([0.7, -0.15, 0.38, -0.7])
    assert torch.allclose(
        solutions.rounded_row(row, 4), torch.tensor([7, -2, 4, -7]) / 10, atol=1e-6
    )
    assert torch.equal(row, torch.tensor([0.7, -0.15, 0.38, -0.7]))  # left alone


def test_nearest_table():
    table = torch.randn(9, 5, generator=torch.manual_seed(0))
    for rank in range(1, 6):
        near = solutions.nearest_table(table, rank)
        assert torch.linalg.matrix_rank(near, atol=1e-4) == rank
        lost = torch.linalg.svdvals(table)[rank:].square().sum()
        assert torch.allclose((table - near).square().sum(), lost, atol=1e-4)


def test_student_megabytes():
    """As in the lesson: the weights of MiniLM's layers and its embeddings, one byte each."""
    layer = 4 * 384 * 384 + 2 * 384 * 1536
    assert solutions.student_megabytes(30_522, 6, 1.0) == (30_522 * 384 + 6 * layer) / 1e6
    halves = [solutions.student_megabytes(0, 6, 0.5), solutions.student_megabytes(0, 3, 1.0)]
    assert halves == [3 * layer / 1e6] * 2


def test_change_interval():
    """Close to the interval of the paired test, which adds half a text to each count."""
    ours = solutions.change_interval(90, 80, 2000)
    assert torch.allclose(
        torch.tensor(ours), torch.tensor(PairedTest(80, 90, 2000).interval), atol=1e-4
    )


def test_perplexity_of():
    logits, ids = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), torch.tensor([2, 1])
    p = torch.tensor([2.0, 0.0, 1.0]).softmax(0)[1]
    assert abs(solutions.perplexity_of(logits, ids) - float(1 / p)) < 1e-4


def test_wanda_mask():
    norms = torch.tensor([0.1, 1.0, 1.0])
    assert solutions.wanda_mask(WEIGHT, norms, 0.4).tolist() == [
        [False, True, True],
        [False, True, True],
    ]
