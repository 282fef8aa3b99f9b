"""The architectures: sizes, shapes, and weights that depend on the seed alone."""

from __future__ import annotations

import pytest
import torch

from course_lib.models.networks import LeNet300, SmallCNN, SmallResNet, build

SIZES = [(LeNet300, 266_610), (SmallCNN, 421_834), (SmallResNet, 13_786)]
EACH = pytest.mark.parametrize(("architecture", "size"), SIZES)


@EACH
def test_parameters_and_shapes(architecture, size):
    model = build(architecture)
    assert sum(p.numel() for p in model.parameters()) == size
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert sum(p.requires_grad for p in model.parameters()) == len(list(model.parameters()))


@EACH
def test_weights_depend_on_the_seed_alone(architecture, size):
    torch.manual_seed(5)
    first = build(architecture, seed=1).state_dict()
    torch.manual_seed(6)
    again, other = build(architecture, seed=1), build(architecture, seed=2)
    assert all(torch.equal(tensor, first[name]) for name, tensor in again.state_dict().items())
    assert not any(torch.equal(p, first[n]) for n, p in other.named_parameters() if p.ndim > 1)


def test_building_leaves_the_callers_random_numbers_alone():
    state = torch.random.get_rng_state()
    build(LeNet300)
    assert torch.equal(torch.random.get_rng_state(), state)
