"""Latency and speed-ups: measured in turns, judged by their interval."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from course_lib.evaluation.timing import Latency, latency, one_thread, speedup


def sleepy(milliseconds: float, calls: list[str] | None = None, name: str = ""):
    def call(x: Tensor) -> None:
        if calls is not None:
            calls.append(name)
        time.sleep(milliseconds / 1000)

    return call


def test_a_sleepy_function_is_slower():
    times = latency({"fast": sleepy(2), "slow": sleepy(20)}, torch.zeros(5, 1), rounds=4)
    fast, slow = times["fast"], times["slow"]
    assert len(fast.samples) == 4
    assert fast.q1 <= fast.median <= fast.q3
    assert slow.median >= 20
    assert 2 <= fast.median < slow.median
    assert "faster" in fast.faster_than(slow)
    assert fast.setting == f"batch 5, {torch.get_num_threads()} thread"
    assert fast.runtime == "PyTorch"


def test_models_are_measured_in_turns_whose_order_changes():
    calls: list[str] = []
    models = {name: sleepy(3, calls, name) for name in "abc"}
    latency(models, torch.zeros(1, 1), rounds=5)
    made = "".join(calls)
    assert made[:12] == "aabbccaabbcc"  # to warm up, and to see how long it takes
    rounds = [made[at : at + 6] for at in range(12, len(made), 6)]
    assert len(rounds) == 5
    assert all(sorted(one) == list("aabbcc") and one[::2] == one[1::2] for one in rounds)
    assert len(set(rounds)) > 1


def test_latency_runs_in_eval_mode_and_restores_each_modules_mode():
    seen = []

    class Watching(nn.Module):
        runtime, threads = "a stopwatch", 7

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, torch.is_inference_mode_enabled()))
            return x

    model = nn.Sequential(Watching(), nn.Dropout())
    model[1].eval()
    latency({"model": model}, torch.zeros(1), rounds=4)
    assert set(seen) == {(False, True)}
    assert [m.training for m in model.modules()] == [True, True, False]
    row = latency({"model": Watching()}, torch.zeros(1), rounds=4)["model"]
    assert repr(row).endswith(", a stopwatch, batch 1, 7 threads)")


def test_an_example_may_be_a_mapping():
    example = {"x": torch.zeros(7), "y": torch.ones(7)}
    assert latency({"sum": lambda x, y: x + y}, example, rounds=4)["sum"].batch == 7


@pytest.mark.parametrize(("models", "rounds"), [({}, 30), ({"m": nn.Identity()}, 3)])
def test_too_few_models_or_rounds_are_refused(models, rounds):
    with pytest.raises(ValueError, match="at least one model and four rounds"):
        latency(models, torch.zeros(1), rounds)


def test_the_batch_is_moved_to_where_the_model_is():
    models = {"there": nn.Linear(4, 3, device="meta"), "here": nn.Linear(4, 3)}
    assert latency(models, torch.ones(2, 4), rounds=4).keys() == {"there", "here"}


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


def timed(*samples: float, runtime: str = "PyTorch") -> Latency:
    return Latency(samples, batch=1, threads=2, runtime=runtime)


def test_a_speedup_is_the_median_ratio_of_the_rounds():
    noise = [1, 1, 5, 9, 2]  # of the machine, in each round
    before, after = timed(*(2 * n for n in noise)), timed(*(1.0 * n for n in noise))
    ratio = speedup(before, after)
    assert (ratio.value, ratio.interval, ratio.rounds) == (2, (2, 2), 5)
    assert after.faster_than(before) == "2 × faster"
    assert before.faster_than(after) == "2 × slower"
    small = speedup(timed(1.004, 1.004), timed(1, 1, runtime="ONNX Runtime"))
    assert (
        repr(small) == "1.004 × faster (ratio 1.004, 1.004–1.004, PyTorch → ONNX Runtime, 2 rounds)"
    )


def test_equal_models_are_seldom_called_different():
    """Of 100 comparisons without a difference about one in twenty gets a verdict."""
    noise = np.random.default_rng(0).lognormal(0, 0.2, (100, 2, 30))
    words = [timed(*a).faster_than(timed(*b)) for a, b in noise]
    assert 88 <= words.count("cannot tell") <= 100
    different = [timed(*a).faster_than(timed(*(2 * b))) for a, b in noise]
    assert all("faster" in word for word in different)


@pytest.mark.parametrize(
    "other", [timed(1, 2), timed(), Latency((1, 2, 3), 2, 2), Latency((1, 2, 3), 1, 1)]
)
def test_latencies_of_two_measurements_have_no_speedup(other):
    with pytest.raises(ValueError, match="both from one measurement"):
        speedup(timed(1, 2, 3), other)


def test_one_model_by_itself_has_one_latency():
    alone = latency(nn.Linear(3, 2), torch.zeros(5, 3), rounds=4)
    assert isinstance(alone, Latency)
    assert (len(alone.samples), alone.batch) == (4, 5)
