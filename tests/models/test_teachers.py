"""The teacher for digits."""

import torch

from course_lib import datasets, evaluation, models


def test_it_is_made_once_and_in_eval_mode(cache_folder):
    one, same = models.digit_teacher(64, 0), models.digit_teacher(64, 0)
    assert not one.training
    assert len(list((cache_folder / "zoo").glob("digit-teacher-*.safetensors"))) == 1
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))


def test_other_images_or_copies_make_another_teacher(cache_folder):
    for n, copies in ((64, 0), (64, 1), (70, 0)):
        models.digit_teacher(n, copies)
    assert len(list((cache_folder / "zoo").glob("digit-teacher-*.safetensors"))) == 3


def test_it_learns(cache_folder):
    teacher = models.digit_teacher(1000, 1)
    assert evaluation.evaluate(teacher, datasets.mnist()["validation"]).value > 0.8
