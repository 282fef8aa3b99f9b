"""The four measurements, against numbers worked out by hand."""

from __future__ import annotations

import math
import time
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from course_lib.masking import apply_masks, make_permanent
from course_lib.measure import (
    Accuracy,
    Latency,
    PairedTest,
    Runs,
    Share,
    evaluating,
    footprint,
    gap,
    kept,
    latency,
    one_thread,
    operations,
    paired_test,
    paired_test_over_seeds,
    sparse_bytes,
)
from course_lib.models import LeNet300, SmallCNN, build

# --- accuracy ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (95, 100, 0.888, 0.978),  # Newcombe 1998 gives these digits for Wilson's method
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_interval_of_published_examples(correct, n, low, high):
    assert Accuracy(correct, n).interval == pytest.approx((low, high), abs=6e-4)


@given(n=st.integers(1, 10_000), share=st.floats(0, 1))
def test_wilson_interval_is_the_formula(n, share):
    correct = round(share * n)
    p, z = correct / n, 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = Accuracy(correct, n).interval
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert -1e-12 <= low <= p <= high <= 1 + 1e-12


def test_accuracy_is_shown_with_n_and_interval():
    accuracy = Accuracy(1900, 2000)
    assert repr(accuracy) == "95.0 % (94.0–95.9, n = 2,000)"
    assert "<b>95.0 %</b>" in accuracy._repr_html_()
    assert "94.0–95.9, n = 2,000" in accuracy._repr_html_()


@pytest.mark.parametrize(("correct", "n"), [(1, 0), (0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(correct, n):
    with pytest.raises(ValueError, match=f"{correct} correct of {n} examples"):
        Accuracy(correct, n)


def test_the_mean_of_several_seeds_has_students_interval():
    runs = Runs((Accuracy(93, 100), Accuracy(94, 100), Accuracy(95, 100)))
    half = 4.3027 * 0.01 / math.sqrt(3)  # t of 2 degrees of freedom; standard deviation 1 point
    assert runs.value == pytest.approx(0.94)
    assert runs.interval == pytest.approx((0.94 - half, 0.94 + half), abs=1e-5)
    assert "3 seeds, n = 100" in repr(runs)
    with pytest.raises(ValueError, match="needs two"):
        Runs((Accuracy(1, 2),))


def test_the_interval_over_seeds_stays_a_share():
    low, high = Runs((Accuracy(99, 100), Accuracy(100, 100), Accuracy(60, 100))).interval
    assert 0 <= low < high == 1


def test_a_gap_is_paired_by_seed():
    baseline = Runs(tuple(Accuracy(c, 100) for c in (50, 70, 90)))
    better = Runs(tuple(Accuracy(c, 100) for c in (52, 72, 92)))
    found = gap(better, baseline)
    assert (found.points, found.low, found.high) == pytest.approx((2, 2, 2), abs=1e-6)
    with pytest.raises(ValueError):
        gap(better, Runs(baseline.accuracies[:2]))


# --- paired test ------------------------------------------------------------------------------


def answers(text: str) -> Tensor:
    return torch.tensor([letter == "y" for letter in text])


def test_mcnemar_counts_who_is_right_alone():
    found = paired_test(answers("yyyynnny"), answers("ynnnynny"))
    assert (found.only_a, found.only_b, found.n) == (3, 1, 8)
    assert found.p_value == pytest.approx(2 * (1 + 4) / 2**4)
    assert found.verdict == "no significant difference"


@given(st.integers(0, 60), st.integers(0, 60))
def test_its_p_value_is_that_of_a_coin(only_a, only_b):
    n = only_a + only_b
    tail = sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n
    assert PairedTest(only_a, only_b, 200).p_value == pytest.approx(min(1, 2 * tail))
    assert PairedTest(only_a, only_b, 200).p_value == PairedTest(only_b, only_a, 200).p_value


def test_the_verdict_names_the_better_one():
    assert paired_test(answers("y" * 6), answers("n" * 6)).verdict == "the first is better"
    assert paired_test(answers("n" * 6), answers("y" * 6)).verdict == "the second is better"
    # five to none could be chance: p = 0.0625
    assert paired_test(answers("y" * 5), answers("n" * 5)).verdict == "no significant difference"
    assert paired_test(answers("yn"), answers("yn")).p_value == 1


@pytest.mark.parametrize(
    ("a", "b"), [(torch.ones(3), torch.ones(4)), (torch.ones(2, 2), torch.ones(2, 2))]
)
def test_answers_that_are_no_pairs_are_refused(a, b):
    with pytest.raises(ValueError, match="same examples in the same order"):
        paired_test(a, b)


def test_seeds_are_averaged_before_the_pairs_are_compared():
    generator = torch.Generator().manual_seed(0)
    hard = torch.rand(400, generator=generator)
    a, b = (torch.rand(3, 400, generator=generator) < share * hard for share in (0.95, 0.6))
    found = paired_test_over_seeds(a, b)
    difference = (a.double().mean(0) - b.double().mean(0)).numpy()
    error = difference.std(ddof=1) / math.sqrt(400)
    assert found.points == pytest.approx(100 * difference.mean())
    assert found.low == pytest.approx(100 * (difference.mean() - 1.96594 * error), abs=1e-3)
    assert found.verdict == "the first is better" and found.p_value < 0.001
    assert paired_test_over_seeds(b, a).verdict == "the second is better"
    assert paired_test_over_seeds(a, a).verdict == "no significant difference"
    assert (found.seeds, found.n) == (3, 400)


def test_many_seeds_of_equal_ways_are_seldom_called_different():
    """Of 200 comparisons without a difference about one in twenty is called significant."""
    generator = torch.Generator().manual_seed(1)
    answers = torch.rand(200, 2, 3, 300, generator=generator) < 0.8
    called = [paired_test_over_seeds(a, b).p_value < 0.05 for a, b in answers]
    assert 2 <= sum(called) <= 20


@pytest.mark.parametrize("shape", [(300,), (2, 300), (3, 299), (3, 1), (0, 300)])
def test_runs_that_are_no_pairs_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[seeds, n\]"):
        paired_test_over_seeds(torch.ones(3, 300).bool(), torch.ones(shape).bool())


# --- footprint --------------------------------------------------------------------------------


def saved(model: nn.Module, path: Path) -> bytes:
    save_file({name: t.clone() for name, t in model.state_dict().items()}, path)
    return path.read_bytes()


def test_the_share_that_is_kept_is_a_ratio_of_accuracies():
    teacher = torch.tensor([True] * 90 + [False] * 10)
    student = torch.stack([torch.arange(100) < 81, torch.arange(100) < 72])  # two seeds
    share = kept(student, teacher)
    assert share.value == pytest.approx(0.85)  # (0.81 + 0.72) / 2 / 0.9
    assert share.low < 0.85 < share.high and share.n == 100
    floor = torch.arange(100) < 60
    assert kept(student, teacher, floor).value == pytest.approx((0.765 - 0.6) / 0.3)
    assert kept(teacher, teacher) == Share(1.0, 1.0, 1.0, 100)


def test_the_interval_of_the_share_holds_the_truth_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    inside = 0
    for _ in range(60):
        teacher = torch.rand(400, generator=generator) < 0.85
        student = teacher & (torch.rand(400, generator=generator) < 0.95)
        share = kept(student, teacher)
        inside += share.low <= 0.95 <= share.high
    assert 51 <= inside <= 60  # 57 are expected


@pytest.mark.parametrize("student", [torch.ones(3), torch.ones(2, 5), torch.ones(0)])
def test_answers_over_other_examples_keep_no_share(student):
    with pytest.raises(ValueError, match=r"expected \[n\] or \[seeds, n\]"):
        kept(student, torch.ones(4))


def test_bytes_are_those_of_a_real_file(tmp_path):
    model = build(SmallCNN)
    file = saved(model, tmp_path / "model.safetensors")
    found = footprint(model)
    assert found.parameters == 421_834
    assert found.bytes == len(file)
    assert found.zipped == len(zlib.compress(file, 6))
    assert (found.embedding_share, found.operations) == (0, None)
    assert "421,834 parameters (0% embeddings)" in repr(found)


def test_zeros_zip_well():
    model = build(LeNet300)
    empty = apply_masks(model, {"fc1": torch.zeros(300, 784, dtype=torch.bool)})
    dense, zeros = footprint(model), footprint(make_permanent(empty))
    assert dense.bytes == zeros.bytes
    assert zeros.zipped < 0.2 * dense.zipped


class Tied(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.out = nn.Linear(8, 50, bias=False)
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.embed(ids))


def test_tied_weights_are_stored_and_counted_once():
    tied, apart = footprint(Tied(True)), footprint(Tied(False))
    assert (tied.parameters, apart.parameters) == (400, 800)
    assert 1600 <= apart.bytes - tied.bytes < 1600 + 100  # 400 float32, and a name
    assert (tied.embedding_share, apart.embedding_share) == (1.0, 0.5)


def test_masked_embeddings_are_counted_each():
    model = nn.ModuleDict({str(i): nn.Embedding(10, 4) for i in range(8)})
    model["head"] = nn.Linear(4, 5)
    masks = {str(i): torch.ones(10, 4, dtype=torch.bool) for i in range(8)}
    assert footprint(apply_masks(model, masks)).embedding_share == 320 / 345


def test_tensors_that_are_empty_or_strided_are_stored():
    model = nn.Linear(3, 4)
    model.weight = nn.Parameter(torch.arange(12.0).view(3, 4).t())
    for name in ("none", "nothing"):
        model.register_buffer(name, torch.empty(0))
    expected = {"weight": model.weight.contiguous(), "bias": model.bias, "none": torch.empty(0)}
    assert footprint(model).bytes == len(save(expected | {"nothing": torch.empty(0)}))


# --- operations -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
def test_operations_of_a_linear_layer(batch):
    assert operations(nn.Linear(30, 7), torch.zeros(batch, 30)) == 2 * 30 * 7
    # a sequence of 5: each position pays
    assert operations(nn.Linear(30, 7), torch.zeros(batch, 5, 30)) == 5 * 2 * 30 * 7


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("stride", "padding", "groups", "dilation"),
    [(1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 4, 1), (2, 0, 8, 1), (1, 1, 2, 2)],
)
def test_operations_of_a_convolution(batch, stride, padding, groups, dilation):
    layer = nn.Conv2d(8, 16, (3, 5), stride, padding, dilation, groups)
    rows = (20 + 2 * padding - dilation * 2 - 1) // stride + 1
    columns = (24 + 2 * padding - dilation * 4 - 1) // stride + 1
    expected = 2 * 16 * (8 // groups) * 3 * 5 * rows * columns
    assert operations(layer, torch.zeros(batch, 8, 20, 24)) == expected


def attention_operations(length: int, width: int) -> int:
    """Four projections; then the products of all pairs of positions, twice: scores, and their sum."""
    return 4 * 2 * length * width**2 + 2 * 2 * length**2 * width


@pytest.mark.parametrize("batch", [1, 3])
def test_operations_of_attention(batch):
    layer = nn.MultiheadAttention(16, num_heads=4, batch_first=True)
    x = torch.zeros(batch, 6, 16)
    assert operations(layer, {"query": x, "key": x, "value": x}) == attention_operations(6, 16)


def test_operations_of_a_transformer_layer_of_pytorch():
    layer = nn.TransformerEncoderLayer(16, nhead=4, dim_feedforward=40, batch_first=True)
    expected = attention_operations(6, 16) + 2 * 2 * 6 * 16 * 40
    assert operations(layer, torch.zeros(2, 6, 16)) == expected


def test_one_thread_and_afterwards_as_many_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_batch_is_taken_to_where_the_model_is():
    model, batch = nn.Linear(4, 3, device="meta"), torch.ones(2, 4)
    assert operations(model, batch) == 2 * 4 * 3
    assert latency({"there": model, "here": nn.Linear(4, 3)}, batch, rounds=4).keys() == {
        "there",
        "here",
    }


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_operations_of_bert(batch, attention):
    layers, d, ff, length = 3, 32, 48, 7
    config = BertConfig(
        vocab_size=50,
        hidden_size=d,
        intermediate_size=ff,
        num_hidden_layers=layers,
        num_attention_heads=4,
        attn_implementation=attention,
        num_labels=2,
    )
    ids = torch.ones(batch, length, dtype=torch.long)
    example = {"input_ids": ids, "attention_mask": ids}
    per_layer = attention_operations(length, d) + 2 * 2 * length * d * ff
    pooler_and_classifier = 2 * d * d + 2 * d * 2
    found = operations(BertForSequenceClassification(config), example)
    assert found == layers * per_layer + pooler_and_classifier


def test_zeros_cost_as_much_as_other_numbers():
    model = build(LeNet300)
    masks = {"fc1": torch.zeros(300, 784, dtype=torch.bool)}
    image = torch.zeros(1, 1, 28, 28)
    assert operations(apply_masks(model, masks), image) == operations(model, image)
    assert footprint(model, image).operations == 2 * (784 * 300 + 300 * 100 + 100 * 10)


# --- sparse bytes -----------------------------------------------------------------------------


def test_a_sparse_matrix_pays_for_values_columns_and_rows():
    layer = nn.Linear(200, 10)
    layer.weight.data.zero_()
    layer.weight.data[2, :30] = 1
    layer.weight.data[9, 5] = -1
    stored = {
        "bias": torch.zeros(10),
        "weight.values": torch.zeros(31),
        "weight.columns": torch.zeros(31, dtype=torch.int16),
        "weight.rows": torch.zeros(11, dtype=torch.int32),
    }
    assert sum(tensor.nbytes for tensor in stored.values()) == 40 + 31 * (4 + 2) + 44
    assert sparse_bytes(layer) == len(save(stored))


def test_wide_matrices_need_wider_columns():
    layer = nn.Linear(2**15 + 1, 1, bias=False)
    layer.weight.data.zero_()[0, -3:] = 1
    stored = {
        "weight.values": torch.zeros(3),
        "weight.columns": torch.zeros(3, dtype=torch.int32),
        "weight.rows": torch.zeros(2, dtype=torch.int32),
    }
    assert sparse_bytes(layer) == len(save(stored))


def test_a_kernel_is_a_matrix_of_one_row_for_each_output():
    layer = nn.Conv2d(10, 4, 3, bias=False)
    layer.weight.data.zero_()[1, 2, 0, 0] = 1
    stored = {
        "weight.values": torch.zeros(1),
        "weight.columns": torch.zeros(1, dtype=torch.int16),
        "weight.rows": torch.zeros(5, dtype=torch.int32),
    }
    assert sparse_bytes(layer) == len(save(stored))


def test_what_is_smaller_dense_stays_dense():
    model = build(LeNet300)
    assert sparse_bytes(model) == footprint(model).bytes


@given(share=st.floats(0, 1))
def test_sparse_storage_is_never_much_larger_than_dense(share):
    layer = nn.Linear(64, 32)
    generator = torch.Generator().manual_seed(0)
    layer.weight.data *= torch.rand(32, 64, generator=generator) >= share
    assert sparse_bytes(layer) <= footprint(layer).bytes + 300  # the longer header


# --- latency ----------------------------------------------------------------------------------


def sleepy(milliseconds: float, calls: list[str] | None = None, name: str = ""):
    def call(x: Tensor) -> None:
        if calls is not None:
            calls.append(name)
        time.sleep(milliseconds / 1000)

    return call


def test_a_sleepy_function_is_slower():
    found = latency({"fast": sleepy(2), "slow": sleepy(20)}, torch.zeros(5, 1), rounds=4)
    assert found["fast"].q1 <= found["fast"].median <= found["fast"].q3
    assert found["slow"].median >= 20
    assert 2 <= found["fast"].median < found["slow"].median
    assert "faster" in found["fast"].faster_than(found["slow"])
    assert found["fast"].batch == 5
    assert found["fast"].threads == torch.get_num_threads()


def test_models_are_measured_in_turns():
    calls: list[str] = []
    models = {name: sleepy(3, calls, name) for name in "abc"}
    latency(models, torch.zeros(1, 1), rounds=5)
    turns = [name for name, before in zip(calls, ["", *calls], strict=False) if name != before]
    assert "".join(turns) == "abc" * 7  # one to warm up, one to see how long it takes, then five


def test_latency_runs_in_eval_mode_and_gives_each_module_its_mode_back():
    seen = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, torch.is_inference_mode_enabled()))
            return x

    model = nn.Sequential(Watching(), nn.Dropout())
    model[1].eval()
    latency({"model": model}, torch.zeros(1), rounds=4)
    assert set(seen) == {(False, True)}
    assert [m.training for m in model.modules()] == [True, True, False]


def test_an_example_may_be_a_mapping():
    def call(x: Tensor, y: Tensor) -> Tensor:
        return x + y

    found = latency({"sum": call}, {"x": torch.zeros(7), "y": torch.ones(7)}, rounds=4)
    assert found["sum"].batch == 7


@pytest.mark.parametrize(("models", "rounds"), [({}, 30), ({"m": nn.Identity()}, 3)])
def test_too_few_models_or_rounds_are_refused(models, rounds):
    with pytest.raises(ValueError, match="at least one model and four rounds"):
        latency(models, torch.zeros(1), rounds)


def timed(median: float, spread: float = 0.1) -> Latency:
    return Latency(median, median - spread, median + spread, batch=1, threads=2)


def test_words_for_a_comparison():
    assert timed(1).faster_than(timed(1.8)) == "1.8 × faster"
    assert timed(1.8).faster_than(timed(1)) == "1.8 × slower"
    assert timed(1).faster_than(timed(1.15)) == "no measurable difference"
    assert timed(1, 0.5).faster_than(timed(1.2, 0.01)) == "no measurable difference"
    assert repr(timed(1)) == "1 ms (0.9–1.1, batch 1, 2 threads)"


@given(*[st.floats(0.1, 100)] * 2, *[st.floats(0.01, 5)] * 2)
def test_overlapping_quartiles_never_differ(a, b, spread_a, spread_b):
    assume(abs(abs(a - b) - spread_a - spread_b) > 1e-9)
    words = timed(a, spread_a).faster_than(timed(b, spread_b))
    assert (words == "no measurable difference") == (abs(a - b) <= spread_a + spread_b)


def test_evaluating_gives_the_modes_back_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with pytest.raises(KeyError), evaluating(model, lambda x: x):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [m.training for m in model.modules()] == [True, True, False]


def test_one_example_is_no_test():
    with pytest.raises(ValueError, match="two or more examples"):
        paired_test_over_seeds(torch.ones(3, 1).bool(), torch.zeros(3, 1).bool())


@pytest.mark.filterwarnings("error")
def test_few_examples_with_hardly_a_gain_over_the_floor_give_no_warning():
    teacher = torch.tensor([1, 1, 1, 0] * 3)
    floor = torch.tensor([1, 0, 1, 1] * 2 + [1, 1, 0, 0])
    assert kept(teacher, teacher, floor).value == 1
