"""Where the units of a group lie in a tensor."""

from __future__ import annotations

import torch

from course_lib.structured.units import Group, Slice


def test_the_places_of_a_unit_are_worked_out_by_hand():
    kept = torch.tensor([0, 2])
    assert Slice("fc", "weight").indices(kept, 3).tolist() == [0, 2]
    # behind a flatten of two pixels
    assert Slice("fc", "weight", 1, unit_size=2).indices(kept, 3).tolist() == [0, 1, 4, 5]
    # three repeats (query, key, value) of three heads of size two
    assert Slice("c_attn", "weight", 1, unit_size=2, repeats=3).indices(kept, 3).tolist() == [
        *(0, 1, 4, 5),
        *(6, 7, 10, 11),
        *(12, 13, 16, 17),
    ]


def test_a_group_names_each_module_that_loses_something_once():
    slices = (
        Slice("fc1", "weight"),
        Slice("fc1", "bias"),
        Slice("fc2", "weight", 1, is_input=True),
    )
    assert Group("fc1", "neurons", 4, slices).modules == ("fc1", "fc2")
