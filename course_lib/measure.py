"""Accuracy with its interval, size, operations and latency: the four things a lesson reports."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from timeit import Timer
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from safetensors.torch import save
from scipy.stats import DegenerateDataWarning, binomtest, bootstrap, sem, ttest_rel
from scipy.stats import t as student_t
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import benchmark
from torch.utils.flop_counter import FlopCounterMode

from course_lib.batching import device_of


class Shown:
    """A result whose `repr` reads "value (detail)": notebooks show the value in bold."""

    def _repr_html_(self) -> str:
        value, bracket, detail = repr(self).partition(" (")
        return f"<b>{escape(value)}</b><small>{escape(bracket + detail)}</small>"


@dataclass(frozen=True, repr=False)
class Accuracy(Shown):
    """Share of right answers, with what it takes to judge it.

    `interval` is Wilson's 95 % interval (Wilson 1927): unlike the textbook's ± 1.96 standard errors
    it stays inside [0, 1] and is honest for small n. Explained in lesson 1.

    Example:
        >>> Accuracy(correct=95, n=100)
        95.0 % (88.8–97.8, n = 100)
    """

    correct: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.n or self.n == 0:
            raise ValueError(f"{self.correct} correct of {self.n} examples cannot be an accuracy.")

    @property
    def value(self) -> float:
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        bounds = binomtest(self.correct, self.n).proportion_ci(0.95, method="wilson")
        return float(bounds.low), float(bounds.high)

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % ({100 * low:.1f}–{100 * high:.1f}, n = {self.n:,})"


@dataclass(frozen=True, repr=False)
class Runs(Shown):
    """The same experiment with several seeds: mean, and the 95 % interval of the mean.

    The interval is Student's t over the seeds: it speaks of the luck of training, while that of
    `Accuracy` speaks of the luck of the test set. With three seeds it is wide, and honestly so.
    Explained in lesson 1.

    Example:
        >>> Runs((Accuracy(93, 100), Accuracy(94, 100), Accuracy(95, 100)))
        94.0 % (91.5–96.5, 3 seeds, n = 100)
    """

    accuracies: tuple[Accuracy, ...]

    def __post_init__(self) -> None:
        if len(self.accuracies) < 2:
            raise ValueError(f"Got {len(self.accuracies)} run; an interval over seeds needs two.")

    @property
    def value(self) -> float:
        return float(np.mean([accuracy.value for accuracy in self.accuracies]))

    @property
    def interval(self) -> tuple[float, float]:
        spread = sem([accuracy.value for accuracy in self.accuracies])
        half = float(student_t.ppf(0.975, len(self.accuracies) - 1) * spread)
        return max(self.value - half, 0.0), min(self.value + half, 1.0)

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"{100 * self.value:.1f} % ({100 * low:.1f}–{100 * high:.1f}, "
            f"{len(self.accuracies)} seeds, n = {self.accuracies[0].n:,})"
        )


@dataclass(frozen=True, repr=False)
class Gap(Shown):
    """Mean difference of two accuracies over the same seeds, in points, with its 95 % interval."""

    points: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"{self.points:+.1f} points ({self.low:+.1f} to {self.high:+.1f})"


def gap(runs: Runs, baseline: Runs) -> Gap:
    """How far `runs` lies above `baseline`, seed by seed (a paired t interval).

    Example:
        >>> a, b = (Runs(tuple(Accuracy(c, 100) for c in row)) for row in ([90, 92, 94], [91, 92, 96]))
        >>> gap(a, b)
        -1.0 points (-3.5 to +1.5)
    """
    pairs = zip(runs.accuracies, baseline.accuracies, strict=True)
    differences = [100 * (a.value - b.value) for a, b in pairs]
    mean = float(np.mean(differences))
    half = float(student_t.ppf(0.975, len(differences) - 1) * sem(differences))
    return Gap(mean, mean - half, mean + half)


@dataclass(frozen=True, repr=False)
class PairedTest(Shown):
    """Two models on the same examples: who is right where the other one errs (McNemar, exact).

    Only the examples on which they differ say anything: `only_a` were answered rightly by the first
    model alone, `only_b` by the second alone. If the models were equally good, each such example
    would be a coin flip; `p_value` is the chance of a split at least this uneven.

    References: McNemar 1947; Dietterich 1998, section 3.1. Explained in lesson 1.
    """

    only_a: int
    only_b: int
    n: int

    @property
    def p_value(self) -> float:
        differing = self.only_a + self.only_b
        return float(binomtest(self.only_a, differing).pvalue) if differing else 1.0

    @property
    def verdict(self) -> str:
        """ "no significant difference", or which of the two is better, at the 5 % level."""
        if self.p_value >= 0.05:
            return "no significant difference"
        return "the first is better" if self.only_a > self.only_b else "the second is better"

    def __repr__(self) -> str:
        return (
            f"{self.verdict} (only the first right: {self.only_a}, only the second: {self.only_b}, "
            f"p = {self.p_value:.2g}, n = {self.n:,})"
        )


def paired_test(correct_a: Tensor, correct_b: Tensor) -> PairedTest:
    """McNemar's test of two models on the same test part.

    Args:
        correct_a: bool ``[n]``, which examples the first model answers rightly.
        correct_b: the same for the second, in the same order.

    Raises:
        ValueError: the two are of different lengths, so they cannot be pairs.

    Example:
        >>> right, wrong = torch.tensor(True), torch.tensor(False)
        >>> paired_test(torch.stack([right] * 8), torch.stack([wrong] * 6 + [right] * 2))
        the first is better (only the first right: 6, only the second: 0, p = 0.031, n = 8)
    """
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1:
        raise ValueError(
            f"The answers have shapes {tuple(correct_a.shape)} and {tuple(correct_b.shape)}; a paired "
            "test needs two lists of the same examples in the same order."
        )
    a, b = correct_a.bool(), correct_b.bool()
    return PairedTest(int((a & ~b).sum()), int((~a & b).sum()), len(a))


@dataclass(frozen=True, repr=False)
class PairedRuns(Gap):
    """Mean difference of two ways to train, in points, over several seeds on the same examples."""

    p_value: float
    seeds: int
    n: int

    @property
    def verdict(self) -> str:
        """ "no significant difference", or which of the two is better, at the 5 % level."""
        if self.p_value >= 0.05:
            return "no significant difference"
        return "the first is better" if self.points > 0 else "the second is better"

    def __repr__(self) -> str:
        return (
            f"{self.verdict} ({super().__repr__()}, p = {self.p_value:.2g}, "
            f"{self.seeds} seeds, n = {self.n:,})"
        )


def paired_test_over_seeds(correct_a: Tensor, correct_b: Tensor) -> PairedRuns:
    """Two ways to train, each with several seeds, on the same test part: a paired t-test.

    Each example counts with the share of seeds that answer it rightly, and its two shares are a pair.
    The interval and p speak of the luck of the test set, with the luck of training averaged out as far
    as there are seeds; `gap` speaks of the seeds. Explained in lesson 3.

    Args:
        correct_a: bool ``[seeds, n]``, which examples each network of the first kind answers rightly.
        correct_b: the same for the second kind, over the same examples in the same order.

    Raises:
        ValueError: the two differ in shape, or are not ``[seeds, n]``.

    Example:
        >>> better = torch.tensor([[True, True, False, True], [True, True, True, True]])
        >>> paired_test_over_seeds(better, ~better).points
        75.0
    """
    two = correct_a.ndim == 2 and correct_a.shape[0] > 0 and correct_a.shape[1] > 1
    if correct_a.shape != correct_b.shape or not two:
        raise ValueError(
            f"The answers have shapes {tuple(correct_a.shape)} and {tuple(correct_b.shape)}; expected "
            "[seeds, n] for both, of the same two or more examples in the same order."
        )
    a, b = (correct.double().mean(0).cpu().numpy() for correct in (correct_a, correct_b))
    test = ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    # Where no example differs there is no spread to test against.
    p = 1.0 if (a == b).all() else float(np.nan_to_num(test.pvalue, nan=1.0))
    points = 100 * float((a - b).mean())
    return PairedRuns(points, 100 * float(low), 100 * float(high), p, *correct_a.shape)


@dataclass(frozen=True, repr=False)
class Share(Shown):
    """How much of something a smaller model keeps, as a fraction, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __repr__(self) -> str:
        to = "–" if self.low >= 0 else " to "  # a dash between two minus signs reads badly
        low, high = 100 * self.low, 100 * self.high
        return f"{100 * self.value:.1f} % ({low:.1f}{to}{high:.1f}, n = {self.n:,})"


def kept(student: Tensor, teacher: Tensor, floor: Tensor | None = None) -> Share:
    """The share of the teacher's accuracy that a student keeps: a paired bootstrap over the examples.

    With a `floor`, the share of what the teacher gained over it: (student − floor) / (teacher − floor).
    "97 % of BERT" sounds like much where a linear model has 93 % of BERT. The interval speaks of the
    luck of the test set (Efron & Tibshirani 1993, section 13.3). Explained in lesson 4.

    Args:
        student: bool ``[n]``, or ``[seeds, n]``: an example then counts with its share of right seeds.
        teacher, floor: bool ``[n]``, or ``[seeds, n]``, over the same examples in the same order.

    Returns:
        A `Share`; of NaN where the teacher is no better than the floor, so that there is no gain.

    Raises:
        ValueError: they are not over the same two or more examples.

    Example:
        >>> teacher, student = torch.tensor([1, 1, 1, 1, 0] * 40), torch.tensor([1, 1, 1, 0, 0] * 40)
        >>> kept(student, teacher)
        75.0 % (67.9–81.5, n = 200)
    """
    rows = [student, teacher] + ([] if floor is None else [floor])
    if len({row.shape[-1] for row in rows}) > 1 or student.shape[-1] < 2:
        raise ValueError(
            f"The answers have shapes {[tuple(row.shape) for row in rows]}; expected [n] or [seeds, n] "
            "for each, of the same two or more examples in the same order."
        )
    shares = [row.double().reshape(-1, row.shape[-1]).mean(0).cpu().numpy() for row in rows]

    def ratio(s: np.ndarray, t: np.ndarray, f: np.ndarray | None = None, axis: int = -1) -> Any:
        least = 0.0 if f is None else f.mean(axis)
        return (s.mean(axis) - least) / (t.mean(axis) - least)

    if floor is not None and shares[1].mean() <= shares[2].mean():
        return Share(float("nan"), float("nan"), float("nan"), student.shape[-1])
    # In a resample of few examples the teacher may gain nothing: its share is then infinite or NaN,
    # and so is the interval.
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        warnings.catch_warnings(action="ignore", category=DegenerateDataWarning),
    ):
        found = bootstrap(
            shares, ratio, paired=True, n_resamples=2000, batch=200, method="percentile", rng=0
        ).confidence_interval
    value = ratio(*shares)  # type: ignore[arg-type]
    return Share(float(value), float(found.low), float(found.high), student.shape[-1])


@dataclass(frozen=True, repr=False)
class Calibration(Shown):
    """How far a model's confidence is from its accuracy, overall (`ece`) and bin by bin.

    `ece`, the expected calibration error, is the mean distance of the two over the bins, weighted by
    how many examples fall into each (Guo et al. 2017, equation 3). Explained in lesson 3.
    """

    ece: float
    confidence: tuple[float, ...]  # mean confidence of each bin that is not empty
    accuracy: tuple[float, ...]
    count: tuple[int, ...]

    def __repr__(self) -> str:
        return f"ECE {self.ece:.3f} (n = {sum(self.count):,})"


def calibration(logits: Tensor, labels: Tensor, bins: int = 15) -> Calibration:
    """Sort the answers by confidence into `bins` of equal width, and compare it with the accuracy.

    Args:
        logits: ``[n, classes]``.
        labels: ``[n]``, the true classes.
        bins: of [0, 1] (default 15, as in Guo et al. 2017, section 3).

    Example:
        >>> sure = torch.tensor([[9.0, 0.0], [9.0, 0.0]])  # certain twice, right once
        >>> calibration(sure, torch.tensor([0, 1]))
        ECE 0.500 (n = 2)
    """
    if len(logits) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"Got {len(logits)} rows of logits and {len(labels)} labels; give one each."
        )
    confidence, answer = logits.softmax(-1).max(-1)
    right = (answer == labels).float()
    which = (confidence * bins).long().clamp(max=bins - 1)
    full = [which == b for b in range(bins) if (which == b).any()]
    mean_confidence = [confidence[members].mean().item() for members in full]
    accuracy = [right[members].mean().item() for members in full]
    count = [int(members.sum()) for members in full]
    gaps = [n * abs(c - a) for n, c, a in zip(count, mean_confidence, accuracy, strict=True)]
    return Calibration(
        sum(gaps) / len(labels), tuple(mean_confidence), tuple(accuracy), tuple(count)
    )


@dataclass(frozen=True, repr=False)
class Footprint(Shown):
    """What a model weighs: parameters, bytes on disk, bytes zipped, the share of its embeddings,
    and operations for one example (a multiplication and its addition are two). None: not measured."""

    parameters: int
    bytes: int
    zipped: int | None
    embedding_share: float
    operations: int | None

    def __repr__(self) -> str:
        zipped = "" if self.zipped is None else f", {self.zipped:,} zipped"
        operations = "" if self.operations is None else f", {self.operations:,} operations"
        return (
            f"{self.parameters:,} parameters ({self.embedding_share:.0%} embeddings), "
            f"{self.bytes:,} bytes{zipped}{operations}"
        )


def footprint(model: nn.Module, example: Tensor | Mapping[str, Tensor] | None = None) -> Footprint:
    """The four sizes of a model and, with an `example` batch, its operations per example.

    Bytes are those of a safetensors file of its state; zipped is that file through zlib, level 6.
    Explained in lesson 1. With a mask still attached both include it: make it permanent first
    (`pruning.make_permanent`) to measure what you would ship.

    Example:
        >>> footprint(nn.Linear(784, 300), torch.zeros(1, 784)).operations  # 2 · 784 · 300
        470400
    """
    # Tied weights are stored once: as many bytes as there is data.
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in _untied(model.state_dict(keep_vars=True)).items()
    }
    file = save(state)
    parameters = list(model.parameters())  # each shared parameter once
    total = sum(p.numel() for p in parameters)
    embeddings = {
        id(parameter): parameter.numel()
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()  # its weight, or what lies behind a mask
    }
    return Footprint(
        parameters=total,
        bytes=len(file),
        zipped=len(zlib.compress(file)),
        embedding_share=sum(embeddings.values()) / total if total else 0.0,
        operations=None if example is None else operations(model, example),
    )


def operations(model: nn.Module, example: Tensor | Mapping[str, Tensor]) -> int:
    """Operations of one forward pass, per example of the batch; a multiply-add counts as two.

    Matrix products, convolutions and attention are counted, as papers do; element-wise work is not.
    Zeros count like any other number: a masked model does the work of the dense one.
    """
    # PyTorch's counter does not know its own fused attention; the plain one it does. And it cannot
    # see through a mask in inference_mode.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            evaluating(model),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            _call(model, _beside(model, example))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() // batch_size(example)


def sparse_bytes(model: nn.Module) -> int:
    """Bytes of the model's file when each matrix is stored in the smaller of two forms: dense, or
    sparse by rows (CSR), which keeps the values that are not zero, the column of each, and where
    each row begins.

    Convolution kernels are taken as matrices ``[out, in · height · width]``. Columns take two bytes
    where they fit, else four. Explained in lesson 1.
    """
    stored = {}
    for name, tensor in _untied(model.state_dict(keep_vars=True)).items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.ndim < 2 or tensor.dtype == torch.bool:
            stored[name] = tensor
            continue
        sparse = csr(tensor.flatten(1))
        column_type = torch.int16 if sparse.shape[1] <= 2**15 else torch.int32
        parts = {
            f"{name}.values": sparse.values(),
            f"{name}.columns": sparse.col_indices().to(column_type),
            f"{name}.rows": sparse.crow_indices().to(torch.int32),
        }
        smaller = sum(part.nbytes for part in parts.values()) < tensor.nbytes
        stored.update(parts if smaller else {name: tensor})
    return len(save(stored))


def csr(matrix: Tensor) -> Tensor:
    """A matrix in PyTorch's sparse form by rows, without the warning that this is a beta feature."""
    with warnings.catch_warnings(action="ignore"):
        return matrix.detach().to_sparse_csr()


@dataclass(frozen=True, repr=False)
class Latency(Shown):
    """Milliseconds of one forward pass: median and quartiles, at a batch size and thread count."""

    median: float
    q1: float
    q3: float
    batch: int
    threads: int

    def __repr__(self) -> str:
        return f"{self.median:.3g} ms ({self.q1:.3g}–{self.q3:.3g}, {self.setting})"

    @property
    def setting(self) -> str:
        """What it was measured with: "batch 1, 2 threads"."""
        return f"batch {self.batch}, {self.threads} thread{'' if self.threads == 1 else 's'}"

    def faster_than(self, other: Latency) -> str:
        """ "1.8 × faster", "1.2 × slower", or "no measurable difference" where quartiles overlap."""
        if self.q1 <= other.q3 and other.q1 <= self.q3:
            return "no measurable difference"
        ratio = other.median / self.median
        return f"{ratio:.2g} × faster" if ratio > 1 else f"{1 / ratio:.2g} × slower"


def latency(
    models: Mapping[str, Callable[..., Any]],
    example: Tensor | Mapping[str, Tensor],
    rounds: int = 30,
) -> dict[str, Latency]:
    """Latency of several models on the same batch, measured in turns so that they share the noise.

    Each round times every model once, each time over as many calls as take about two milliseconds,
    after a call that does not count. Modules are put into eval mode for it; all runs are in
    `inference_mode`. Explained in lesson 1; DESIGN's rule of measuring 5.

    Args:
        models: name → a module, or any function of the batch.
        example: the batch: a tensor, or a mapping that is passed as keyword arguments.
        rounds: how many samples the median and the quartiles are taken from (default 30).

    Raises:
        ValueError: no model, or fewer than four rounds (quartiles need four).
    """
    if not models or rounds < 4:
        raise ValueError(
            f"Got {len(models)} models and {rounds} rounds; give at least one model and four rounds."
        )
    threads = torch.get_num_threads()
    samples: dict[str, list[float]] = {name: [] for name in models}
    # Python's timer with PyTorch's clock, which waits for a GPU. (PyTorch's own timer makes two calls
    # before each sample: of slow models that is most of the time.)
    timers = {
        name: Timer(
            "call(model, example)",
            timer=benchmark.timer,
            globals={"call": _call, "model": model, "example": _beside(model, example)},
        )
        for name, model in models.items()
    }
    with torch.inference_mode(), evaluating(*models.values()):
        for timer in timers.values():
            timer.timeit(2)
        once = {name: timer.timeit(2) / 2 for name, timer in timers.items()}  # seconds
        calls = {name: max(1, min(1000, round(2e-3 / once[name]))) for name in models}
        for _ in range(rounds):
            for name, timer in timers.items():
                timer.timeit(1)  # untimed: another model has run since
                samples[name].append(1000 * timer.timeit(calls[name]) / calls[name])
    return {
        name: Latency(
            median=float(np.median(times)),
            q1=float(np.percentile(times, 25)),
            q3=float(np.percentile(times, 75)),
            batch=batch_size(example),
            threads=threads,
        )
        for name, times in samples.items()
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside of this PyTorch computes on one thread: short times are steadier so, and a network of a
    few ten thousand parameters trains several times faster, as threads would wait for each other.
    Lessons 3 and 5 use it.

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


@contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """Eval mode for the modules among `models`, and afterwards each module's own mode again."""
    modules = [m for model in models if isinstance(model, nn.Module) for m in model.modules()]
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def batch_size(example: Tensor | Mapping[str, Tensor]) -> int:
    """Number of examples in a batch: the first dimension of its (first) tensor."""
    return len(example if isinstance(example, Tensor) else next(iter(example.values())))


def _beside(model: Callable[..., Any], example: Any) -> Any:
    """The batch on the device where the model is; a function says itself where it computes."""
    return send_to_device(example, device_of(model)) if isinstance(model, nn.Module) else example


def _call(model: Callable[..., Any], example: Tensor | Mapping[str, Tensor]) -> Any:
    return model(example) if isinstance(example, Tensor) else model(**example)


def _untied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without second names of the same tensor."""
    seen: dict[tuple[int, int], str] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.numel())
        seen.setdefault(place if all(place) else (0, len(seen)), name)  # what is empty has no place
    return {name: state[name] for name in seen.values()}
