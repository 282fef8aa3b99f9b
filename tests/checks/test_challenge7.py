"""The challenge of lab 7, on the tiny language model: what holds, and each way to miss it."""

from __future__ import annotations

import pytest
import torch

from course_lib import checks, models, structured
from course_lib.training import Fitted


@pytest.fixture(scope="module")
def tiny():
    return models.language_model("tiny")


def test_two_of_four_layers_hold(tiny, capsys):
    checks.two_thirds(structured.remove_layers(tiny.model, [0, 3]))
    assert "✓ two_thirds" in capsys.readouterr().out


def spoiled(model):
    small = structured.remove_layers(model, [0, 3])
    torch.nn.init.normal_(small.lm_head.weight, std=0.5)
    return small


@pytest.mark.parametrize(
    ("mistake", "make"),
    [
        ("the result of fit for its model", lambda tiny: Fitted(tiny.model, [], 1)),
        ("a model and its tokenizer", lambda tiny: tiny),
        ("too large", lambda tiny: structured.remove_layers(tiny.model, [0, 1, 3])),
        ("nothing was removed", lambda tiny: tiny.model),
        ("small enough, and too surprised", lambda tiny: spoiled(tiny.model)),
    ],
)
def test_each_way_to_miss_it_is_named(tiny, mistake, make):
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.two_thirds(make(tiny))
    assert caught.value.mistake == mistake
