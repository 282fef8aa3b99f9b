"""The counter of models that were scored on the test set."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from course_lib.lessons import Claims, TestSet, test_set
from course_lib.lessons.claims import MIME


class Packed(nn.Linear):
    """As PyTorch packs int8: not all of its state is tensors, so the object is the model."""

    def get_extra_state(self):
        return ("packed", 8)

    def set_extra_state(self, state):
        pass


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(4, 3)


@pytest.fixture
def test():
    torch.manual_seed(0)
    return TestSet(TensorDataset(torch.randn(20, 4), torch.randint(3, (20,))))


def test_each_model_counts_once(test):
    model = linear()
    first = test.correct("dense", model)
    assert torch.equal(test.correct("dense", model), first)
    test.accuracy("dense", copy.deepcopy(model))  # trained anew, with the same result
    test.accuracy("the same one", model)
    assert test.models == ("dense",)
    test.accuracy("another", linear(1))
    assert test.models == ("dense", "another")


def test_the_answers_are_those_of_evaluate(test):
    from course_lib.evaluation import correct, evaluate

    model = linear()
    assert test.accuracy("dense", model) == evaluate(model, test.dataset)
    assert torch.equal(test.correct("dense", model), correct(model, test.dataset))


def test_changing_the_answers_changes_no_later_ones(test):
    model = linear()
    test.correct("dense", model).zero_()
    assert test.accuracy("dense", model).correct > 0


def test_a_model_that_was_trained_on_is_another_one(test):
    model = linear()
    test.accuracy("dense", model)
    with torch.no_grad():
        model.bias += 1
    test.accuracy("dense", model)
    assert test.models == ("dense", "dense (2)")


def test_layers_count_beside_weights(test):
    test.accuracy("with", nn.Sequential(linear(), nn.ReLU()))
    test.accuracy("without", nn.Sequential(linear(), nn.Tanh()))
    assert len(test.models) == 2


def test_answers_of_an_experiment_count(test):
    right = torch.ones(20, dtype=torch.bool)
    assert torch.equal(test.stored("gradual, seed 0", right), right)
    test.stored("gradual, seed 0", right)  # the cell runs again
    test.stored("gradual, seed 1", right)
    assert test.models == ("gradual, seed 0", "gradual, seed 1")
    with pytest.raises(ValueError, match=r"shape \(19,\); expected \[20\] or \[seeds, 20\]"):
        test.stored("short", right[1:])


def test_each_seed_is_a_model(test):
    right = torch.ones(3, 20, dtype=torch.bool)
    right[1, 0] = False
    assert torch.equal(test.stored("gradual", right), right)
    test.accuracy("dense", linear())
    assert test.models[:2] == ("gradual, seed 0", "gradual, seed 1")
    assert test.summary == "4 models were scored on the test set: gradual (3 seeds), dense."


def test_another_measure_counts_the_model_too(test):
    model = linear()
    assert test.measured("dense", model, lambda one, dataset: len(dataset)) == 20
    test.accuracy("dense", model)
    packed = Packed(4, 3)
    for _ in range(2):
        test.accuracy("int8", packed)
    assert test.models == ("dense", "int8")


def test_evaluate_alone_is_refused_and_told_what_to_call(test):
    from course_lib.evaluation import evaluate

    with pytest.raises(TypeError, match=r"test\.accuracy\('dense', model\)"):
        evaluate(linear(), test)
    with pytest.raises(TypeError, match=r"test\.dataset\[0\]"):
        test[0]
    assert test.models == ()


def test_a_model_that_fails_is_not_counted(test):
    with pytest.raises(RuntimeError):
        test.correct("wrong shape", nn.Linear(5, 3))
    assert test.models == ()


def test_the_table_of_claims_says_how_many(test):
    claims = Claims(test)
    test.accuracy("dense", linear())
    assert "1 model was scored on the test set: dense." in claims._repr_html_()
    text = TestSet(test.dataset, "reviews")
    text.accuracy("student", linear(1))
    both = Claims(test, text)
    assert repr(both).endswith(
        "1 model was scored on the test set: dense. 1 model was scored on the reviews: student."
    )
    assert both._repr_mimebundle_()[MIME]["models"] == ["dense", "student"]
    assert repr(test) == "TestSet of 20 examples, models scored: dense"
    assert test_set.TestSet.__test__ is False
