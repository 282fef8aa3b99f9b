"""The experiments of lesson 3: who sees what, in which number of steps."""

import runpy
from pathlib import Path

import pytest
import torch

from course_lib import datasets, distillation

FOLDER = Path(__file__).parents[2] / "notebooks" / "experiments"


@pytest.fixture
def trained(monkeypatch):
    """What `distill` was called with: (the examples, the logits, the recipe, the loss)."""
    calls = []

    def distill(student, told, data, recipe, *, loss, transfer=None):
        calls.append((data["train"], told, recipe, loss))
        return type("Fitted", (), {"model": student})

    monkeypatch.setattr(distillation, "distill", distill)
    return calls


def loaded(name, monkeypatch):
    """A script, with the teacher's answers made up."""
    script = runpy.run_path(str(FOLDER / f"{name}.py"))
    n = 3500
    answers = torch.randn(n, 10, generator=torch.Generator().manual_seed(0))
    spaces = script["student"].__globals__
    monkeypatch.setitem(spaces, "teacher_logits", lambda: answers)

    def taught(copies):
        varied = datasets.augment_images(datasets.mnist()["train"], copies)
        return varied, answers.repeat(copies + 1, 1)

    monkeypatch.setitem(spaces, "taught", taught)
    return script


def test_a_student_that_never_saw_a_3_sees_none(monkeypatch, trained):
    script = loaded("lesson3_never_saw_3", monkeypatch)
    for case in script["cases"](script["RECIPE"]):
        script["student"](case, 0, script["RECIPE"], datasets.mnist())
        images, told, _, _ = trained[-1]
        seen = set(images.tensors[1].tolist())
        expected = {"no 3": set(range(10)) - {3}, "7 and 8": {7, 8}, "all digits": set(range(10))}
        assert seen == expected[case["seen"]] and len(told) == len(images)


def test_the_bias_is_raised_by_the_least_number_that_is_best(monkeypatch):
    script = loaded("lesson3_never_saw_3", monkeypatch)
    logits, labels = torch.zeros(4, 10), torch.tensor([3, 3, 0, 0])
    logits[:2, 1], logits[2:, 0] = 2.1, 9.0
    unseen = torch.arange(10) == 3
    assert script["best_raise"](logits, labels, unseen) == 2.25


def test_students_for_digits_have_the_same_steps(monkeypatch, trained):
    script = loaded("lesson3_labels", monkeypatch)
    recipe = script["RECIPE"]
    cases = script["cases"](recipe)
    steps = {0: set(), 5: set()}
    for case in cases:
        script["student"](case, 0, recipe, {})
        images, told, how, _ = trained[-1]
        assert len(told) == len(images)
        if case["labels"] and not case["copies"]:
            assert len(images) == case["labels"]
        steps[case["copies"]].add(how.epochs * (len(images) // how.batch_size))
    assert {copies: len(found) for copies, found in steps.items()} == {0: 1, 5: 1}
    assert {case["T"] for case in cases if case["way"] == "map"} == set(recipe["temperatures"])


def test_the_loss_of_hard_answers_sees_the_most_probable_class_alone(monkeypatch):
    for name in ("lesson3_never_saw_3", "lesson3_text"):
        script = loaded(name, monkeypatch)
        student, teacher = torch.randn(5, 4), torch.randn(5, 4)
        loss = script["from_hard_answers"]
        sure = torch.nn.functional.one_hot(teacher.argmax(-1), 4).float()
        assert torch.equal(loss(student, teacher, None, 2), loss(student, sure, None, 20))
