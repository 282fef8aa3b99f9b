"""Tables of what experiments stored."""

import pytest
import torch
import transformers

from course_lib.lessons import Claims, TestSet, tables
from course_lib.lessons.experiments import Results

RIGHT = torch.tensor([True, True, False, False])


def stored(way, labels, seed):
    return {"way": way, "labels": labels, "seed": seed, "test": RIGHT if labels else ~RIGHT}


def test_a_way_without_labels_has_the_same_answers_in_every_row():
    cases = [("alone", 5), ("alone", 9), ("all", 0)]
    rows = [stored(*case, seed) for case in cases for seed in range(2)]
    found = Results("made up", rows, {}, 2, "2026-11-29", "a CPU", 1.0, {})
    test = TestSet(torch.utils.data.TensorDataset(torch.zeros(4, 1), torch.zeros(4)))
    scored = tables.scored(found, test, ["alone", "all"], [5, 9])
    assert torch.equal(scored["all", 5], scored["all", 9])
    assert torch.equal(scored["alone", 9], RIGHT.repeat(2, 1))
    table = tables.accuracies(scored)
    assert list(table.columns) == ["alone", "all"] and list(table.index) == ["5 labels", "9 labels"]
    with pytest.raises(KeyError, match="No row of made up"):
        tables.scored(found, test, ["alone"], [7])


def test_a_gap_covers_each_seed():
    one, other = torch.ones(2, 100, dtype=torch.bool), torch.ones(2, 100, dtype=torch.bool)
    other[0, :10], one[1, :2] = False, False  # +10 points and −2 points
    found = tables.gap(one, other)
    assert found.value == pytest.approx(0.04)
    assert found.interval == pytest.approx((-0.02, 0.1))
    claim = Claims().add("it helps", value=found, margin=0, unit="points")
    assert (claim.n, claim.counted) == (100, "100, 2 seeds")


def test_one_case_is_counted_in_the_test_set_with_its_seeds():
    rows = [stored("alone", 5, seed) for seed in range(2)]
    found = Results("made up", rows, {}, 2, "2026-11-29", "a CPU", 1.0, {})
    test = TestSet(torch.utils.data.TensorDataset(torch.zeros(4, 1), torch.zeros(4)))
    right = tables.stored(found, test, way="alone", labels=5)
    assert torch.equal(right, RIGHT.repeat(2, 1))
    assert tables.accuracy(right).value == tables.accuracy(right[0]).value == 0.5
    assert "alone, 5" in test.models[0]
    with pytest.raises(KeyError, match="No row of made up"):
        tables.stored(found, test, way="alone", labels=7)


def test_a_transformer_has_embeddings_layers_and_a_rest():
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=50, num_hidden_layers=2, **sizes)
    model = transformers.BertForSequenceClassification(config)
    parts, bert = tables.parts_of(model), model.bert
    of = {"embeddings": [bert.embeddings], "layers": [bert.encoder]}
    of["pooler, classifier"] = [bert.pooler, model.classifier]
    for name, modules in of.items():
        count = sum(weight.numel() for module in modules for weight in module.parameters())
        assert parts[name] == pytest.approx(count / 1e6)


def test_the_share_of_the_gain_is_negative_below_the_linear_model():
    assert tables.kept_gain(0.75, 0.9, 0.8) == pytest.approx(-0.5)
