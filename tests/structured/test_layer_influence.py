"""Block influence against hidden states."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset
from transformer_zoo import tiny

from course_lib import models
from course_lib.structured import block_influence, layers_of


def test_it_is_one_minus_the_cosine_of_input_and_output():
    model, _ = models.language_model("tiny")
    ids = torch.randint(3, 250, (10, 6), generator=torch.Generator().manual_seed(0))
    found = block_influence(model, TensorDataset(ids))
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    pairs = pairwise(states[:-1])  # the last one lies behind the norm
    by_hand = [1 - F.cosine_similarity(a, b, dim=-1).mean() for a, b in pairs]
    assert torch.allclose(found[:-1].float(), torch.stack(by_hand), atol=1e-6)
    assert found[-1] > 0


def test_a_layer_that_changes_nothing_has_none():
    model, _ = models.language_model("tiny")
    layer = layers_of(model)[1][1]
    for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
        torch.nn.init.zeros_(linear.weight)
    found = block_influence(model, TensorDataset(torch.tensor([[4, 8, 15], [16, 23, 42]])))
    assert found[1] == pytest.approx(0, abs=1e-6) and (found[[0, 2, 3]] > 1e-4).all()
    assert not any(one._forward_hooks for one in layers_of(model)[1])


def test_an_encoder_has_it_too():
    model = tiny("bert")
    ids = torch.tensor([[2, 3, 4]])
    found = block_influence(model, TensorDataset(ids))
    assert found.shape == (len(layers_of(model)[1]),)
