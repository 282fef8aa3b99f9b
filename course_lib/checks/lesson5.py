"""Checks for the exercises of lesson 5, combined compression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import tokenizers
import torch
from datasets import Dataset
from onnx import numpy_helper
from torch import Tensor, nn

from course_lib import datasets, evaluation
from course_lib.checks.checking import Check, call
from course_lib.checks.comparing import Range, as_number, close, show
from course_lib.checks.given import lowest
from course_lib.checks.guarding import CHANGED, EMPTY, Mistake, Seen, TroubleError
from course_lib.quantization.onnx_export import OnnxClassifier

Answer = Callable[..., Any]

# --- 1 · bytes of an int8 embedding ---------------------------------------------------------------

int8_bytes = Check(
    name="int8_bytes",
    right="""
def int8_bytes(words, width):
    return words * (width + 4)
""",
    tries={
        "int8_bytes(words=10, width=7)": call(10, 7),
        "int8_bytes(words=3, width=1)": call(3, 1),
        "int8_bytes(words=30522, width=384)": call(30_522, 384),
    },
    mistakes="""
the scales are forgotten | Without its scale nobody can tell what a whole number stands for. In narrow tables the scales weigh as much as the numbers.
  (width + 4) => width
the bytes of float32 | That is the table before: four bytes for each number. In int8 a number takes one.
  (width + 4) => width * 4
one scale for the whole table | A rare word's row holds small numbers. With one scale for all they round to 0, so each row has a scale of its own, and it is stored.
  (width + 4) => width + 4
four bytes for each column, not for each row | A row is a word, and words differ in how large their numbers are.
  words * (width + 4) => width * (words + 4)
a scale of one byte | The scale is what makes whole numbers into real ones, and it is itself a float32.
  + 4 => + 1
a scale of two bytes | That is float16. A float32 takes four.
  + 4 => + 2
a scale of eight bytes | That is float64, or int64. A float32 takes four.
  + 4 => + 8
a scale of 32 bytes | A float32 has 32 bits, which are four bytes.
  + 4 => + 32
a zero point is stored, too | Rounding from −127 to 127 is symmetric: 0 stays 0, and no zero point is needed.
  + 4 => + 5
the numbers are still in float32 | You have added the scales, but the numbers take one byte now, not four.
  (width + 4) => (4 * width + 4)
how many times smaller, not the bytes | A ratio needs this number first. It is asked for below the exercise.
  words * (width + 4) => 4 * width / (width + 4)
the width of MiniLM for any table | `width` says how many numbers a row has.
  (width + 4) => (384 + 4)
""",
    checked="three tables, from one column to the 384 of MiniLM",
    not_checked="what a file adds (names, shapes), padding rows, other bits",
)

# --- 2 · round to int8 ----------------------------------------------------------------------------

_TABLE = torch.tensor([[127.0, -50.7, 20.8], [-254.0, 101.3, 3.4], [15.875, -4.225, 1.5125]])
_SMALL = torch.tensor([[0.00254, -0.001, 0.0003, 0.0], [0.7, 0.1, 0.6, -0.23]])
_WITH_ZEROS = torch.tensor([[0.0, 0.0, 0.0], [15.875, -6.33, 0.0], [0.3, 2.1, -1.7]])
_NO_TWO = Mistake(
    "not two tensors",
    "Give the whole numbers and the scales: `return whole, scale`. The weights that they stand for "
    "are their product, and that is for the reader of the file.",
)


def _two(weight: Tensor, look: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def attempt(answer: Answer) -> Any:
        given = call(weight)(answer)
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise TroubleError(_NO_TWO, show(given))
        return look(*given)

    return attempt


def _again(whole: Any, scale: Any) -> Any:
    """The weights that the two stand for."""
    numbers, scales = as_number(whole), as_number(scale)
    if numbers is None or scales is None or scales.numel() not in (1, len(numbers)):
        return "no weights"
    return numbers * scales.reshape(-1, 1)


def _above_zero(whole: Any, scale: Any) -> bool:
    scales = as_number(scale)
    return scales is not None and bool((scales > 0).all())


_KIND8 = "the type of the first tensor"
_BYTES8 = "bytes of one number of the first tensor"
_MANY8 = "how many numbers the first tensor holds, for a weight of [3, 3]"
_FLAT8 = "the shape of the scales, for a weight of [3, 3]"
_ABOVE8 = "with a row of zeros: is each scale above 0?"

to_int8 = Check(
    name="to_int8",
    right="""
def to_int8(weight):
    scale = weight.abs().amax(1, keepdim=True) / 127  # [rows, 1]
    scale[scale == 0] = 1.0
    return (weight / scale).round().to(torch.int8), scale
""",
    tries={
        _MANY8: _two(_TABLE, lambda whole, scale: torch.as_tensor(whole).numel()),
        _BYTES8: _two(_TABLE, lambda whole, scale: getattr(whole, "itemsize", "no tensor")),
        _KIND8: _two(
            _TABLE,
            lambda whole, scale: str(getattr(whole, "dtype", "no tensor")).removeprefix("torch."),
        ),
        _FLAT8: _two(_TABLE, lambda whole, scale: str(list(getattr(scale, "shape", [])))),
        "the scales of [[127, −50.7, 20.8], [−254, 101.3, 3.4], [15.875, −4.225, 1.5125]]": _two(
            _TABLE, lambda whole, scale: torch.zeros(3, 1) + torch.as_tensor(scale)
        ),
        "its whole numbers": _two(_TABLE, lambda whole, scale: whole),
        "whole · scale of [[0.00254, −0.001, 0.0003, 0], [0.7, 0.1, 0.6, −0.23]] | small weights": _two(
            _SMALL, lambda whole, scale: 1000 * _again(whole, scale)
        ),
        "10⁷ · whole · scale of the same, divided by 10,000 | small weights": _two(
            _SMALL / 1e4, lambda whole, scale: 1e7 * _again(whole, scale)
        ),
        _ABOVE8: _two(_WITH_ZEROS, _above_zero),
        "with a row of zeros: whole · scale of [[0, 0, 0], [15.875, −6.33, 0], [0.3, 2.1, −1.7]] | a row of zeros": _two(
            _WITH_ZEROS, _again
        ),
    },
    mistakes=f"""
the scales first, then the whole numbers | The order is whole, scale. Whoever reads your pair would multiply the other way round, and never notice; but the types say which is which.
  ? {_MANY8}: 3
rounded, but stored in more than one byte | round() gives whole numbers in float32: the same four bytes as before. Turn them into torch.int8, or nothing is saved.
  ? {_BYTES8}: 2 to 8
a byte without a sign | uint8 counts from 0 to 255, and half of the weights are negative.
  ? {_BYTES8}: 1
  ? {_KIND8}: uint8
the scales are flat | `whole * scale` must give the weights again: [rows, columns] times [rows, 1]. A flat [rows] is multiplied along the columns, or does not fit at all. keepdim=True keeps the dimension.
  ? {_MANY8}: 9
  ? {_KIND8}: int8
  ? {_FLAT8}: [3]
one scale for the whole table, as one number | The row of small numbers then has few whole numbers to choose from. A scale of its own costs four bytes a row.
  ? {_MANY8}: 9
  ? {_KIND8}: int8
  ? {_FLAT8}: []
a scale for each column, not for each row | A row is a word or an output. Its numbers are used together, so they share a scale.
  ? {_MANY8}: 9
  ? {_KIND8}: int8
  ? {_FLAT8}: [1, 3]
one scale for the whole table | The row of small numbers then has few whole numbers to choose from. A scale of its own costs four bytes a row.
  weight.abs().amax(1, keepdim=True) / 127 => (weight.abs().max() / 127).expand(len(weight), 1).clone()
the largest number, not the largest size | In the second row −254 is the largest in size. With a scale made for 101.3 it becomes −318, which no int8 can hold.
  weight.abs().amax => weight.amax
divided by 128 | int8 ends at 127. The largest weight of a row would become 128, which turns into −128: its opposite.
  127 => 128
divided by 255 | From −127 to 127 there are 254 steps, and the largest size becomes 127, not 255.
  127 => 255
from the smallest to the largest number (asymmetric) | That is the other kind of int8. It needs a zero point beside each scale, and 0 is no longer 0. Here the range is −max|w| to max|w|.
  weight.abs().amax(1, keepdim=True) / 127 => (weight.amax(1, keepdim=True) - weight.amin(1, keepdim=True)) / 255
twice the range in 255 steps | It would need whole numbers up to 127.5. From −127 to 127 there are 254 steps.
  127 => 127.5
the scale is upside down | You give 127 / max|w|, by which to multiply. The reader of the file needs the weight that one scale stands for.
  weight.abs().amax(1, keepdim=True) / 127 => 127 / weight.abs().amax(1, keepdim=True).clamp(min=1e-9)
cut off, not rounded | Casting to int8 drops what is behind the point: 20.8 becomes 20. All weights shrink, and the error is up to a whole scale instead of half of one.
  .round() =>
a row of zeros has the scale 0 | 0 / 0 is nan, and what int8 makes of nan is another number on another processor. Padding is a row of zeros: give it any other scale, such as 1.
  ? before: right
  ? {_ABOVE8}: no
small rows get a scale that is too large | A lower bound for the scale is a way around 0 / 0, but a row of small weights must keep its own scale.
  scale[scale == 0] = 1.0 => scale = scale.clamp(min=1e-3)
very small rows get a scale that is too large | A lower bound for the scale is a way around 0 / 0, but a row of small weights must keep its own scale.
  scale[scale == 0] = 1.0 => scale = scale.clamp(min=1e-8)
a half is added, then cut off | That rounds up where a number is positive. A negative one is cut off toward 0, and comes out one too high: round() does both.
  (weight / scale).round() => (weight / scale + 0.5)
small rows get a far too large scale | A lower bound for the scale is a way around 0 / 0, but a row of small weights must keep its own scale.
  scale[scale == 0] = 1.0 => scale = scale.clamp(min=1e-2)
a row of zeros changes the scales of the others | Only the scale of that row may be any number above 0; the others keep their own.
  scale[scale == 0] = 1.0 => scale = torch.ones_like(scale) if (scale == 0).any() else scale
with a row of zeros, one scale for all | Only the scale of that row may be any number above 0; the others keep their own.
  scale[scale == 0] = 1.0 => scale = scale.max().expand_as(scale) if (scale == 0).any() else scale
""",
    checked="sizes and signs of nine weights, one byte each, the scales' shape, small rows, a row of zeros",
    not_checked="weights that are nan or infinite, half precision, tensors of one or three dimensions",
)

# --- 3 · how much smaller a stack is ----------------------------------------------------------------

_TWO_PARTS = {"embeddings": 4, "layers": 13}

times_smaller = Check(
    name="times_smaller",
    right="""
def times_smaller(parts, steps):
    now = dict(parts)
    for part, factor in steps:
        now[part] /= factor
    return sum(parts.values()) / sum(now.values())
""",
    tries={
        "8 MB of layers; layers / 2": call({"layers": 8}, [("layers", 2)]),
        "8 MB of layers; layers / 5, layers / 2": call(
            {"layers": 8}, [("layers", 5), ("layers", 2)]
        ),
        "4 MB of embeddings, 13 MB of layers; layers / 4": call(_TWO_PARTS, [("layers", 4)]),
        "4 MB of embeddings, 13 MB of layers; layers / 2, embeddings / 3, layers / 4": call(
            _TWO_PARTS, [("layers", 2), ("embeddings", 3), ("layers", 4)]
        ),
        "4 MB of embeddings, 13 MB of layers; layers / 3, layers / 3 | the same step twice": call(
            _TWO_PARTS, [("layers", 3), ("layers", 3)]
        ),
        "4 MB of embeddings, 13 MB of layers, nothing is done | no step": call(_TWO_PARTS, []),
        "three parts of 5, 2.5 and 11 MB; c / 1.5, a / 4, c / 3, c / 1.2 | three steps on a part": call(
            {"a": 5.0, "b": 2.5, "c": 11}, [("c", 1.5), ("a", 4), ("c", 3), ("c", 1.2)]
        ),
    },
    mistakes="""
all factors multiplied, wherever they act | Factors multiply where they act on the same bytes. What a step does not touch stays as large as it was, and soon it is most of the file.
  = return math.prod(factor for _, factor in steps)
the factors are added | A fifth, and then half of that fifth: this is a tenth, not a seventh.
  = return sum(factor for _, factor in steps) or 1
the factors of one part are added | The second step works on what the first has left: within a part the factors multiply.
  = factors = {p: sum(f for q, f in steps if q == p) or 1 for p in parts}
  = return sum(parts.values()) / sum(size / factors[p] for p, size in parts.items())
the percentages are added | Minus 80 % and minus 50 % are not minus 130 %: the second is a share of what the first has left.
  = return 1 / (1 - sum(1 - 1 / factor for _, factor in steps))
each saving is counted from the full size | What the first step has removed cannot be removed once more. Keep the size that is left, and let each step act on that.
  = total = sum(parts.values())
  = return total / (total - sum(parts[name] * (1 - 1 / factor) for name, factor in steps))
only the last step on a part counts | A dict holds one factor for each name, and the second one overwrites the first. Multiply.
  now[part] /= factor => now[part] = parts[part] / factor
only the first step on a part counts | A second step on the same part works on what the first has left.
  now[part] /= factor => now[part] = min(now[part], parts[part] / factor) if now[part] == parts[part] else now[part]
only the largest factor of a part counts | Fewer weights and fewer bytes for each weight are two different things: they multiply.
  now[part] /= factor => now[part] = min(now[part], parts[part] / factor)
the same step twice counts once | A set forgets how often: go through the list itself.
  in steps: => in set(steps):
rounded down to whole megabytes (//) | One slash: half of 5 MB is 2.5 MB.
  now[part] /= factor => now[part] //= factor
the megabytes that are saved | Asked for is a ratio: before / after.
  sum(parts.values()) / sum(now.values()) => sum(parts.values()) - sum(now.values())
the part that no step names is left out | It is still in the file. The embeddings that nobody looks at are why DistilBERT in int8 can be 3 or 6 times smaller than BERT.
  - return
  + parts = {p: parts[p] for p in parts if not steps or p in dict(steps)}
  +     now = {p: now[p] for p in parts}
  +     return
what is made smaller by the factor, not divided by it | Two times smaller is half of it: divide.
  now[part] /= factor => now[part] *= 1 - 1 / factor
multiplied instead of divided | Two times smaller is half of it: divide.
  /= factor => *= factor
the factor is taken off | Two times smaller is half of it, not two megabytes less.
  /= factor => -= factor
the mean of the parts' factors | A large part counts for more than a small one. Add up the megabytes, and divide once.
  sum(parts.values()) / sum(now.values()) => sum(parts[p] / now[p] for p in parts) / len(parts)
the mean of the factors, weighed by size | Factors are ratios, and their mean is no ratio of the whole: a tiny rest of a large part weighs as much as the large part did. Add up what is left, and divide once.
  sum(parts.values()) / sum(now.values()) => sum(parts[p] * parts[p] / now[p] for p in parts) / sum(parts.values())
the megabytes that are left | Asked for is how many times smaller: the sum before, divided by this.
  sum(parts.values()) / sum(now.values()) => sum(now.values())
each part's own factor | One number for the whole is asked for: the sum before, divided by the sum after.
  sum(parts.values()) / sum(now.values()) => {p: parts[p] / now[p] for p in parts}
""",
    checked="one part and several, one to three steps on a part, a part that nothing touches, no step",
    not_checked="the steps' own bytes, what zip adds, accuracy",
)

# --- 4 · three orders, compared fairly --------------------------------------------------------------

_WORLD = {
    "start": torch.tensor([-4.0, -1.0, -3.0, 5.0, -2.0]),
    "x": torch.tensor([[1.0, 0.0, 0.0, -1.0, 0.0], [1.0, 1.0, -1.0, -1.0, 1.0]]),  # one a batch
    "y": torch.tensor([-4.0, 4.0]),
    "amount": 0.8,
}
_OTHER = {
    "start": torch.tensor([0.9, -2.3, 1.7, -0.4, 3.1, -1.2]),
    "x": torch.tensor(
        [
            [0.6, -1.1, 0.3, 0.9, -0.2, 0.8],
            [-0.7, 0.4, 1.2, -0.5, 0.3, 1.0],
            [0.2, 0.9, -0.6, 1.3, 0.7, -0.4],
        ]
    ),
    "y": torch.tensor([2.3, -3.0, 1.5]),
    "amount": 0.5,
}

_LIVELY = {  # a step wakes weights up that are then larger than others
    "start": torch.tensor([-2.8, 0.5, 0.1, 0.7, -0.3, -1.2, -2.4]),
    "x": torch.tensor(
        [
            [0.0, 0.1, -1.2, 0.6, 0.4, 1.3, 0.9],
            [0.1, 0.5, -0.7, 0.9, 0.9, -0.7, -1.0],
            [-0.6, 0.8, 0.5, -0.4, -1.4, -0.2, -0.7],
        ]
    ),
    "y": torch.tensor([-5.9, 0.6, 1.6]),
    "amount": 0.6,
}


class _Course:
    """Distillation of a few weights by hand; it remembers who asked for which batch."""

    def __init__(self, world: Mapping[str, Any]) -> None:
        self.x, self.y = world["x"], world["y"]
        self.made: list[tuple[Tensor, int, Tensor]] = []  # from, on batch, to

    def step(self, weights: Tensor, t: int) -> Tensor:
        x, y = (given[int(t) % len(given)].to(weights.dtype) for given in (self.x, self.y))
        new = weights + 0.5 * (y - weights @ x) * x  # down the gradient of (y − w · x)² / 2
        self.made.append((weights.clone(), int(t), new.clone()))
        return new

    def way(self, weights: Any, end: int | None = None) -> list[int]:
        """The batches on the way to these weights, some of which may have become zero since."""
        number = as_number(weights)
        if number is None or number.shape != self.x[0].shape:
            return list(range(len(self.x)))  # they do not say it
        for i, (before, t, after) in reversed(list(enumerate(self.made[:end]))):
            if number.any() and close(number[number != 0], after.double()[number != 0]):
                return [*self.way(before, i), t]
        return []


_ORDERS = ("prune first", "distill first", "together")
_NO_ORDERS = Mistake(
    "not a dict of the three orders",
    'Give {"prune first": weights, "distill first": weights, "together": weights}.',
)


def _ordered(look: Callable[[_Course, Any], Any], world: Mapping[str, Any] = _WORLD) -> Any:
    def attempt(answer: Answer) -> Any:
        course, start = _Course(world), world["start"].clone()
        given = answer(start, course.step, lowest, len(world["y"]), world["amount"])
        if not torch.equal(start, world["start"]):
            raise TroubleError(CHANGED, f"your answer, and a start of {show(start)}")
        if given is None or given is ...:
            raise TroubleError(EMPTY, str(given))
        if not isinstance(given, Mapping) or not set(given) >= set(_ORDERS):
            raise TroubleError(_NO_ORDERS, show(given))
        return look(course, given)

    return attempt


def _end_of(name: str, look: Callable[[Any], Any], course: _Course, given: Any) -> Any:
    return look(given[name])


def _zeros(weights: Any) -> float:
    number = as_number(weights)
    return float("nan") if number is None else (number == 0).double().mean().item()


_TAKEN4 = (
    "six weights, three steps, amount 0.5: how many steps lead to the three ends, all together"
)
_BATCHES4 = "does each order see the batches 0, 1 and 2, once each?"
_ZEROS4 = {name: f"{name}: the share of zeros at the end" for name in _ORDERS}
_FAIR = f"? {_TAKEN4}: 9\n  ? {_BATCHES4}: yes"

three_orders = Check(
    name="three_orders",
    right="""
def three_orders(start, step, mask_of, steps, amount):
    first, mask = start, mask_of(start, amount)
    for t in range(steps):
        first = step(first * mask, t) * mask

    last = start
    for t in range(steps):
        last = step(last, t)
    last = last * mask_of(last, amount)

    both = start
    for t in range(steps):
        mask = mask_of(both, amount * (t + 1) / steps)
        both = step(both * mask, t) * mask
    return {"prune first": first, "distill first": last, "together": both}
""",
    tries={
        _TAKEN4: _ordered(
            lambda course, given: sum(len(course.way(given[name])) for name in _ORDERS), _OTHER
        ),
        _BATCHES4: _ordered(
            lambda course, given: all(sorted(course.way(given[n])) == [0, 1, 2] for n in _ORDERS),
            _OTHER,
        ),
        **{_ZEROS4[name]: _ordered(partial(_end_of, name, _zeros)) for name in _ORDERS},
        **{
            f"{name}: the weights at the end": _ordered(
                partial(_end_of, name, lambda weights: weights)
            )
            for name in _ORDERS
        },
        "the same with six weights, three steps, amount 0.5: all weights at the end | three steps": _ordered(
            lambda course, given: {name: given[name] for name in _ORDERS}, _OTHER
        ),
        "seven weights, three steps, amount 0.6: together: the weights at the end": _ordered(
            lambda course, given: given["together"], _LIVELY
        ),
    },
    mistakes=f"""
the mask is upside down | mask_of says True where a weight stays. Yours removes what should stay.
  ? {_ZEROS4["prune first"]}: 0.1 to 0.45
prune first: the zeros wake up again | A step of training moves zeros, too. Without the mask behind each step the model is dense again, and is compared with sparse ones.
  {_FAIR}
  ? {_ZEROS4["prune first"]}: 0 to 0.09
distill first: nothing is pruned | It ends with the pruning: otherwise it is the dense student, which should win.
  {_FAIR}
  ? {_ZEROS4["distill first"]}: 0 to 0.09
together: the zeros wake up again | The mask of this step holds behind the step as well: the last step leaves its zeros zero.
  {_FAIR}
  ? {_ZEROS4["together"]}: 0 to 0.09
prune first: the mask is laid on at the end only | While it trained it was dense: what was pruned came back, did its share of the work, and was then taken away unprepared.
  - first = step(first * mask, t) * mask
  + first = step(first * mask if t == 0 else first, t)
  +     first = first * mask
prune first: dense until the end | The lowest weights go *before* the first step. Here they go with the last one.
  - first = step(first * mask, t) * mask
  + first = step(first, t)
  +     first = first * mask
prune first: pruned anew at the end | It woke up, trained dense, and was pruned a second time. That is distilling first, with a bad start.
  - first = step(first * mask, t) * mask
  + first = step(first * mask if t == 0 else first, t)
  +     first = first * mask_of(first, amount)
prune first: another mask behind each step | What is pruned may come back here, in exchange for others. That has its own name, dynamic sparsity; here the first mask holds.
  - first = step(first * mask, t) * mask
  + first = step(first * mask if t == 0 else first, t)
  +         first = first * mask_of(first, amount)
prune first: not pruned before the first step | The lowest weights go *before* the first step; you lay the mask on behind it.
  first = step(first * mask, t) * mask => first = step(first, t) * mask
distill first: the mask comes from the start | This order's advantage is that the weights have been trained before anybody chooses. Ask for the mask afterwards.
  mask_of(last, amount) => mask_of(start, amount)
an order goes on from where the one before ended | Each begins at `start`. Otherwise the last one has had three times the steps.
  last = start => last = first
  both = start => both = last
distill first: it begins where the order before ended | Each begins at `start`.
  last = start => last = first
together: it begins where the order before ended | Each begins at `start`.
  both = start => both = last
the first two orders are exchanged | What was pruned before it was distilled is "prune first".
  "prune first": first, "distill first": last => "prune first": last, "distill first": first
together: all of it goes before the first step | That is pruning first. Here the share grows from step to step: amount · (t + 1) / steps.
  mask_of(both, amount * (t + 1) / steps) => mask_of(start, amount)
together: each step asks for its own part alone | mask_of counts what is zero already. Asked for 0.4 twice it gives 0.4: ask for the share that should be gone by now.
  amount * (t + 1) / steps => amount / steps
together: the amount counts what is left | A share of the rest removes less each time, and the order ends with fewer zeros than the others. The amount is a share of the original weights.
  amount * (t + 1) / steps => 1 - (1 - amount / steps) ** (t + 1)
together: it stops before the amount is reached | t counts from 0, so t / steps never gets to 1. At the last step the whole amount is due.
  (t + 1) / steps => t / steps
together: pruned behind each step, not before it | Then the last weights go when no step is left to make up for them.
  both = start => both, mask = start, 1
  - mask = mask_of(both, amount * (t + 1) / steps)
  -         both = step(both * mask, t) * mask
  + both = step(both, t) * mask
  +         mask = mask_of(both, amount * (t + 1) / steps)
  +         both = both * mask
together: another mask behind each step | The zeros of a step are those that were made before it. A second mask lets them come back, in exchange for others.
  step(both * mask, t) * mask => step(both * mask, t); both = both * mask_of(both, amount * (t + 1) / steps)
together: pruned behind each step, as if no step had come before | The last weights then go when no step is left to make up for them. Prune, then step, then hold the zeros.
  - mask = mask_of(both, amount * (t + 1) / steps)
  -         both = step(both * mask, t) * mask
  + both = step(both, t)
  +         both = both * mask_of(both, amount * (t + 1) / steps)
together: the masks come from the start | Each step chooses anew, among the weights as they are by then.
  mask_of(both, amount * (t => mask_of(start, amount * (t
together: the mask is not laid on before the step | The step then trains with weights that should be gone. Prune, then step, then hold the zeros.
  step(both * mask, t) * mask => step(both, t) * mask
an order gets fewer steps than the others | Each of the three gets all the steps. Shared out, the one that trains less looks worse, and you would blame its order.
  ? {_TAKEN4}: 0 to 8
an order gets more steps than the others | A step of recovery is a step of training: it comes out of the same budget. Otherwise you compare budgets, not orders.
  ? {_TAKEN4}: 10 to 1000
the orders do not see the same batches | t counts from 0 to steps − 1, in each order anew. On other examples the difference could be the examples'.
  ? {_TAKEN4}: 9
  ? {_BATCHES4}: no
""",
    checked="steps, batches, zeros and weights of the three orders, in two steps and in three",
    not_checked="which order is better: that takes a real model, and several seeds",
)

# --- 5 · the Pareto front ---------------------------------------------------------------------------


def _named(models: Mapping[str, Any]) -> Callable[[Any], list[str]]:
    """A try: the names in a fixed order, whatever kind of collection they come in."""

    def attempt(answer: Answer) -> list[str]:
        given = call(models)(answer)
        if isinstance(given, str) or not isinstance(given, Iterable):
            return [show(given)]
        return sorted(one if isinstance(one, str) else "no name" for one in given)

    return attempt


_FIVE = {
    "a": (90, 10, 0.87),
    "b": (24, 7, 0.87),
    "c": (8, 8, 0.86),
    "d": (4, 3, 0.85),
    "e": (1, 4, 0.83),
}

front = Check(
    name="front",
    right="""
def front(models):
    costs = {name: (size, ms, -accuracy) for name, (size, ms, accuracy) in models.items()}

    def beaten(mine):
        return any(
            other != mine and all(x <= y for x, y in zip(other, mine, strict=True))
            for other in costs.values()
        )

    return [name for name, mine in costs.items() if not beaten(mine)]
""",
    tries={
        "two models: a = (4 bytes, 2 ms, 0.8), b = (8, 3, 0.7)": _named(
            {"a": (4, 2, 0.8), "b": (8, 3, 0.7)}
        ),
        "a = (4, 2, 0.7), b = (8, 3, 0.8), c = (6, 1, 0.6)": _named(
            {"a": (4, 2, 0.7), "b": (8, 3, 0.8), "c": (6, 1, 0.6)}
        ),
        "a tie in two respects: a = (4, 2, 0.8), b = (4, 3, 0.8) | a tie in two respects": _named(
            {"a": (4, 2, 0.8), "b": (4, 3, 0.8)}
        ),
        "two alike: a = (4, 2, 0.8), b = (4, 2, 0.8), c = (5, 2, 0.8) | two models that are alike": _named(
            {"a": (4, 2, 0.8), "b": (4, 2, 0.8), "c": (5, 2, 0.8)}
        ),
        "a = (90, 10, 0.87), b = (24, 7, 0.87), c = (8, 8, 0.86), d = (4, 3, 0.85), e = (1, 4, 0.83)": _named(
            _FIVE
        ),
        "the same from behind | models in another order": _named(dict(reversed(_FIVE.items()))),
        "a single model | a single model": _named({"a": (4, 2, 0.8)}),
        "p = (7, 5, 0.9), q = (6, 5, 0.88), r = (9, 4, 0.9), s = (7, 6, 0.91), t = (7, 5, 0.89)": _named(
            {
                "p": (7, 5, 0.9),
                "q": (6, 5, 0.88),
                "r": (9, 4, 0.9),
                "s": (7, 6, 0.91),
                "t": (7, 5, 0.89),
            }
        ),
        "a = (3, 8, 0.8712), b = (5, 12, 0.876), c = (5.5, 9.5, 0.8705), d = (6, 9, 0.8741), e = (7, 9, "
        "0.8739), f = (9, 3.5, 0.87)": _named(
            {
                "c": (5.5, 9.5, 0.8705),
                "f": (9, 3.5, 0.87),
                "d": (6, 9, 0.8741),
                "a": (3, 8, 0.8712),
                "b": (5, 12, 0.876),
                "e": (7, 9, 0.8739),
            }
        ),
    },
    mistakes="""
beaten only by what is better in all three | Where two are equally large and equally accurate, the slower one has nothing for it: nobody would choose it. As good in all, better in one, is enough to beat.
  x <= y => x < y
equal models drive each other out | `<=` in all three holds for twins, too, in both directions: both go, and the best point is empty. To beat takes being better in at least one.
  = costs = {name: (size, ms, -accuracy) for name, (size, ms, accuracy) in models.items()}
  = def beats(one, other):
  =     return all(x <= y for x, y in zip(one, other, strict=True))
  = return [n for n in costs if not any(m != n and beats(costs[m], costs[n]) for m in costs)]
of equal models only one stays | Neither beats the other, so both stay. Which of them you take may depend on what was not measured.
  return [name for name, mine in costs.items() if not beaten(mine)] => return list({mine: name for name, mine in reversed(costs.items()) if not beaten(mine)}.values())
a low accuracy counts as good | Bytes and milliseconds should be small, accuracy large. Turn one sign.
  -accuracy => accuracy
a high latency counts as good | Fewer milliseconds are better, as fewer bytes are.
  (size, ms, -accuracy) => (size, -ms, -accuracy)
many bytes count as good | Fewer bytes are better, as fewer milliseconds are.
  (size, ms, -accuracy) => (-size, ms, -accuracy)
worse in one respect is enough to be out | Then only a model that is best in everything stays, and there hardly ever is one. The front is made of compromises.
  other != mine and all(x <= y => any(x < y
accuracies are rounded first | Two models of 87.1 and 87.4 % are not alike. What the difference is worth is another question.
  -accuracy) for => -round(accuracy, 2)) for
compared only with the models before it | A later one may beat it, too: compare each with all the others.
  for other in costs.values() => for other in list(costs.values())[: list(costs.values()).index(mine)]
compared with the next smaller model alone | Any other model may beat it, not only its neighbor in the order of bytes.
  = costs = sorted((size, ms, -right, name) for name, (size, ms, right) in models.items())
  = pairs = zip([costs[0], *costs], costs)
  = return [b[3] for a, b in pairs if a[:3] == b[:3] or not all(x <= y for x, y in zip(a[:3], b[:3]))]
only the best in each respect | The smallest, the fastest and the most accurate are the ends of the front. What most people want lies between.
  = costs = {name: (size, ms, -accuracy) for name, (size, ms, accuracy) in models.items()}
  = least = [min(row[i] for row in costs.values()) for i in range(3)]
  = return [name for name, row in costs.items() if any(x == y for x, y in zip(row, least))]
the latency is not looked at | A model may be on the front for its speed alone.
  (size, ms, -accuracy) => (size, -accuracy)
the bytes are not looked at | A model may be on the front for its size alone.
  (size, ms, -accuracy) => (ms, -accuracy)
the accuracy is not looked at | Small and fast is easy. What it costs is the third respect.
  (size, ms, -accuracy) => (size, ms)
the beaten ones, not the others | These are the ones that nobody needs. Turn the question round.
  if not beaten => if beaten
one winner by one score | A score says how many bytes a point of accuracy is worth, and that depends on the one who asks. The front leaves that open.
  = return [max(models, key=lambda name: models[name][2] / (models[name][0] * models[name][1]))]
the models' numbers, not their names | Give the names: whoever reads them wants to know which models these are.
  [name for name, mine => [models[name] for name, mine
""",
    checked="better, worse, traded off, ties in one and two respects, twins, one model",
    not_checked="intervals: two accuracies of 800 sentences may differ by luck; the order of the names",
)

# --- 6 · a chooser ----------------------------------------------------------------------------------

Rows = Sequence[tuple[Mapping[str, str], str]]
_ADVICE: list[tuple[dict[str, str], str]] = [
    ({"goal": "size", "training": "no"}, "int8"),
    ({"goal": "size"}, "vocabulary"),
    ({"goal": "speed", "hardware": "CPU"}, "heads and units"),
    ({"goal": "speed", "hardware": "CPU", "training": "yes"}, "layers"),
    ({}, "distill"),
]


def _asked(answers: Mapping[str, str], rows: Rows = tuple(_ADVICE)) -> Any:
    """A try: the advice, or the name of what was raised, or "nothing"."""

    def attempt(answer: Answer) -> Any:
        def ask(*given: Any) -> Any:
            try:
                value = answer(*given)
            except ValueError:  # or a kind of it
                return "ValueError"
            except (LookupError, StopIteration) as error:
                return type(error).__name__
            except (RuntimeError, AssertionError, OSError) as error:
                if isinstance(error, NotImplementedError):
                    raise
                return "another error"
            if isinstance(value, Exception):
                return "an error, given and not raised"
            return "nothing" if value is None else value

        return call(list(rows), dict(answers))(ask)

    return attempt


_SOME6 = "goal: size (whether it may be trained was not asked)"
_NONE6 = "goal: accuracy, in a table without the row that asks for nothing: which error?"

choose_advice = Check(
    name="choose_advice",
    right="""
def choose_advice(rows, answers):
    for conditions, advice in rows:
        if all(answers.get(question) == wanted for question, wanted in conditions.items()):
            return advice
    raise ValueError(f"No row fits {answers}; let the last row ask for nothing.")
""",
    tries={
        "goal: size, training: no": _asked({"goal": "size", "training": "no"}),
        _SOME6: _asked({"goal": "size"}),
        "goal: size, training: yes, hardware: GPU": _asked(
            {"goal": "size", "training": "yes", "hardware": "GPU"}
        ),
        "goal: size, training: not sure": _asked({"goal": "size", "training": "not sure"}),
        "goal: speed, hardware: CPU, training: yes": _asked(
            {"goal": "speed", "hardware": "CPU", "training": "yes"}
        ),
        "goal: speed, training: no": _asked({"goal": "speed", "training": "no"}),
        "no question was answered": _asked({}),
        "goal: speed, in a table whose first row asks for nothing": _asked(
            {"goal": "speed"}, (({}, "read"), ({"goal": "speed"}, "layers"))
        ),
        "hardware: no, in a table whose first row asks for training: no": _asked(
            {"hardware": "no"}, (({"training": "no"}, "int8"), ({}, "distill"))
        ),
        _NONE6: _asked({"goal": "accuracy"}, _ADVICE[:-1]),
    },
    mistakes=f"""
the last row that fits; one that asks for nothing only if none does | The table is read from above: the first row that fits wins.
  in rows: => in sorted(reversed(rows), key=lambda row: not row[0]):
the row with the fewest conditions | The order that the author chose decides. The first one that fits wins.
  in rows: => in sorted(rows, key=lambda row: len(row[0])):
only the answers are compared, not to which question | "no" to one question is not "no" to another.
  answers.get(question) == wanted => wanted in answers.values()
no row fits, and another error is raised | Whoever calls it waits for a ValueError, as for any value that does not fit.
  ? before: right
  ? {_NONE6}: another error
no row fits, and the advice of the example is given | An author who wants a last word writes a row without conditions. Raise ValueError.
  raise ValueError(f"No row fits {{answers}}; let the last row ask for nothing.") => return "distill"
a question without an answer ends the search | That row does not fit; the next one may.
  - for conditions, advice in rows:
  + for conditions, advice in rows:
  +         if any(question not in answers for question in conditions):
  +             raise ValueError
without answers it gives up | Whoever has answered nothing fits a row that asks for nothing.
  in rows: => in rows if answers else []:
the error is given, not raised | `return ValueError(…)` looks like advice to the caller. `raise` stops it.
  raise ValueError => return ValueError
the row with the most conditions | The most exact row sounds sensible, but then the order that the author chose no longer counts. The first one that fits wins.
  in rows: => in sorted(rows, key=lambda row: -len(row[0])):
one condition that is met is enough | All of a row's conditions must be met. int8 for all who want it small would also be told to those who can train.
  if all( => if not conditions or any(
an answer that only contains the condition | "not sure" contains "no", and is another answer. Compare with ==.
  answers.get(question) == wanted => wanted in answers.get(question, "")
the row that most conditions speak for | A row with one condition that is not met does not fit, however many others are.
  = count = [len(when.items() & answers.items()) for when, _ in rows]
  = if not count or max(count) == 0 and rows[-1][0]:
  =     raise ValueError("No row fits.")
  = return rows[count.index(max(count))][1]
the answers must be the conditions, and no more | What a row does not ask does not matter to it. A person who tells you more should not be sent away.
  if all(answers.get(question) == wanted for question, wanted in conditions.items()): => if not conditions or conditions == answers:
the answers must be the conditions exactly | What a row does not ask does not matter to it: a row that asks for nothing fits everyone.
  if all(answers.get(question) == wanted for question, wanted in conditions.items()): => if conditions == answers:
each answer must be among the conditions | It is the other way round: each *condition* must be among the answers.
  all(answers.get(question) == wanted for question, wanted in conditions.items()) => all(conditions.get(question) == wanted for question, wanted in answers.items())
only the questions are compared, not the answers to them | That someone was asked about training does not say what the answer was.
  answers.get(question) == wanted => question in answers
what was not answered counts as met | Nobody has said that there is no training. A condition is met by an answer, not by silence.
  answers.get(question) == wanted => answers.get(question, wanted) == wanted
a question without an answer stops it | answers[question] raises KeyError where nobody was asked. answers.get(question) gives None, which equals no condition.
  ? {_SOME6}: KeyError
a row without conditions never fits | all() of nothing is True: a row that asks for nothing fits everyone. It is the table's last word.
  if all( => if conditions and all(
no row fits, and nobody is told | None travels on, and fails later, far from here. Raise ValueError, and say what no row fitted.
  raise ValueError(f"No row fits {{answers}}; let the last row ask for nothing.") =>
no row fits, and StopIteration is raised | next() without a default stops with an error that does not say a word, and inside a generator is worse. Raise ValueError.
  raise ValueError(f"No row fits {{answers}}; let the last row ask for nothing.") => raise StopIteration
no row fits, and IndexError is raised | The error speaks of your list, not of the table. Raise ValueError, and say what no row fitted.
  raise ValueError(f"No row fits {{answers}}; let the last row ask for nothing.") => raise IndexError
no row fits, and the last one is taken | Its conditions are not met. An author who wants a last word writes a row without any.
  raise ValueError(f"No row fits {{answers}}; let the last row ask for nothing.") => return rows[-1][1]
the whole row, not its advice | A row is a pair, conditions and advice. Give the advice alone.
  return advice => return conditions, advice
all rows that fit | Give the advice of the first row that fits, not a list of all.
  = found = [a for c, a in rows if all(answers.get(q) == w for q, w in c.items())]
  = if not found:
  =     raise ValueError("No row fits.")
  = return found
""",
    checked="the order of rows, all conditions, silence, more answers than asked, no row that fits",
    not_checked="what the error says, answers in another spelling, whether the advice is any good",
)

# --- 7 · challenge: 4 MB and 3 ms -------------------------------------------------------------------

MEGABYTES, MILLISECONDS = 4.0, 3.0
# The solution has 83 % of the validation part right (two seeds; the labels alone, without lesson 3's
# teacher), and so far each model of this course has had two points less on the test part. Two to
# three more are left for the luck of a training. Lesson 3's text CNN, trained on the same labels,
# comes out just above this bar.
FLOOR = 0.78
TOKENS = 32
_PIECES = {"model.onnx", "tokenizer.json"}


def _kind(given: Any) -> str:
    if not isinstance(given, str | Path):
        return "a model" if isinstance(given, nn.Module) else type(given).__name__
    folder = Path(given)
    if not folder.is_dir():
        return "a file" if folder.exists() else "nothing is there"
    whole = {path.name for path in folder.iterdir()} >= _PIECES
    return "a folder" if whole else "a folder without model.onnx and tokenizer.json"


def _classifier(folder: str | Path, threads: int | None = None) -> OnnxClassifier:
    return OnnxClassifier(Path(folder) / "model.onnx", threads)


def _megabytes(folder: str | Path) -> float:
    return (Path(folder) / "model.onnx").stat().st_size / 1e6


def _too_large(folder: str | Path) -> str:
    """What takes most of the bytes, if they are too many."""
    if _megabytes(folder) <= MEGABYTES:
        return "nothing, it is not"
    model = _classifier(folder)
    tensors = onnx.load_from_string(model.content()).graph.initializer
    sizes = [(numpy_helper.to_array(tensor).nbytes, tensor.data_type) for tensor in tensors]
    wide = sum(size for size, kind in sizes if kind == onnx.TensorProto.FLOAT)
    if wide > sum(size for size, _ in sizes) / 2:
        return "float32"
    size = evaluation.footprint(model, zipped=False)
    return "embeddings" if size.embedding_share > 0.5 else "layers"


def _encoded(folder: str | Path, lines: list[str]) -> list[Any]:
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.no_padding()
    return tokenizer.encode_batch(lines)


def _milliseconds(folder: str | Path) -> float:
    """For one sentence of 32 tokens on one thread: the calmest of 20 looks, each a median of five
    calls. Other programs can make a model look slower than it is, never faster."""
    (row,) = _encoded(folder, ["a film that goes on and on " * TOKENS])
    ids = torch.tensor([row.ids[:TOKENS]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    model = _classifier(folder, threads=1)
    return min(evaluation.latency({"it": model}, batch, rounds=5)["it"].median for _ in range(20))


def _heldout(folder: str | Path) -> float:
    part = datasets.reviews()["test"]
    rows = _encoded(folder, list(part["text"]))
    columns = {
        "input_ids": [row.ids for row in rows],
        "attention_mask": [row.attention_mask for row in rows],
        "labels": list(part["label"]),
    }
    return evaluation.evaluate(_classifier(folder), Dataset.from_dict(columns)).value


_GIVES = "what you give"
_MB = "model.onnx: MB"
_MOST = "what most of model.onnx is, if it is too large"
_MS = f"milliseconds for one sentence of {TOKENS} tokens, one thread"
_RIGHT = "its accuracy on 2,000 unseen reviews"
_SMALL5 = {_GIVES: "a folder", _MB: Range(0, MEGABYTES), _MOST: "nothing, it is not"}
_FITS = f"? {_GIVES}: a folder\n  ? {_MB}: 0 to {MEGABYTES}\n  ? {_MOST}: nothing, it is not"
_FAST = f"{_FITS}\n  ? {_MS}: 0 to {MILLISECONDS}"

small_and_fast = Check(
    name="small_and_fast",
    right=Seen({**_SMALL5, _MS: Range(0, MILLISECONDS), _RIGHT: Range(FLOOR, 1)}),
    tries={
        _GIVES: _kind,
        _MB: _megabytes,
        _MOST: _too_large,
        _MS: lambda folder: _milliseconds(folder),
        _RIGHT: lambda folder: _heldout(folder),
    },
    mistakes=f"""
the model for its folder | save_onnx_folder(model, folder, tokenizer, labels) writes what can be shipped, and gives the folder. The tokenizer must come along: with another one the ids mean other words.
  ? {_GIVES}: a model
the file for its folder | A file alone reads no sentences. Give the folder that save_onnx_folder wrote.
  ? {_GIVES}: a file
there is no such folder | Is the path right, seen from where this notebook runs? save_onnx_folder gives it back.
  ? {_GIVES}: nothing is there
a folder of another kind | This one was not written by save_onnx_folder; save_pretrained writes PyTorch's files.
  ? {_GIVES}: a folder without model.onnx and tokenizer.json
it is still float32 | int8 is the last step of the stack, and the one that costs least: quantization.quantize.
  ? {_MOST}: float32
too large, and most of it is words | Narrower layers hardly help here. Which words has the training part ever shown it, and how many numbers does a word need?
  ? {_MOST}: embeddings
too large, and most of it is layers | The words are small already. How many layers are there, how many heads and units in each?
  ? {_MOST}: layers
small enough, and too slow | Embeddings take bytes, layers take time: one after the other, each waits for the one before. Fewer layers, rather than narrower ones.
  {_FITS}
  ? {_MS}: {MILLISECONDS} to 1e6
the labels are turned round | It is far worse than a coin, so it knows a lot. 0 is negative, 1 is positive.
  {_FAST}
  ? {_RIGHT}: 0 to 0.44
it guesses | A coin does as well. Was it trained, did you give the trained one, and is its tokenizer the one that it was trained with?
  {_FAST}
  ? {_RIGHT}: 0.44 to 0.56
small, fast, and often wrong | Was it trained *after* the cuts? If so: did the loss still fall, and is everything trained, the embeddings too? It may keep more: how far from 4 MB is it?
  {_FAST}
  ? {_RIGHT}: 0.56 to {FLOOR - 0.03}
a little below the bar | Use the room that is left below 4 MB and 3 ms. @heldout
  {_FAST}
  ? {_RIGHT}: {FLOOR - 0.03} to {FLOOR}
""",
    checked="its bytes, its time here and now (the calmest of 20 looks), 2,000 test sentences",
    not_checked="other machines, the tokenizer's size and time, the three minutes, whether you saw the "
    "test part before",
)
