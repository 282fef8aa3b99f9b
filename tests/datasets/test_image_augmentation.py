"""Copies of images that are turned, scaled and moved a little."""

import pytest
import torch
from torch.utils.data import TensorDataset

from course_lib import datasets

MNIST = datasets.subset(datasets.mnist()["train"], 20)


def test_the_images_come_first_and_copies_keep_their_labels():
    images, labels = datasets.augment_images(MNIST, copies=2).tensors
    assert torch.equal(images[:20], MNIST.tensors[0])
    assert torch.equal(labels, MNIST.tensors[1].repeat(3))
    assert images.min() >= 0 and images.max() <= 1.0001


def test_a_copy_is_another_image_with_about_as_much_ink():
    images = datasets.augment_images(MNIST, copies=1).tensors[0]
    before, after = images[:20], images[20:]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    ratio = after.sum((1, 2, 3)) / before.sum((1, 2, 3))
    assert ratio.min() > 0.7 and ratio.max() < 1.35


def test_a_dot_moves_by_two_pixels_at_most():
    dot = torch.zeros(200, 1, 29, 29)
    dot[..., 14, 14] = 1
    copies = datasets.augment_images(TensorDataset(dot, torch.zeros(200)), 1).tensors[0][200:]
    rows, columns = copies.sum(3).squeeze(1), copies.sum(2).squeeze(1)  # [200, 29]
    for one in (rows, columns):
        center = (one * torch.arange(29)).sum(1) / one.sum(1)
        assert 1.5 < (center - 14).abs().max() < 2.4  # 2 pixels, and the scale acts on them


def test_the_seed_decides():
    one, same, other = (datasets.augment_images(MNIST, 1, seed).tensors[0] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_fewer_than_no_copies_are_refused():
    assert len(datasets.augment_images(MNIST, copies=0)) == 20
    with pytest.raises(ValueError, match="copies is -1"):
        datasets.augment_images(MNIST, copies=-1)
