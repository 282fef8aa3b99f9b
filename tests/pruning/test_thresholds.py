"""Counting bits finds what one line of sorting finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.pruning.thresholds import kth_smallest

floats = st.floats(0, width=32, allow_nan=False, allow_infinity=True, allow_subnormal=True)
awkward = st.sampled_from([0.0, -0.0, 1e-45, 1.1754944e-38, 1.0, -1.0, 3.4e38, math.inf])
few = st.sampled_from([-1.0, 0.0, 0.5, 2.0])  # ties are the rule
numbers = st.lists(st.one_of(floats, awkward, few), min_size=1, max_size=60)


def by_sorting(numbers: torch.Tensor, k: int) -> tuple[float, int]:
    value = numbers.float().flatten().kthvalue(k).values
    return value.item(), k - int((numbers < value).sum())


@given(numbers, st.integers(0, 1000), st.integers(1, 60))
def test_it_is_the_kth_value_and_counts_the_ties(values, position, size):
    k = 1 + position % len(values)
    array = np.array(values, dtype=np.float32)
    chunks = [array[i : i + size] for i in range(0, len(array), size)]
    assert kth_smallest(lambda: chunks, k) == by_sorting(torch.from_numpy(array), k)


def test_none_and_too_many():
    assert kth_smallest(lambda: [np.ones(3, np.float32)], 0) == (-math.inf, 0)
    with pytest.raises(ValueError, match="k is 4, but there are 3 scores"):
        kth_smallest(lambda: [np.ones(3, np.float32)], 4)
