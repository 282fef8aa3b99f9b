"""Predictions: in order, in eval mode, where Accelerate computes; and the accuracy of them."""

from __future__ import annotations

import copy
import random

import datasets
import numpy as np
import pytest
import torch
from accelerate import PartialState
from blobs import DATA, net, same
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from course_lib.evaluation import prediction
from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.prediction import correct, evaluate, predict
from course_lib.modules import device_of


class Summing(nn.Module):
    """Logits that show which example it was: the sum of its tokens, and how many there are."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.stack([(input_ids * attention_mask).sum(1), attention_mask.sum(1)], dim=1)


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_predictions_come_in_the_datasets_order(batch_size):
    sizes = [1 + (11 * i) % 13 for i in range(20)]
    text = datasets.Dataset.from_dict(
        {
            "input_ids": [[i + 1] * n for i, n in enumerate(sizes)],
            "attention_mask": [[1] * n for n in sizes],
            "labels": [0] * 20,
        }
    )
    logits = predict(Summing(), text, batch_size)
    assert logits.tolist() == [[(i + 1) * n, n] for i, n in enumerate(sizes)]


def test_a_model_may_set_how_many_examples_share_a_batch():
    sizes = []
    model = nn.Flatten()
    model.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    data = TensorDataset(torch.zeros(100, 2), torch.zeros(100))
    predict(model, data)
    model.batch_size = 30
    predict(model, data)
    predict(model, data, 50)
    assert list(map(sorted, (sizes[:2], sizes[2:6], sizes[6:]))) == [
        [36, 64],
        [10, 30, 30, 30],
        [50, 50],
    ]


def test_predict_is_in_eval_mode_and_leaves_model_and_random_numbers_alone():
    model = net()
    model[1].eval()  # a frozen batch norm in a model that trains
    modes, before = [m.training for m in model.modules()], copy.deepcopy(model.state_dict())
    drawn = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    logits = predict(model, DATA["train"])
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == drawn[1:]
    assert [m.training for m in model.modules()] == modes
    assert same(model, before)  # no running statistics were moved
    torch.testing.assert_close(logits, model.eval()(DATA["train"].tensors[0]).detach())
    logits.add_(1)  # an ordinary tensor, not one of inference_mode


class OnMeta(PartialState):
    """As if Accelerate computed on another device: one that knows shapes alone."""

    device = property(lambda _self: torch.device("meta"), lambda _self, _device: None)


def test_a_copy_predicts_where_accelerate_computes_and_the_model_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(prediction, "PartialState", OnMeta)
    model, data = net(), DATA["validation"]
    with pytest.raises(NotImplementedError, match="meta"):  # its answers cannot be fetched
        predict(model, data)
    assert device_of(model).type == "cpu"
    model.cpu_only = True  # type: ignore[assignment]
    assert evaluate(model, data).n == 40


def test_predict_refuses_an_empty_dataset():
    with pytest.raises(ValueError, match="dataset is empty"):
        predict(net(), TensorDataset(torch.zeros(0, 4), torch.zeros(0)))


def test_predict_restores_the_mode_when_the_model_fails():
    model = net()
    with pytest.raises(RuntimeError):
        predict(model, TensorDataset(torch.zeros(3, 5), torch.zeros(3)))
    assert model.training


def test_accuracy_is_counted_by_hand():
    points = TensorDataset(torch.tensor([[1.0, 0], [0, 1], [1, 0]]), torch.tensor([0, 1, 1]))
    assert correct(nn.Identity(), points).tolist() == [True, True, False]
    assert evaluate(nn.Identity(), points) == Accuracy(2, 3)


@pytest.mark.reliability
def test_a_model_that_answers_nan_has_no_accuracy():
    points = TensorDataset(torch.tensor([[1.0, float("nan")], [0, 1]]), torch.tensor([0, 1]))
    with pytest.raises(FloatingPointError, match=r"answers 1 of 2 examples with NaN.*weights"):
        evaluate(nn.Identity(), points)
    infinite = TensorDataset(torch.tensor([[1.0, float("-inf")]]), torch.tensor([0]))
    assert evaluate(nn.Identity(), infinite).value == 1


def test_one_output_has_no_accuracy():
    one = TensorDataset(torch.ones(4, 3), torch.zeros(4).long())
    with pytest.raises(ValueError, match=r"logits are \[4, 1\].*not one class"):
        evaluate(nn.Linear(3, 1), one)
