"""Perplexity and its intervals, against numbers worked out here."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp
from torch import nn

from course_lib import models
from course_lib.evaluation import Perplexity, perplexity


class Fixed(nn.Module):
    """The same logits after every token."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, ids):
        return self.logits.expand(*ids.shape, -1)


def test_it_is_the_exponential_of_the_mean_loss():
    found = perplexity(Fixed([0.0, 1.0, 2.0]), torch.tensor([[0, 2, 2], [1, 0, 1]]))
    log_p = torch.tensor([0.0, 1.0, 2.0]).log_softmax(0)
    losses = -torch.stack([log_p[2] + log_p[2], log_p[0] + log_p[1]])
    assert torch.allclose(found.losses.float(), losses)
    assert found.tokens.tolist() == [2, 2] and found.n == 2
    assert found.value == pytest.approx(math.exp(losses.sum() / 4))


def test_a_language_model_of_transformers_is_measured_and_left_alone():
    model, _ = models.language_model("tiny")
    ids = torch.randint(3, 250, (3, 9), generator=torch.Generator().manual_seed(0))
    model.train()
    found = perplexity(model, ids, size=2)
    assert model.training
    loss = model.eval()(ids, labels=ids).loss
    assert found.value == pytest.approx(math.exp(loss), rel=1e-4)


def test_documents_may_differ_in_length():
    rows = [torch.tensor([0, 1, 2, 1]), torch.tensor([2, 2])]
    found = perplexity(Fixed([0.0, 0.0, 0.0]), rows)
    assert found.tokens.tolist() == [3, 1]
    assert found.value == pytest.approx(3)


def of(*losses: float) -> Perplexity:
    return Perplexity(torch.tensor(losses), torch.full((len(losses),), 2.0))


def test_with_equal_lengths_the_interval_is_students():
    found = of(4.0, 6.0, 5.0, 7.0)
    low, high = ttest_1samp([2, 3, 2.5, 3.5], 0).confidence_interval(0.95)
    assert np.log(found.interval) == pytest.approx([low, high])
    assert "n = 4" in repr(found)


def test_a_comparison_is_paired():
    easy, hard = of(2.0, 40.0, 9.0), of(3.0, 41.0, 10.0)
    found = hard.times(easy)
    assert found.value == pytest.approx(math.exp(0.5))
    assert found.low == pytest.approx(found.high)  # each document differs by the same
    assert easy.interval[1] > 1e5


def test_the_share_that_came_back():
    whole, cut = of(4.0, 6.0, 5.0), of(8.0, 12.0, 11.0)
    middle = of(6.0, 9.0, 8.0)
    assert middle.recovered(cut, whole).value == pytest.approx(0.5)
    assert cut.recovered(cut, whole).value == 0
    assert whole.recovered(cut, whole).interval == pytest.approx((1, 1))


def test_other_documents_and_too_few_are_refused():
    with pytest.raises(ValueError, match="the same documents in the same order"):
        of(1.0, 2.0).times(of(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="Got 1 documents, the shortest of 3 tokens"):
        perplexity(Fixed([0.0, 1.0]), torch.zeros(1, 3).long())
    with pytest.raises(ValueError, match="the shortest of 1 tokens"):
        perplexity(Fixed([0.0, 1.0]), torch.zeros(2, 1).long())
