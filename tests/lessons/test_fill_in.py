"""Fill-in cells: empty, right and wrong answers; the lesson goes on with each."""

import pytest
import torch

from course_lib.lessons import fill_in

WEIGHT = torch.tensor([[0.1, -0.4], [0.3, -0.2]])


def library(weight, amount):
    """A mask that keeps the largest weights."""
    keep = torch.ones(weight.numel(), dtype=torch.bool)
    keep[weight.abs().flatten().argsort()[: round(amount * weight.numel())]] = False
    return keep.view(weight.shape)


def checked(answer, against=library, examples=((WEIGHT, 0.5), (WEIGHT, 0.25))):
    return fill_in.check(answer, against=against, examples=examples)


def mask_of(weight, amount):
    k = round(amount * weight.numel())
    return weight.abs() > (weight.abs().flatten().kthvalue(k).values if k else -1)


def test_a_right_answer_is_used(capsys):
    assert checked(mask_of) is mask_of
    assert capsys.readouterr().out == "✓ mask_of: 2 of 2 examples are right.\n"


def stub(weight, amount): ...


def ellipsis(weight, amount):
    return ...


def unwritten(weight, amount):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("answer", [stub, ellipsis, unwritten])
def test_an_empty_answer_is_not_written_yet(answer, capsys):
    assert checked(answer) is library
    said = capsys.readouterr().out
    assert said == (
        f"{answer.__name__}: not written yet; the lesson goes on with the library's own function.\n"
    )


def test_a_wrong_answer_shows_the_example_what_came_and_what_was_expected(capsys):
    def mask_of(weight, amount):
        return weight > amount / 5

    assert checked(mask_of) is library
    assert capsys.readouterr().out == (
        "✗ mask_of: example 1 of 2 is wrong; the lesson goes on with the library's own function.\n"
        "  mask_of(\n"
        "      tensor([[ 0.1000, -0.4000],\n"
        "              [ 0.3000, -0.2000]]),\n"
        "      0.5\n"
        "  )\n"
        "  returned:\n"
        "      tensor([[False, False],\n"
        "              [ True, False]])\n"
        "  expected:\n"
        "      tensor([[False,  True],\n"
        "              [ True, False]])\n"
    )


def test_an_answer_that_is_right_on_the_first_example_only_is_wrong(capsys):
    def half(weight, amount):
        return library(weight, 0.5)

    assert checked(half) is library
    assert "example 2 of 2 is wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda w, a: w[9], "stopped with IndexError: index 9"),
        (lambda w: w, "stopped with TypeError"),
        (lambda w, a: 0.5, "a float, expected a tensor"),
        (lambda w, a: library(w, a)[0], "shape (2,), expected (2, 2)"),
        (lambda w, a: library(w, a).float(), "type torch.float32, expected torch.bool"),
        (lambda w, a: (library(w, a), w.zero_())[0], "changed its argument"),
    ],
)
def test_each_way_to_be_wrong_has_its_words(answer, said, capsys):
    assert checked(answer) is library
    assert said in capsys.readouterr().out


def test_the_examples_stay_as_they_are():
    before = WEIGHT.clone()
    checked(lambda w, a: w.zero_())
    assert torch.equal(WEIGHT, before)


def test_the_check_cell_may_run_again_after_an_empty_answer(capsys):
    assert checked(checked(stub)) is library
    assert "is the library's own function: run the cell" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        (0.75, 0.7500001, 0.74),
        (0.75, torch.tensor(0.75), torch.tensor([0.75, 0.75])),
        (3, 3, 4),
        ("a", "a", torch.ones(2)),
        ([1, 2.0], (1, 2.0), [1]),
        ({"fc1": 1.0}, {"fc1": 1.0}, {"fc2": 1.0}),
        ({"fc1": 1.0}, {"fc1": 1.0}, {"fc1": 2.0}),
        ({"fc1": 1.0}, {"fc1": 1.0}, 1.0),
        (torch.tensor(float("nan")), torch.tensor(float("nan")), torch.tensor(0.0)),
        (3, torch.tensor(3), torch.ones(2, 2)),
    ],
)
def test_results_of_all_kinds_are_compared(expected, right, wrong, capsys):
    def own(x):
        return expected

    assert fill_in.check(lambda x: right, against=own, examples=[(1,)]) is not own
    assert fill_in.check(lambda x: wrong, against=own, examples=[(1,)]) is own


def test_a_function_that_returns_nothing_may_be_the_right_one():
    def own(x):
        return None

    def mine(x):
        return None

    assert fill_in.check(mine, against=own, examples=[(1,)]) is mine


def test_a_check_without_examples_is_refused():
    with pytest.raises(ValueError, match="examples is empty"):
        checked(mask_of, examples=())
