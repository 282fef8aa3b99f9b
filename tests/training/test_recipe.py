"""A recipe refuses what cannot work before anything is trained."""

from __future__ import annotations

import pytest
import torch

from course_lib.training.recipe import Recipe, cross_entropy, recipe_fields


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"batch_size": 0},
        {"warmup": 1.0},
        {"select_from_last": 0},
        {"steps": 0},
    ],
)
def test_a_recipe_that_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*must be"):
        Recipe(**wrong)


@pytest.mark.reliability
@pytest.mark.parametrize(
    "name", ["a/b", "../../x", "a\\b", "a\0", "a\n", "\ud800", "C:x", "ä" * 100]
)
def test_a_checkpoint_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match=r"checkpoint is '.*file name"):
        Recipe(checkpoint=name)


def test_the_checkpoint_is_no_part_of_the_result():
    assert recipe_fields(Recipe(checkpoint="Lehrer, 2. Versuch (ä)")) == recipe_fields(Recipe())


def test_the_default_loss_refuses_several_labels_at_once():
    batch = {"labels": torch.tensor([[1.0, 0.0], [1.0, 1.0]])}
    with pytest.raises(ValueError, match=r"multi_label_classification.*Give a loss that fits"):
        cross_entropy(torch.zeros(2, 2), batch)
