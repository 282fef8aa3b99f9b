"""The slider of temperature."""

import math

import pytest
import torch

from course_lib.distillation.losses import soft_loss
from course_lib.lessons.sliders.temperature import (
    TEMPERATURES,
    push,
    temperature_chart,
    temperature_explorer,
    temperature_view,
)  # fmt: skip

LOGITS, NAMES = torch.tensor([4.0, 1.0, -2.0]), ["a", "b", "<c>"]


def test_temperature_keeps_the_order_and_evens_the_probabilities_out():
    cold, warm = (
        [row["p"] for row in temperature_view(LOGITS, NAMES, T).data["classes"]] for T in (0.5, 20)
    )
    for p in (cold, warm):
        assert p == sorted(p, reverse=True) and math.fsum(p) == pytest.approx(1)
    assert warm[0] < cold[0] and warm[2] > cold[2]


def test_the_readout_states_the_two_likeliest_classes_and_the_entropy():
    shown = temperature_view(torch.zeros(2), ["<i>", "b"], 3.0).readout
    assert "T = 3" in shown and "50.0 %" in shown and "entropy 1.00 of at most 1.00" in shown
    assert "&lt;i&gt;" in shown and "<i>" not in shown
    (where,) = temperature_view(torch.zeros(2), ["a", "b"], 3.0, "a 7").data["setting"]
    assert where["setting"] == "a 7, T = 3"


def test_the_push_is_the_negative_gradient_of_the_loss():
    student = torch.zeros(1, 3, requires_grad=True)
    soft_loss(student, LOGITS[None], T=3.0).backward()
    assert torch.allclose(push(LOGITS, 3.0), -student.grad[0], atol=1e-6)


def test_the_axis_says_what_a_class_is():
    spec = temperature_chart({"one": LOGITS}, NAMES, each="next token")
    titles = {p["layer"][0]["encoding"]["x"]["axis"]["title"] for p in spec["hconcat"]}
    assert titles == {"next token"}


def test_no_temperature_leaves_the_scales():
    spec = temperature_chart({"one": LOGITS, "two": -LOGITS}, NAMES)
    ends = [p["layer"][0]["encoding"]["y"]["scale"]["domain"] for p in spec["hconcat"]]
    for T in TEMPERATURES.values():
        for logits in (LOGITS, -LOGITS):
            for row in temperature_view(logits, NAMES, T).data["classes"]:
                assert ends[0][0] <= row["p"] <= ends[0][1]
                assert ends[1][0] <= row["push"] <= ends[1][1]


def test_names_and_logits_must_match():
    with pytest.raises(ValueError, match="2 names for 3 logits"):
        temperature_view(torch.zeros(3), ["a", "b"], 1.0)


def test_the_menu_changes_the_example():
    explorer = temperature_explorer({"one": LOGITS, "two": -LOGITS}, NAMES, T=2.0)
    menu, slider = explorer.controls
    assert slider.value == "2" and "%</b> a" in explorer.readout.value
    menu.value = "two"
    assert "%</b> &lt;c&gt;" in explorer.readout.value
