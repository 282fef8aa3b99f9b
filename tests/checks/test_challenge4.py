"""The challenge of lesson 4: what is missing, and any student of two layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.utils.data import TensorDataset

from course_lib import checks, datasets, distillation, structured
from course_lib.checks import given, lesson4
from course_lib.structured.dependency import groups
from course_lib.training.recipe import Fitted


def vit(layers: int = 2, width: int = 32, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    sizes = given.VIT | {"num_hidden_layers": layers, "hidden_size": width}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**sizes))


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """How many of 100 pictures each is right on: training would take the tests too long."""

    def of(yours: int, lessons: int) -> None:
        lessons_own = vit()
        monkeypatch.setattr(lesson4, "vit_student", lambda: lessons_own)
        many = {True: lessons, False: yours}
        monkeypatch.setattr(
            lesson4, "_right_on_test", lambda model: torch.arange(100) < many[model is lessons_own]
        )

    return of


def with_fewer_units() -> Any:
    model = vit()
    name = next(name for name, group in groups(model).items() if group.kind != "heads")
    return structured.remove(model, {name: range(20)})


@pytest.mark.parametrize(
    ("mistake", "answer", "yours"),
    [
        ("the result of `distill` for its model", lambda: Fitted(vit(), [], 1), 90),
        ("no transformer", lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), 90),
        ("more than two layers", lambda: vit(6), 90),
        ("more than two layers", lambda: vit(3), 90),
        ("two layers, but wider ones", lambda: vit(2, 64), 90),
        ("it guesses", vit, 11),
        ("the lesson's is better", vit, 50),
        ("the difference could be luck", vit, 74),
        ("the difference could be luck", vit, 70),
    ],
)
def test_the_challenge_says_what_is_missing(score, mistake, answer, yours):
    score(yours, 70)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.two_layer_student(answer())
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    "answer",
    [
        vit,
        lambda: vit(1),
        lambda: vit().train(),
        lambda: vit(seed=7),
        lambda: vit().requires_grad_(False),
        lambda: copy.deepcopy(vit()),
        lambda: distillation.student_from_teacher(vit(6), (0, 5)),
        lambda: distillation.student_from_teacher(vit(6), (0, 3), fresh=True),
        lambda: structured.remove_layers(vit(6), (3,)),
        with_fewer_units,
    ],
)
def test_the_challenge_takes_any_student_of_two_layers(score, answer, capsys):
    score(90, 70)
    checks.two_layer_student(answer())
    said = " ".join(capsys.readouterr().out.split())
    assert "its accuracy on the held-out pictures 0.9" in said and "how many layers it has" in said


def test_the_bound_on_parameters_is_the_size_of_two_layers():
    assert sum(p.numel() for p in vit().parameters()) == 19_658


def test_the_small_world_is_made_once(monkeypatch, tmp_path):
    """Teacher and student, on a few pictures: trained, cached, and read again."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    parts = {
        name: TensorDataset(torch.rand(8, 1, 28, 28), torch.arange(8) % 2)
        for name in ("train", "validation", "test")
    }
    monkeypatch.setattr(datasets, "mnist", lambda: parts)
    monkeypatch.setattr(given, "TEACHER", given.training.Recipe(1))
    monkeypatch.setattr(given, "LESSON", given.training.Recipe(1))
    first = lesson4.vit_student()
    assert not first.training and lesson4.vit_teacher().config.num_hidden_layers == 6
    monkeypatch.setattr(given.training, "fit", None)  # a second training would stop here
    monkeypatch.setattr(given.distillation, "distill", None)
    again = lesson4.vit_student()
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    with pytest.raises(checks.WrongAnswerError) as caught:  # the real look, on eight pictures
        checks.two_layer_student(copy.deepcopy(first))
    assert caught.value.mistake in ("the difference could be luck", "it guesses")
