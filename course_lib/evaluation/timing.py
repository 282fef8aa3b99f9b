"""Latency, measured so that the compared models share the noise, and speed-ups."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from timeit import Timer
from typing import Any, overload

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import nn
from torch.utils import benchmark

from course_lib.evaluation.accuracy import Estimate, Shown
from course_lib.modules import Batch, batch_size, call, device_of, evaluating, to_device


@dataclass(frozen=True, repr=False)
class Latency(Shown):
    """Milliseconds of one forward pass, shown as median and quartiles.

    Example:
        >>> Latency((1.0, 2.0, 3.0), batch=1, threads=2)
        2 ms (1.5–2.5, PyTorch, batch 1, 2 threads)
    """

    samples: tuple[float, ...]  # milliseconds in each round, in order
    batch: int  # examples in the batch
    threads: int
    runtime: str = "PyTorch"  # or "ONNX Runtime"

    @property
    def median(self) -> float:
        return float(np.median(self.samples))

    @property
    def q1(self) -> float:
        return float(np.percentile(self.samples, 25))

    @property
    def q3(self) -> float:
        return float(np.percentile(self.samples, 75))

    @property
    def setting(self) -> str:
        """What it was measured with: "batch 1, 2 threads"."""
        return f"batch {self.batch}, {self.threads} thread{'' if self.threads == 1 else 's'}"

    def faster_than(self, other: Latency) -> str:
        """ "1.8 × faster", "1.2 × slower" or "cannot tell": the verdict of `speedup`."""
        return speedup(other, self).verdict

    def __repr__(self) -> str:
        return f"{self.median:.3g} ms ({self.q1:.3g}–{self.q3:.3g}, {self.runtime}, {self.setting})"


@dataclass(frozen=True, repr=False)
class Speedup(Estimate):
    """How many times faster one model is than another, with its 95 % interval.

    `rounds` are those of the measurement; `runtime` is "PyTorch", or "PyTorch → ONNX Runtime" where the
    two models have different ones.
    """

    rounds: int
    runtime: str

    @property
    def verdict(self) -> str:
        """ "1.8 × faster", "1.2 × slower", or "cannot tell" where the interval contains 1."""
        if self.low <= 1 <= self.high:
            return "cannot tell"
        ratio, word = max((self.value, "faster"), (1 / self.value, "slower"))
        return f"{ratio:.2g} × {word}" if ratio >= 1.1 else f"{ratio:.4g} × {word}"

    def __repr__(self) -> str:
        return (
            f"{self.verdict} (ratio {self.value:.4g}, {self.low:.4g}–{self.high:.4g}, "
            f"{self.runtime}, {self.rounds} rounds)"
        )


def controlled(found: Speedup, control: Speedup) -> Speedup:
    """`found`, without bounds where the control of the same measurement failed.

    A control compares a model with a copy of itself, so its true ratio is 1. Where its interval leaves
    out 1, something else was measured, too, and nothing can be said: the interval is 0 to infinity.

    Example:
        >>> twice = Speedup(2.0, 1.9, 2.1, 30, "PyTorch")
        >>> controlled(twice, Speedup(1.0, 0.9, 1.1, 30, "PyTorch")).verdict
        '2 × faster'
        >>> controlled(twice, Speedup(1.3, 1.1, 1.6, 30, "PyTorch")).verdict
        'cannot tell'
    """
    if control.low <= 1 <= control.high:
        return found
    return replace(found, low=0.0, high=float("inf"))


def speedup(before: Latency, after: Latency) -> Speedup:
    """How many times faster `after` is than `before`, both from one call of `latency`.

    The median of the rounds' ratios, in which what slows a whole round down cancels out, with the
    percentile bootstrap over the rounds (Efron & Tibshirani 1993, section 13.3).

    Raises:
        ValueError: the two come from different measurements.

    Example:
        >>> speedup(Latency((3.0, 4.1, 6.0), 1, 2), Latency((1.5, 2.0, 3.0), 1, 2))
        2 × faster (ratio 2, 2–2.05, PyTorch, 3 rounds)
    """
    rounds, setting = len(before.samples), before.setting
    if rounds != len(after.samples) or setting != after.setting or rounds < 2:
        raise ValueError(
            f"Got {rounds} rounds ({setting}) and {len(after.samples)} rounds ({after.setting}); a "
            "speed-up needs both from one measurement: latency({...}, example)."
        )
    ratios = np.divide(before.samples, after.samples)
    low, high = bootstrap(
        (ratios,), np.median, n_resamples=2000, method="percentile", rng=0
    ).confidence_interval
    runtimes = dict.fromkeys((before.runtime, after.runtime))
    return Speedup(float(np.median(ratios)), float(low), float(high), rounds, " → ".join(runtimes))


@overload
def latency(
    models: Mapping[str, Callable[..., Any]], example: Batch, rounds: int = 30
) -> dict[str, Latency]: ...


@overload
def latency(models: Callable[..., Any], example: Batch, rounds: int = 30) -> Latency: ...


def latency(
    models: Mapping[str, Callable[..., Any]] | Callable[..., Any], example: Batch, rounds: int = 30
) -> dict[str, Latency] | Latency:
    """Latency of several models on the same batch, measured in turns so that they share the noise.

    Each round times every model once, after a call that does not count, over as many calls as take
    about two milliseconds. The order changes from round to round, because what ran before leaves the
    processor's caches in another state. Modules run in eval mode and `inference_mode`. Lesson 1.

    Args:
        models: name → a module, or any function of the batch; or one of them by itself. Its attributes
            `runtime` and `threads` (default: "PyTorch", and the threads of PyTorch) are part of the
            result.
        example: the batch: a tensor, or a mapping that is passed as keyword arguments.
        rounds: number of samples for each model (default 30).

    Raises:
        ValueError: no model, or fewer than four rounds (quartiles need four).
    """
    if callable(models):  # a model by itself
        return latency({"": models}, example, rounds)[""]
    if not models or rounds < 4:
        raise ValueError(
            f"Got {len(models)} models and {rounds} rounds; give at least one model and four rounds."
        )
    samples: dict[str, list[float]] = {name: [] for name in models}
    # Python's timer with PyTorch's clock, which waits for a GPU. (PyTorch's own timer makes two calls
    # before each sample, which is most of the time for slow models.)
    timers = {}
    for name, model in models.items():
        batch = to_device(example, device_of(model)) if isinstance(model, nn.Module) else example
        names = {"call": call, "model": model, "batch": batch}
        timers[name] = Timer("call(model, batch)", timer=benchmark.timer, globals=names)
    with torch.inference_mode(), evaluating(*models.values()):
        for timer in timers.values():
            timer.timeit(2)
        once = {name: timer.timeit(2) / 2 for name, timer in timers.items()}  # seconds
        calls = {name: max(1, min(1000, round(2e-3 / once[name]))) for name in models}
        shuffled = random.Random(0)
        for _ in range(rounds):
            for name in shuffled.sample(list(timers), len(timers)):
                timers[name].timeit(1)  # untimed: another model has run since
                samples[name].append(1000 * timers[name].timeit(calls[name]) / calls[name])
    return {
        name: Latency(
            tuple(samples[name]),
            batch_size(example),
            getattr(model, "threads", torch.get_num_threads()),
            getattr(model, "runtime", "PyTorch"),
        )
        for name, model in models.items()
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on one thread in the block: short times vary less, and a network of a few ten
    thousand parameters trains several times faster, because threads would wait for each other.

    Example:
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
