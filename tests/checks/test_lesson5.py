"""Plausible wrong answers to lesson 5's exercises, each named; and right ones in many styles."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import operator
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from styles import answers, short
from torch import nn

from course_lib import checks, encoders, explorer, onnx_models, quantization, text
from course_lib.checks import lesson5
from course_lib.measure import Accuracy

WRONG, RIGHT, wrong, right = answers()


def with_prints(answer: Callable) -> Callable:
    def noisy(*given: Any) -> Any:
        print("given:", len(given))
        return answer(*given)

    return noisy


# --- 1 · int8_bytes -------------------------------------------------------------------------------

WRONG += [
    ("int8_bytes", mistake, answer)
    for mistake, answer in {
        "the steps are forgotten": lambda words, width: (
            torch.zeros(words, width, dtype=torch.int8).nbytes
        ),
        "the bytes of float32": lambda words, width: np.zeros((words, width), "float32").nbytes,
        "one step for the whole table": lambda words, width: words * width + 32 // 8,
        "a step for each column, not for each row": lambda words, width: width * (words + 4),
        "a step of one byte": lambda words, width: words * (width + 1),
        "a step of eight bytes": lambda words, width: words * (width + 8),
        "bits for bytes": lambda words, width: words * (8 * width + 32),
        "a zero point is stored, too": lambda words, width: words * (width + 4 + 1),
        "the numbers are still in float32": lambda words, width: 4 * words * (width + 1),
        "how many times smaller, not the bytes": lambda words, width: 4 * width / (width + 4),
    }.items()
]
RIGHT["int8_bytes"] = {
    "sum": lambda words, width: words * width + 4 * words,
    "by row": lambda words, width: words * (width + 4),
    "float": lambda words, width: float(words * width + words * 4.0),
    "bits": lambda words, width: (8 * words * width + 32 * words) / 8,
    "prod": lambda words, width: math.prod((words, width)) + 4 * math.prod((words, 1)),
    "numpy": lambda words, width: (
        np.zeros((words, width), np.int8).nbytes + np.zeros(words, np.float32).nbytes
    ),
    "torch": lambda words, width: sum(
        torch.empty(shape, dtype=kind).nbytes
        for shape, kind in (((words, width), torch.int8), ((words, 1), torch.float32))
    ),
    "loop": lambda words, width: sum(width + 4 for _ in range(words)),
    "item sizes": lambda words, width: torch.tensor(
        words * (width * torch.int8.itemsize + torch.float32.itemsize)
    ),
    "less than before": lambda words, width: 4 * words * width - 3 * words * width + 4 * words,
    "Fraction": lambda words, width: Fraction(words) * (width + 4),
}


@pytest.mark.parametrize(("words", "width"), [(10, 4), (3, 1), (50, 12)])
def test_the_bytes_are_those_of_the_courses_int8_embedding(words, width):
    table = quantization.Int8Embedding(nn.Embedding(words, width))
    assert lesson5.int8_bytes.right(words, width) == sum(b.nbytes for b in table.buffers())


# --- 2 · to_int8 ----------------------------------------------------------------------------------


def whole_and(step: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (weight / step).round().clamp(-128, 127).to(torch.int8), step


def sizes(weight: torch.Tensor) -> torch.Tensor:
    size = weight.abs().amax(1, keepdim=True)
    return torch.where(size == 0, 127.0, size)


@wrong("to_int8", "not two tensors")
def _(weight):
    step = sizes(weight) / 127
    return (weight / step).round() * step


@wrong("to_int8", "not two tensors")
def _(weight):
    whole, step = plain(weight)
    return {"whole": whole, "step": step}


@wrong("to_int8", "the steps first, then the whole numbers")
def _(weight):
    return tuple(reversed(plain(weight)))


@wrong("to_int8", "rounded, but stored in more than one byte")
def _(weight):
    step = sizes(weight) / 127
    return (weight / step).round(), step


@wrong("to_int8", "rounded, but stored in more than one byte")
def _(weight):
    step = sizes(weight) / 127
    return (weight / step).round().int(), step


@wrong("to_int8", "a byte without a sign")
def _(weight):
    step = sizes(weight) / 127
    return ((weight / step).round() + 128).to(torch.uint8), step


@wrong("to_int8", "one step for the whole table")
def _(weight):
    return whole_and((weight.abs().max() / 127).expand(len(weight), 1), weight)


@wrong("to_int8", "a step for each column, not for each row")
def _(weight):
    return whole_and(weight.abs().amax(0, keepdim=True) / 127, weight)


@wrong("to_int8", "the largest number, not the largest size")
def _(weight):
    step = weight.max(dim=1, keepdim=True).values / 127
    return whole_and(step, weight)


@wrong("to_int8", "divided by 128")
def _(weight):
    return whole_and(sizes(weight) / 128, weight)


@wrong("to_int8", "divided by 128")
def _(weight):  # 2 to the power of 7, and the numbers turn over
    step = sizes(weight) / 2**7
    return (weight / step).round().numpy().astype(np.int64).astype(np.int8), step


@wrong("to_int8", "from the smallest to the largest number (asymmetric)")
def _(weight):
    low, high = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    step = (high - low) / 255
    return ((weight - low) / step - 128).round().nan_to_num().to(torch.int8), step


@wrong("to_int8", "twice the range in 255 steps")
def _(weight):
    return whole_and(sizes(weight) / 127.5, weight)


@wrong("to_int8", "the step is upside down")
def _(weight):
    scale = 127 / sizes(weight)
    return (weight * scale).round().to(torch.int8), scale


@wrong("to_int8", "cut off, not rounded")
def _(weight):
    step = sizes(weight) / 127
    return (weight / step).to(torch.int8), step


@wrong("to_int8", "rounded down")
def _(weight):
    step = sizes(weight) / 127
    return (weight // step).to(torch.int8), step


@wrong("to_int8", "rounded up")
def _(weight):
    step = sizes(weight) / 127
    return (weight / step).ceil().to(torch.int8), step


@wrong("to_int8", "a row of zeros has the step 0")
def _(weight):
    step = weight.abs().amax(1, keepdim=True) / 127
    return (weight / step).round().to(torch.int8), step


@wrong("to_int8", "a row of zeros has the step 0")
def _(weight):
    step = weight.abs().amax(1, keepdim=True) / 127
    return (weight / step).nan_to_num().round().to(torch.int8), step


@wrong("to_int8", "the input is changed in place")
def _(weight):
    step = sizes(weight) / 127
    return weight.div_(step).round_().to(torch.int8), step


@right("to_int8")
def plain(weight):
    step = weight.abs().amax(1, keepdim=True) / 127
    step[step == 0] = 1
    return (weight / step).round().to(torch.int8), step


@right("to_int8")
def flat_steps(weight):
    step = weight.abs().max(dim=1).values / 127
    step = torch.where(step > 0, step, torch.ones_like(step))
    return torch.round(weight / step[:, None]).char(), step


@right("to_int8")
def loop_over_rows(weight):
    rows, steps = [], []
    for row in weight:
        step = max(float(row.abs().max()), 1e-12) / 127
        rows.append([round(float(w) / step) for w in row])
        steps.append(step)
    return torch.tensor(rows, dtype=torch.int8), torch.tensor(steps)


@right("to_int8")
def loop_over_numbers(weight):
    whole = torch.zeros(weight.shape, dtype=torch.int8)
    step = torch.ones(len(weight), 1)
    for i in range(weight.shape[0]):
        largest = max(abs(float(weight[i, j])) for j in range(weight.shape[1]))
        if largest:
            step[i] = largest / 127
        for j in range(weight.shape[1]):
            whole[i, j] = int(torch.round(weight[i, j] / step[i, 0]))
    return whole, step


@right("to_int8")
def numpys(weight):
    w = weight.numpy()
    step = np.abs(w).max(axis=1, keepdims=True) / 127
    step[step == 0] = 1
    return np.rint(w / step).astype(np.int8), step


@right("to_int8")
def float64(weight):
    step = weight.double().abs().amax(-1, True).clamp(min=1e-9) / 127
    return (weight.double() / step).round().to(torch.int8), step


@right("to_int8")
def clamped(weight):
    step = torch.clamp(weight.abs().amax(1, keepdim=True), min=1e-8).div(127)
    return torch.clamp((weight / step).round(), -127, 127).to(dtype=torch.int8), step


@right("to_int8")
def in_place_on_a_copy(weight):
    work = weight.clone()
    step = work.abs().max(1, keepdim=True)[0].div_(127)
    step.masked_fill_(step == 0, 0.5)
    return work.div_(step).round_().to(torch.int8), step.squeeze(1)


@right("to_int8")
def norm_of_infinity(weight):
    step = torch.linalg.vector_norm(weight, ord=torch.inf, dim=1, keepdim=True) / 127
    step += step == 0
    return [torch.einsum("ij,ik->ij", weight, 1 / step).round().to(torch.int8), step]


@right("to_int8")
def both_ends(weight):
    step = torch.maximum(weight.amax(1), -weight.amin(1)) / 127
    step = step.where(step.bool(), 1.0)
    return torch.stack(
        [(row / s).round() for row, s in zip(weight, step, strict=True)]
    ).char(), step


@right("to_int8")
def the_courses_own(weight):
    table = quantization.Int8Embedding(nn.Embedding.from_pretrained(weight))
    return table.weight, table.scale


@right("to_int8")
def pytorchs(weight):
    step = sizes(weight).flatten() / 127
    zero = torch.zeros(len(weight), dtype=torch.long)
    return torch.quantize_per_channel(weight, step, zero, 0, torch.qint8).int_repr(), step


RIGHT["to_int8"] |= {"with prints": with_prints(plain), "partial": functools.partial(plain)}

# --- 3 · times_smaller ----------------------------------------------------------------------------


def left(parts, steps):
    return {p: size / math.prod(f for q, f in steps if q == p) for p, size in parts.items()}


@wrong("times_smaller", "all factors multiplied, wherever they act")
def _(parts, steps):
    result = 1
    for _, factor in steps:
        result *= factor
    return result


@wrong("times_smaller", "the factors are added")
def _(parts, steps):
    return sum(factor for _, factor in steps) if steps else 1


@wrong("times_smaller", "the factors of one part are added")
def _(parts, steps):
    factors = Counter()
    for part, factor in steps:
        factors[part] += factor
    return sum(parts.values()) / sum(size / (factors[p] or 1) for p, size in parts.items())


@wrong("times_smaller", "the percentages are added")
def _(parts, steps):
    return 100 / (100 - sum(100 - 100 / factor for _, factor in steps))


@wrong("times_smaller", "each saving is counted from the full size")
def _(parts, steps):
    total = sum(parts.values())
    saved = 0
    for part, factor in steps:
        saved += parts[part] - parts[part] / factor
    return total / (total - saved)


@wrong("times_smaller", "only the last step on a part counts")
def _(parts, steps):
    factors = dict(steps)
    return sum(parts.values()) / sum(size / factors.get(p, 1) for p, size in parts.items())


@wrong("times_smaller", "only the largest factor of a part counts")
def _(parts, steps):
    small = {p: min([size] + [size / f for q, f in steps if q == p]) for p, size in parts.items()}
    return sum(parts.values()) / sum(small.values())


@wrong("times_smaller", "the part that no step names is left out")
def _(parts, steps):
    named = {part for part, _ in steps} or set(parts)
    return sum(parts[p] for p in named) / sum(left(parts, steps)[p] for p in named)


@wrong("times_smaller", "the mean of the parts' factors")
def _(parts, steps):
    return np.mean([parts[p] / size for p, size in left(parts, steps).items()])


@wrong("times_smaller", "the mean of the factors, weighed by size")
def _(parts, steps):
    factors = [parts[p] / size for p, size in left(parts, steps).items()]
    return np.average(factors, weights=list(parts.values()))


@wrong("times_smaller", "what is left, as a share")
def _(parts, steps):
    return sum(left(parts, steps).values()) / sum(parts.values())


@wrong("times_smaller", "the megabytes that are left")
def _(parts, steps):
    return sum(left(parts, steps).values())


@wrong("times_smaller", "the input is changed in place")
def _(parts, steps):
    before = sum(parts.values())
    for part, factor in steps:
        parts[part] /= factor
    return before / sum(parts.values())


@right("times_smaller")
def a_copy(parts, steps):
    now = dict(parts)
    for part, factor in steps:
        now[part] /= factor
    return sum(parts.values()) / sum(now.values())


@right("times_smaller")
def comprehension(parts, steps):
    return sum(parts.values()) / sum(left(parts, steps).values())


@right("times_smaller")
def factors_by_part(parts, steps):
    factors = defaultdict(lambda: 1)
    for part, factor in steps:
        factors[part] *= factor
    return sum(parts.values()) / sum(size / factors[part] for part, size in parts.items())


@right("times_smaller")
def reduced(parts, steps):
    def rest(part):
        return functools.reduce(operator.truediv, (f for p, f in steps if p == part), parts[part])

    return np.float64(sum(parts.values()) / sum(map(rest, parts)))


@right("times_smaller")
def numpy_arrays(parts, steps):
    names, size = list(parts), np.array(list(parts.values()), dtype=float)
    now = size.copy()
    for part, factor in steps:
        now[names.index(part)] /= factor
    return size.sum() / now.sum()


@right("times_smaller")
def torchs(parts, steps):
    size = torch.tensor(list(parts.values()), dtype=torch.float64)
    factor = torch.tensor([math.prod(f for q, f in steps if q == p) for p in parts])
    return size.sum() / torch.einsum("i,i->", size, 1 / factor.double())


@right("times_smaller")
def fractions_only(parts, steps):
    now = {part: Fraction(size) for part, size in parts.items()}
    for part, factor in steps:
        now[part] /= Fraction(factor)
    return Fraction(sum(parts.values())) / sum(now.values())


@right("times_smaller")
def pandas_series(parts, steps):
    now = pd.Series(parts, dtype=float)
    for part, factor in steps:
        now[part] /= factor
    return pd.Series(parts).sum() / now.sum()


@right("times_smaller")
def harmonic_mean(parts, steps):
    total = sum(parts.values())
    shares = {p: size / total for p, size in parts.items()}
    return 1 / sum(shares[p] / (parts[p] / size) for p, size in left(parts, steps).items())


@right("times_smaller")
def recursive(parts, steps):
    def after(parts, steps):
        if not steps:
            return sum(parts.values())
        (part, factor), *rest = steps
        return after(parts | {part: parts[part] / factor}, rest)

    return sum(parts.values()) / after(parts, steps)


@right("times_smaller")
def logarithms(parts, steps):
    now = sum(
        math.exp(math.log(s) - sum(math.log(f) for q, f in steps if q == p))
        for p, s in parts.items()
    )
    return sum(parts.values()) / now


RIGHT["times_smaller"]["with prints"] = with_prints(a_copy)

# --- 4 · three_orders -----------------------------------------------------------------------------


def prune_first(start, step, mask_of, steps, amount):
    mask = mask_of(start, amount)
    w = start * mask
    for t in range(steps):
        w = step(w, t) * mask
    return w


def distil_first(start, step, mask_of, steps, amount):
    w = start
    for t in range(steps):
        w = step(w, t)
    return w * mask_of(w, amount)


def together(start, step, mask_of, steps, amount, shares=None):
    w = start
    for t in range(steps):
        mask = mask_of(w, amount * (t + 1) / steps if shares is None else shares[t])
        w = step(w * mask, t) * mask
    return w


def orders(first=prune_first, second=distil_first, third=together):
    def answer(*given):
        return {
            "prune first": first(*given),
            "distil first": second(*given),
            "together": third(*given),
        }

    return answer


def wrong_order(mistake: str, **changed: Callable) -> None:
    WRONG.append(("three_orders", mistake, orders(**changed)))


@wrong("three_orders", "not a dict of the three orders")
def _(*given):
    return list(orders()(*given).values())


@wrong("three_orders", "not a dict of the three orders")
def _(*given):
    return {"prune first": prune_first(*given), "distil first": distil_first(*given)}


@wrong("three_orders", "the input is changed in place")
def _(start, *rest):
    start *= rest[1](start, rest[3])
    return orders()(start, *rest)


@wrong("three_orders", "an order gets fewer steps than the others")
def _(start, step, mask_of, steps, amount):  # the steps are shared out
    return orders()(start, step, mask_of, steps // 2, amount)


@wrong("three_orders", "an order gets fewer steps than the others")
def _(start, step, mask_of, steps, amount):  # counted from 1, but to steps − 1
    def shorter(start, step, mask_of, steps, amount):
        return prune_first(start, step, mask_of, steps - 1, amount)

    return orders(shorter)(start, step, mask_of, steps, amount)


@wrong("three_orders", "an order gets more steps than the others")
def _(start, step, mask_of, steps, amount):
    def recovers(start, step, mask_of, steps, amount):
        w = distil_first(start, step, mask_of, steps, amount)
        return step(w, 0) * (w != 0)

    return orders(second=recovers)(start, step, mask_of, steps, amount)


@wrong("three_orders", "the orders do not see the same batches")
def _(start, step, mask_of, steps, amount):
    counter = itertools.count()
    return orders()(start, lambda w, t: step(w, next(counter)), mask_of, steps, amount)


@wrong("three_orders", "the orders do not see the same batches")
def _(start, step, mask_of, steps, amount):  # counted from 1
    return orders()(start, lambda w, t: step(w, t + 1), mask_of, steps, amount)


@wrong("three_orders", "the mask is upside down")
def _(start, step, mask_of, steps, amount):
    return orders()(start, step, lambda w, share: ~mask_of(w, share), steps, amount)


@wrong("three_orders", "prune first: the zeros wake up again")
def _(start, step, mask_of, steps, amount):
    def woken(start, step, mask_of, steps, amount):
        w = start * mask_of(start, amount)
        for t in range(steps):
            w = step(w, t)
        return w

    return orders(woken)(start, step, mask_of, steps, amount)


def dense(start, step, mask_of, steps, amount):
    return distil_first(start, step, lambda w, share: torch.ones_like(w), steps, amount)


def woken_together(start, step, mask_of, steps, amount):
    w = start
    for t in range(steps):
        w = step(w * mask_of(w, amount * (t + 1) / steps), t)
    return w


def masked_at_the_end(start, step, mask_of, steps, amount):
    mask = mask_of(start, amount)
    return dense(start * mask, step, mask_of, steps, amount) * mask


def pruned_twice(start, step, mask_of, steps, amount):
    return distil_first(start * mask_of(start, amount), step, mask_of, steps, amount)


def dynamic(start, step, mask_of, steps, amount):
    w = start * mask_of(start, amount)
    for t in range(steps):
        w = step(w, t)
        w = w * mask_of(w, amount)
    return w


def masked_by_the_start(start, step, mask_of, steps, amount):
    return dense(start, step, mask_of, steps, amount) * mask_of(start, amount)


def parts_of_the_rest(start, step, mask_of, steps, amount):
    w, alive = start, torch.ones_like(start, dtype=torch.bool)
    for t in range(steps):
        kept = mask_of(w[alive], amount / steps)  # of those that are left
        alive = alive.masked_scatter(alive, kept)
        w = step(w * alive, t) * alive
    return w


def pruned_behind(start, step, mask_of, steps, amount):
    w, mask = start, 1
    for t in range(steps):
        w = step(w, t) * mask
        mask = mask_of(w, amount * (t + 1) / steps)
        w = w * mask
    return w


wrong_order("distil first: nothing is pruned", second=dense)
wrong_order("together: the zeros wake up again", third=woken_together)
wrong_order("prune first: the mask is laid on at the end only", first=masked_at_the_end)
wrong_order("prune first: pruned anew at the end", first=pruned_twice)
wrong_order("prune first: another mask behind each step", first=dynamic)
wrong_order("distil first: the mask comes from the start", second=masked_by_the_start)
wrong_order("together: all of it goes before the first step", third=prune_first)
wrong_order(
    "together: each step asks for its own part alone",
    third=lambda *given: together(*given, shares=[given[4] / given[3]] * given[3]),
)
wrong_order("together: the amount counts what is left", third=parts_of_the_rest)
wrong_order(
    "together: the amount counts what is left",
    third=lambda *given: together(*given, shares=[0.4, 0.4 + 0.6 * 0.4]),
)
wrong_order(
    "together: it stops before the amount is reached",
    third=lambda *given: together(
        *given, shares=[given[4] * t / given[3] for t in range(given[3])]
    ),
)
wrong_order("together: pruned behind each step, not before it", third=pruned_behind)


@wrong("three_orders", "an order goes on from where the one before ended")
def _(start, *rest):
    first = prune_first(start, *rest)
    second = distil_first(first, *rest)
    return {"prune first": first, "distil first": second, "together": together(second, *rest)}


RIGHT["three_orders"] = {"three functions": orders()}


@right("three_orders")
def one_schedule_each(start, step, mask_of, steps, amount):
    schedules = {
        "prune first": [amount] * steps,
        "distil first": [0] * steps,
        "together": [amount * (t + 1) / steps for t in range(steps)],
    }
    result = {}
    for name, shares in schedules.items():
        w = together(start, step, mask_of, steps, amount, shares)
        result[name] = w * mask_of(w, amount)
    return result


@right("three_orders")
def in_place_on_copies(start, step, mask_of, steps, amount):
    result = {}
    w = start.clone()
    gone = ~mask_of(w, amount)
    w[gone] = 0
    for t in range(steps):
        w = step(w, t)
        w[gone] = 0
    result["prune first"] = w
    w = start.clone()
    for t in range(steps):
        w = step(w, t)
    w[~mask_of(w, amount)] = 0
    result["distil first"] = w
    w = start.clone()
    for t in range(steps):
        gone = ~mask_of(w, amount * (t + 1) / steps)
        w[gone] = 0
        w = step(w, t)
        w[gone] = 0
    result["together"] = w
    return result


@right("three_orders")
def side_by_side(start, step, mask_of, steps, amount):
    first = mask_of(start, amount)
    a, b, c = start * first, start, start
    for t in range(steps):
        share = amount * (t + 1) / steps
        mask = mask_of(c, share)
        a, b, c = step(a, t) * first, step(b, t), step(c * mask, t) * mask
    return {"together": c, "distil first": b * mask_of(b, amount), "prune first": a}


@right("three_orders")
def where_style(start, step, mask_of, steps, amount):
    def masked_step(w, t, mask):
        return torch.where(mask, step(torch.where(mask, w, 0.0), t), torch.zeros_like(w))

    everything = torch.ones_like(start, dtype=torch.bool)
    given = {"prune first": start, "distil first": start, "together": start}
    for name in given:
        mask = mask_of(start, amount) if name == "prune first" else everything
        for t in range(steps):
            if name == "together":
                mask = mask_of(given[name], amount * (t + 1) / steps)
            given[name] = masked_step(given[name], t, mask)
    given["distil first"] = given["distil first"] * mask_of(given["distil first"], amount)
    return given


@right("three_orders")
def folded(start, step, mask_of, steps, amount):
    first = mask_of(start, amount)

    def grow(w, t):
        mask = mask_of(w, amount * (t + 1) / steps)
        return step(w.mul(mask), t).mul(mask)

    trained = functools.reduce(step, range(steps), start)
    return {
        "prune first": functools.reduce(
            lambda w, t: first * step(w, t), range(steps), first * start
        ),
        "distil first": trained * mask_of(trained, amount),
        "together": functools.reduce(grow, range(steps), start),
    }


@right("three_orders")
def float64_weights(start, *rest):
    return orders()(start.double(), *rest)


@right("three_orders")
def numpy_weights(*given):
    return {name: w.numpy() for name, w in orders()(*given).items()}


@right("three_orders")
def lists_of_numbers(*given):
    return {name: w.tolist() for name, w in orders()(*given).items()}


@right("three_orders")
def a_class(start, step, mask_of, steps, amount):
    class Student:
        def __init__(self):
            self.w = copy.deepcopy(start)
            self.mask = torch.ones_like(start)

        def prune(self, share):
            self.mask = mask_of(self.w, share).float()
            self.w = self.w * self.mask

        def distil(self, t):
            self.w = step(self.w, t) * self.mask

    a, b, c = Student(), Student(), Student()
    a.prune(amount)
    for t in range(steps):
        a.distil(t)
        b.distil(t)
        c.prune(amount * (t + 1) / steps)
        c.distil(t)
    b.prune(amount)
    return {"prune first": a.w, "distil first": b.w, "together": c.w}


RIGHT["three_orders"] |= {
    "with prints": with_prints(orders()),
    "partial": functools.partial(orders()),
}

# --- 5 · front ------------------------------------------------------------------------------------


def beaten_by_any(models, beats):
    costs = {name: (size, ms, -accuracy) for name, (size, ms, accuracy) in models.items()}
    return [n for n in costs if not any(beats(costs[o], costs[n]) for o in costs if o != n)]


def in_all(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True))


@wrong("front", "beaten only by what is better in all three")
def _(models):
    return [
        name
        for name, (size, ms, accuracy) in models.items()
        if not any(s < size and m < ms and a > accuracy for s, m, a in models.values())
    ]


@wrong("front", "equal models drive each other out")
def _(models):
    return beaten_by_any(models, in_all)


@wrong("front", "of equal models only one stays")
def _(models):
    kept = []
    for name in plain_front(models):
        if models[name] not in [models[other] for other in kept]:
            kept.append(name)
    return kept


@wrong("front", "a low accuracy counts as good")
def _(models):
    return [
        n
        for n in models
        if not any(models[o] != models[n] and in_all(models[o], models[n]) for o in models)
    ]


@wrong("front", "a high latency counts as good")
def _(models):
    return plain_front({n: (size, -ms, accuracy) for n, (size, ms, accuracy) in models.items()})


@wrong("front", "worse in one respect is enough to be out")
def _(models):
    small = min(size for size, _, _ in models.values())
    fast = min(ms for _, ms, _ in models.values())
    best = max(accuracy for _, _, accuracy in models.values())
    return [name for name, row in models.items() if row == (small, fast, best)]


@wrong("front", "only the best in each respect")
def _(models):
    small = min(size for size, _, _ in models.values())
    fast = min(ms for _, ms, _ in models.values())
    best = max(accuracy for _, _, accuracy in models.values())
    return {n for n, (s, m, a) in models.items() if s == small or m == fast or a == best}


@wrong("front", "the latency is not looked at")
def _(models):
    return plain_front({name: (size, 0, accuracy) for name, (size, _, accuracy) in models.items()})


@wrong("front", "the bytes are not looked at")
def _(models):
    return plain_front({name: (0, ms, accuracy) for name, (_, ms, accuracy) in models.items()})


@wrong("front", "the accuracy is not looked at")
def _(models):
    return plain_front({name: (size, ms, 0) for name, (size, ms, _) in models.items()})


@wrong("front", "the beaten ones, not the others")
def _(models):
    return set(models) - set(plain_front(models))


@wrong("front", "one winner by one score")
def _(models):
    return [max(models, key=lambda name: models[name][2] / math.prod(models[name][:2]))]


@wrong("front", "none that this check knows")
def _(models):  # their numbers, not their names
    return [models[name] for name in plain_front(models)]


@right("front")
def plain_front(models):
    def beats(one, other):
        return in_all(one, other) and one != other

    return beaten_by_any(models, beats)


@right("front")
def written_out(models):
    names = []
    for name, (size, ms, accuracy) in models.items():
        out = False
        for s, m, a in models.values():
            as_good = s <= size and m <= ms and a >= accuracy
            better = s < size or m < ms or a > accuracy
            if as_good and better:
                out = True
        if not out:
            names.append(name)
    return names


@right("front")
def a_set(models):
    return set(plain_front(models))


@right("front")
def a_tuple_turned_round(models):
    return tuple(reversed(plain_front(models)))


@right("front")
def the_models_themselves(models):
    return {name: models[name] for name in plain_front(models)}


@right("front")
def a_generator(models):
    yield from plain_front(models)


@right("front")
def thrown_out_one_by_one(models):
    kept = set(models)
    for a, b in itertools.permutations(models, 2):
        x, y = ((s, m, -acc) for s, m, acc in (models[a], models[b]))
        if in_all(x, y) and x != y:
            kept.discard(b)
    return sorted(kept)


@right("front")
def numpy_table(models):
    table = np.array(list(models.values())) * [1, 1, -1]
    as_good = (table[:, None] <= table[None]).all(-1)
    better = (table[:, None] < table[None]).any(-1)
    return np.array(list(models))[~(as_good & better).any(0)]


@right("front")
def torch_table(models):
    table = torch.tensor(list(models.values()), dtype=torch.float64) * torch.tensor([1, 1, -1])
    beats = (table[:, None] <= table).all(-1) & (table[:, None] < table).any(-1)
    return [name for name, out in zip(models, beats.any(0).tolist(), strict=True) if not out]


@right("front")
def sorted_first(models):
    front = []
    for name in sorted(models, key=lambda n: (*models[n][:2], -models[n][2])):
        _, ms, accuracy = models[name]
        rivals = (models[n] for n in front)
        if all(models[name] == r or not (r[1] <= ms and r[2] >= accuracy) for r in rivals):
            front.append(name)
    return front


@right("front")
def pandas_frame(models):
    table = pd.DataFrame(models, index=["bytes", "ms", "accuracy"]).T
    table["accuracy"] *= -1
    return [
        n
        for n in table.index
        if not ((table <= table.loc[n]).all(axis=1) & (table < table.loc[n]).any(axis=1)).any()
    ]


@right("front")
def the_courses_front(models):
    variants = {n: explorer.Variant(n, s, m, measure_of(a)) for n, (s, m, a) in models.items()}
    return explorer.pareto(variants)


def measure_of(accuracy):
    return Accuracy(round(accuracy * 100), 100)


RIGHT["front"] |= {
    "with prints": with_prints(plain_front),
    "partial": functools.partial(plain_front),
}

# --- 6 · choose_advice ----------------------------------------------------------------------------


def fits(when, answers):
    return all(answers.get(question) == wanted for question, wanted in when.items())


@wrong("choose_advice", "the last row that fits, not the first")
def _(rows, answers):
    found = None
    for when, advice in rows:
        if fits(when, answers):
            found = advice
    if found is None:
        raise ValueError("no row fits")
    return found


@wrong("choose_advice", "the row with the most conditions")
def _(rows, answers):
    for when, advice in sorted(rows, key=lambda row: -len(row[0])):
        if fits(when, answers):
            return advice
    raise ValueError("no row fits")


@wrong("choose_advice", "one condition that is met is enough")
def _(rows, answers):
    for when, advice in rows:
        if not when or set(when.items()) & set(answers.items()):
            return advice
    raise ValueError("no row fits")


@wrong("choose_advice", "the row that most conditions speak for")
def _(rows, answers):
    count = [len(when.items() & answers.items()) for when, _ in rows]
    if max(count) == 0 and rows[-1][0]:
        raise ValueError("no row fits")
    return rows[count.index(max(count))][1]


@wrong("choose_advice", "the answers must be the conditions, and no more")
def _(rows, answers):
    for when, advice in rows:
        if when in (answers, {}):
            return advice
    raise ValueError("no row fits")


@wrong("choose_advice", "what was not answered counts as met")
def _(rows, answers):
    for when, advice in rows:
        if all(when[question] == answers[question] for question in when if question in answers):
            return advice
    raise ValueError("no row fits")


@wrong("choose_advice", "a question without an answer stops it")
def _(rows, answers):
    for when, advice in rows:
        if all(answers[question] == wanted for question, wanted in when.items()):
            return advice
    raise ValueError("no row fits")


@wrong("choose_advice", "a row without conditions never fits")
def _(rows, answers):
    for when, advice in rows:
        met = [answers.get(question) == wanted for question, wanted in when.items()]
        if met and min(met):
            return advice
    raise ValueError("no row fits")


@wrong("choose_advice", "no row fits, and nobody is told")
def _(rows, answers):
    for when, advice in rows:
        if fits(when, answers):
            return advice


@wrong("choose_advice", "no row fits, and nobody is told")
def _(rows, answers):
    return next((advice for when, advice in rows if fits(when, answers)), None)


@wrong("choose_advice", "no row fits, and StopIteration is raised")
def _(rows, answers):
    return next(advice for when, advice in rows if fits(when, answers))


@wrong("choose_advice", "no row fits, and IndexError is raised")
def _(rows, answers):
    return [advice for when, advice in rows if fits(when, answers)][0]  # noqa: RUF015


@wrong("choose_advice", "no row fits, and the last one is taken")
def _(rows, answers):
    for when, advice in rows:  # noqa: B007
        if fits(when, answers):
            break
    return advice


@wrong("choose_advice", "none that this check knows")
def _(rows, answers):  # the row, not its advice
    return next(row for row in rows if fits(row[0], answers))


@right("choose_advice")
def plain_advice(rows, answers):
    for when, advice in rows:
        if fits(when, answers):
            return advice
    raise ValueError(f"no row fits {answers}")


@right("choose_advice")
def subset_of_items(rows, answers):
    for when, advice in rows:
        if when.items() <= answers.items():
            return advice
    raise ValueError


@right("choose_advice")
def merged_is_the_same(rows, answers):
    for when, advice in rows:
        if answers | when == answers:
            return advice
    raise ValueError("none")


@right("choose_advice")
def next_with_a_default(rows, answers):
    found = next((advice for when, advice in rows if fits(when, answers)), None)
    if found is None:
        raise ValueError("none")
    return found


@right("choose_advice")
def a_list_of_those_that_fit(rows, answers):
    found = [advice for when, advice in rows if fits(when, answers)]
    if not found:
        raise ValueError("none")
    return found[0]


@right("choose_advice")
def nested_loops(rows, answers):
    for when, advice in rows:
        met = True
        for question in when:
            if question not in answers or answers[question] != when[question]:
                met = False
                break
        if met:
            return advice
    raise ValueError("none")


@right("choose_advice")
def recursive_advice(rows, answers):
    if not rows:
        raise ValueError("none")
    (when, advice), *rest = rows
    return advice if fits(when, answers) else recursive_advice(rest, answers)


@right("choose_advice")
def filtered(rows, answers):
    for _, advice in filter(lambda row: fits(row[0], answers), rows):
        return advice
    raise ValueError("none")


@right("choose_advice")
def from_behind(rows, answers):
    chosen = []
    for when, advice in reversed(rows):
        if not any(answers.get(q) != a for q, a in when.items()):
            chosen.append(advice)
    if chosen:
        return chosen[-1]
    raise ValueError("none")


@right("choose_advice")
def caught_key_errors(rows, answers):
    for when, advice in rows:
        try:
            if all(answers[q] == a for q, a in when.items()):
                return advice
        except KeyError:
            continue
    raise ValueError("none")


@right("choose_advice")
def a_kind_of_value_error(rows, answers):
    class NoRowError(ValueError):
        pass

    try:
        return plain_advice(rows, answers)
    except ValueError as error:
        raise NoRowError("none") from error


@right("choose_advice")
def the_courses_advice(rows, answers):
    return explorer.advise([explorer.Advice(w, a, "because") for w, a in rows], answers).first


RIGHT["choose_advice"] |= {
    "with prints": with_prints(plain_advice),
    "partial": functools.partial(plain_advice),
}

# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exercise", "mistake", "answer"), WRONG, ids=short)
def test_a_plausible_wrong_answer_is_named(exercise, mistake, answer):
    with pytest.raises(checks.WrongAnswerError) as caught:
        getattr(checks, exercise)(answer)
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        pytest.param(e, a, id=f"{e}-{name}")
        for e, found in RIGHT.items()
        for name, a in found.items()
    ],
)
def test_a_right_answer_passes_in_any_style(exercise, answer, capsys):
    getattr(checks, exercise)(answer)
    assert f"✓ {exercise}" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", RIGHT)
def test_there_are_enough_of_both(exercise):
    named = {mistake for one, mistake, _ in WRONG if one == exercise}
    assert named >= {mistake.name for mistake in getattr(checks, exercise).mistakes}
    assert len(RIGHT[exercise]) >= 10


# --- 7 · the challenge ----------------------------------------------------------------------------


def int8_file(words: int = 30_522, width: int = 4, kind: str = "int8", beside: int = 0) -> bytes:
    """The smallest classifier there is: the mean of its words' rows; `beside` are bytes of layers."""
    rows = np.random.default_rng(0).integers(-9, 9, (words, width)).astype(kind)
    tensors = {
        "table": rows,
        "head": np.ones((width, 2), "float32"),
        "length": np.array([1]),
        "layers": np.zeros(beside, "int8"),
    }
    nodes = [
        onnx.helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        onnx.helper.make_node("Cast", ["rows"], ["wide"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["wide", "length"], ["mean"], keepdims=0),
        onnx.helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "length_"])
        for name in onnx_models.INPUTS
    ]
    output = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 2])
    held = [onnx.numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()]
    graph = onnx.helper.make_graph(nodes, "tiny", inputs, [output], held)
    opset = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


@pytest.fixture
def shipped(tmp_path: Path) -> Callable[..., Path]:
    """Write such a classifier, with MiniLM's tokeniser, into a folder."""

    def ship(**sizes: Any) -> Path:
        model = onnx_models.OnnxClassifier(int8_file(**sizes))
        words = encoders.load_tokenizer()
        return onnx_models.save_onnx_folder(model, tmp_path / "mine", words, text.LABELS)

    return ship


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """What the clock and the test part would say."""

    def say(ms: float, accuracy: float) -> None:
        monkeypatch.setattr(lesson5, "_milliseconds", lambda folder: ms)
        monkeypatch.setattr(lesson5, "_heldout", lambda folder: accuracy)

    return say


@pytest.mark.parametrize(
    ("mistake", "sizes", "ms", "accuracy"),
    [
        ("it is still float32", {"width": 40, "kind": "float32"}, 1, 0.8),
        ("it is still float32", {"width": 400, "words": 4000, "kind": "float32"}, 9, 0.5),
        ("too large, and most of it is words", {"width": 150}, 1, 0.8),
        ("too large, and most of it is words", {"width": 384}, 9, 0.8),
        ("too large, and most of it is layers", {"beside": 4_500_000}, 1, 0.8),
        ("small enough, and too slow", {}, 3.2, 0.8),
        ("small enough, and too slow", {}, 30, 0.5),
        ("the labels are turned round", {}, 1, 0.2),
        ("it guesses", {}, 1, 0.503),
        ("small, fast, and often wrong", {}, 1, 0.7),
        ("a little below the bar", {}, 1, 0.7795),
        ("a little below the bar", {}, 1, 0.7505),
    ],
)
def test_the_challenge_says_what_is_missing(shipped, looks, mistake, sizes, ms, accuracy):
    looks(ms, accuracy)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.small_and_fast(shipped(**sizes))
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    ("mistake", "answer"),
    [
        ("the model for its folder", lambda folder: onnx_models.OnnxClassifier(int8_file())),
        ("the file for its folder", lambda folder: folder / "model.onnx"),
        ("the file for its folder", lambda folder: str(folder / "tokenizer.json")),
        ("there is no such folder", lambda folder: folder / "elsewhere"),
        ("a folder of another kind", lambda folder: folder.parent),
        ("the model for its folder", lambda folder: nn.Linear(2, 2)),
        ("it stops with an error", lambda folder: {"model": folder}),
    ],
)
def test_the_challenge_wants_a_folder(shipped, looks, mistake, answer):
    looks(1, 0.9)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.small_and_fast(answer(shipped()))
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"width": 100},
        {"width": 1},
        {"words": 30_522, "width": 2, "kind": "uint8"},
        {"width": 16, "kind": "float32"},
        {"width": 60, "kind": "float16"},
        {"beside": 3_000_000},
        {"width": 64, "beside": 1_900_000},
    ],
)
def test_the_challenge_takes_any_model_that_is_small_enough(shipped, looks, sizes, capsys):
    looks(2.9, 0.78)
    checks.small_and_fast(shipped(**sizes))
    said = " ".join(capsys.readouterr().out.split())
    assert "its accuracy on 2,000 unseen reviews 0.78" in said and "one thread 2.9" in said


@pytest.mark.parametrize("kind", [str, Path, lambda folder: Path(f"{folder}/../{folder.name}")])
def test_the_challenge_takes_a_path_of_any_kind(shipped, looks, kind):
    looks(0.1, 0.9)
    checks.small_and_fast(kind(shipped()))


def test_the_challenge_really_looks(shipped, monkeypatch):
    """The real clock, and the real model on four sentences: two of them are right."""
    lines = ["a film", "a good film that goes on", "no film", "one film"]
    part = Dataset.from_dict({"text": lines, "label": [0, 0, 1, 1]})
    monkeypatch.setattr(text, "reviews", lambda: DatasetDict({"test": part}))
    folder = shipped()
    assert 0 < lesson5._milliseconds(folder) < 1000
    assert lesson5._heldout(folder) == 0.5  # its two logits are equal: it always says 0
