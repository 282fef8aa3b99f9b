"""Tables of what experiments stored, and of what a model is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing the lessons' parts does not load PyTorch
    from pandas import DataFrame
    from torch import Tensor, nn

    from course_lib.evaluation.accuracy import Accuracy, Runs
    from course_lib.evaluation.significance import PairedRuns, Share
    from course_lib.lessons.experiments import Results
    from course_lib.lessons.test_set import TestSet

Scored = Mapping[tuple[str, int], "Tensor"]


def scored(
    found: Results,
    test: TestSet,
    ways: Iterable[str],
    labels: Iterable[int],
    who: str = "",
    **case: Any,
) -> dict[tuple[str, int], Tensor]:
    """Test answers of each way with each number of labels, counted in the test set.

    A way that was stored with 0 labels uses none, so it has the same answers at every number.

    Args:
        found: of `lessons.results`, with the columns "way", "labels" and "test".
        test: the test set that these were scored on.
        ways, labels: the columns and rows of the table to come.
        who: begins the names under which the test set counts them (default: nothing).
        case: what else picks a row, such as ``copies=0``.

    Returns:
        (way, labels) → bool ``[seeds, n]``, which test examples are answered correctly.

    Raises:
        KeyError: nothing is stored for one of them.
    """
    import torch

    rows = {}
    cases = {(row["way"], row["labels"]) for row in found.rows}
    for way in ways:
        for n in labels:
            used = 0 if (way, 0) in cases else n
            answers = torch.stack(found.column("test", way=way, labels=used, **case))
            more = "".join(f", {key} {value}" for key, value in case.items())
            rows[way, n] = test.stored(f"{who}{way}, {used} labels{more}", answers)
    return rows


def stored(found: Results, test: TestSet, **case: Any) -> Tensor:
    """Test answers of one case of an experiment, counted in the test set.

    Args:
        found: of `lessons.results`, with the column "test".
        test: the test set that it was scored on.
        case: what picks the rows, such as ``start="new weights", losses="all three"``. Its values
            are the name under which the test set counts the models.

    Returns:
        bool ``[seeds, n]``, which test examples are answered correctly.

    Raises:
        KeyError: nothing is stored for it.
    """
    import torch

    answers = torch.stack(found.column("test", **case))
    return test.stored(", ".join(map(str, case.values())), answers)


def accuracy(answers: Tensor) -> Accuracy | Runs:
    """The accuracy of answers bool ``[n]``, or over the seeds of ``[seeds, n]``.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([True, True, False, True]))
        75.0 % (30.1–95.4, n = 4)
    """
    from course_lib.evaluation.accuracy import Accuracy

    if answers.ndim > 1:
        return over_seeds(answers)
    return Accuracy(int(answers.sum()), len(answers))


def over_seeds(answers: Tensor) -> Runs:
    """The accuracy over the seeds of answers bool ``[seeds, n]``.

    Example:
        >>> import torch
        >>> over_seeds(torch.tensor([[True, True, False, True], [True, False, False, True]])).value
        0.625
    """
    from course_lib.evaluation.accuracy import Accuracy, Runs

    return Runs(tuple(Accuracy(int(row.sum()), len(row)) for row in answers))


def differences(rows: Mapping[Any, tuple[Tensor, Tensor]]) -> DataFrame:
    """Differences of two accuracies in points: their paired interval, and that of each seed.

    Args:
        rows: what is compared → the answers bool ``[seeds, n]``, or ``[n]`` of one seed, of both,
            the baseline second. With pairs of names, the table has a column for each part. The
            interval is that of `evaluation.paired_test_over_seeds`.

    Example:
        >>> import torch
        >>> with_teacher = torch.tensor([[True, True, True, False], [True, True, True, True]])
        >>> differences({"4 labels": (with_teacher, with_teacher.roll(1, 0))}).iloc[0].tolist()
        ['+0.0 (+0.0 to +0.0)', '−25.0, +25.0']
    """
    import pandas as pd
    import torch

    from course_lib.evaluation.significance import paired_test_over_seeds

    shown = {}
    for name, pair in rows.items():
        one, other = torch.atleast_2d(*pair)
        found = paired_test_over_seeds(one, other)
        value, low, high = (_points(number) for number in (found.value, *found.interval))
        each = (one.double() - other.double()).mean(1).tolist()  # rounds as the value does
        shown[name] = (f"{value} ({low} to {high})", ", ".join(map(_points, each)))
    return pd.DataFrame(shown, index=["points (95 % interval over examples)", "each seed"]).T


def gap(one: Tensor, other: Tensor) -> PairedRuns:
    """The difference of two accuracies, for a claim that has to be true of each seed as well.

    Args:
        one, other: answers bool ``[seeds, n]``, the baseline second.

    Returns:
        What `evaluation.paired_test_over_seeds` finds, its interval widened where the difference of a
        single seed lies outside.

    Example:
        >>> import torch
        >>> with_teacher = torch.tensor([[True, True, True, False], [True, True, True, True]])
        >>> found = gap(with_teacher, with_teacher.roll(1, 0))
        >>> found.value, found.interval, found.seeds, found.n
        (0.0, (-0.25, 0.25), 2, 4)
    """
    from course_lib.evaluation.significance import paired_test_over_seeds

    found = paired_test_over_seeds(one, other)
    each = (one.double().mean(1) - other.double().mean(1)).tolist()
    return replace(found, low=min(found.low, *each), high=max(found.high, *each))


def megabytes_by_part(model: Any, bits: int = 32) -> dict[str, float]:
    """Where the bytes of a BERT classifier are: "embeddings", "layers", and "pooler, classifier".

    Args:
        model: a `BertForSequenceClassification`.
        bits: of each number in a matrix (default 32); see `quantization.quantized_bytes`.

    Example:
        >>> from course_lib.models.encoders import load_encoder
        >>> {name: round(size) for name, size in megabytes_by_part(load_encoder(), bits=8).items()}
        {'embeddings': 12, 'layers': 11, 'pooler, classifier': 0}
    """
    from course_lib.quantization.int8 import quantized_bytes

    def size(part: Any) -> float:
        floats = 4 * sum(parameter.numel() for parameter in part.parameters())
        return (floats if bits == 32 else quantized_bytes(part, bits)) / 1e6

    found = {"embeddings": size(model.bert.embeddings), "layers": size(model.bert.encoder)}
    return found | {"pooler, classifier": size(model) - sum(found.values())}


def kept_gain(student: float, teacher: float, linear: float) -> float:
    """Of the accuracy that a teacher has above a linear model, the share that its student keeps.

    Args:
        student, teacher, linear: accuracies, 0 to 1.

    Example:
        >>> round(kept_gain(0.85, 0.9, 0.8), 2)
        0.5
    """
    return (student - linear) / (teacher - linear)


def shares(rows: Mapping[str, Tensor], teacher: Tensor, floor: Tensor) -> DataFrame:
    """Accuracies, what share of the teacher's each one is, and what share of its gain over TF-IDF.

    Args:
        rows: name → answers bool ``[n]``, or ``[seeds, n]``.
        teacher, floor: answers of the teacher and of TF-IDF, over the same examples.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([1, 1, 1, 1, 0] * 40), torch.tensor([1, 1, 1, 0, 0] * 40)
        >>> shares({"student": student}, teacher, floor=torch.tensor([1, 1, 0, 0, 0] * 40)).iloc[0, 1]
        '75.0 % (67.9–81.5, n = 200)'
    """
    import pandas as pd

    from course_lib.evaluation.significance import retained

    table = {
        name: {
            "test accuracy": str(accuracy(right)),
            "share of the teacher's accuracy": str(retained(right, teacher)),
            "share of its gain over TF-IDF": str(retained(right, teacher, floor=floor)),
        }
        for name, right in rows.items()
    }
    return pd.DataFrame(table).T


def parts_of(model: nn.Module) -> dict[str, float]:
    """Million parameters in a transformer's embeddings, in its layers, and in what stands behind them.

    Example:
        >>> from torch import nn
        >>> parts = {"embeddings": nn.Embedding(1000, 8), "layer": nn.ModuleList([nn.Linear(8, 8)])}
        >>> parts_of(nn.ModuleDict(parts))
        {'embeddings': 0.008, 'layers': 7.2e-05, 'pooler, classifier': 0.0}
    """
    counts = {"embeddings": 0, "layers": 0, "pooler, classifier": 0}
    for name, weight in model.named_parameters():
        of_layer = "layers" if "layer." in name else "pooler, classifier"
        counts["embeddings" if "embeddings." in name else of_layer] += weight.numel()
    return {part: count / 1e6 for part, count in counts.items()}


def _points(fraction: float) -> str:
    return f"{100 * fraction + 0.0:+.1f}".replace("-", "−")


def accuracies(rows: Scored) -> DataFrame:
    """Accuracy in percent, with its interval over the seeds: a row for each number of labels.

    Example:
        >>> import torch
        >>> right = torch.tensor([[True, True, True, False], [True, True, True, True]])
        >>> accuracies({("alone", 50): right, ("with a teacher", 50): right}).iloc[0, 0]
        '87.5 (0.0 to 100.0)'
    """
    import pandas as pd

    shown: dict[str, dict[str, str]] = {}
    for (way, n), answers in rows.items():
        runs = over_seeds(answers)
        low, high = (100 * end for end in runs.interval)
        shown.setdefault(way, {})[f"{n:,} labels"] = (
            f"{100 * runs.value:.1f} ({low:.1f} to {high:.1f})"
        )
    return pd.DataFrame(shown).fillna("–")


def recovery(found: Results) -> dict[str, tuple[list[int], list[Share]]]:
    """How much of the lost log-perplexity each way of training brought back, after how many steps.

    Args:
        found: of `lessons.results`. The ways "whole" and "as cut" have one row of losses, every other
            one a row for each number of steps: the columns "after" (steps), "losses" ``[after,
            documents]`` and "tokens" ``[documents]``.

    Returns:
        way → (steps, shares), from 0 steps on, for each way but those two.

    Raises:
        KeyError: a way or a column is not there.
    """
    from course_lib.evaluation.perplexities import Perplexity

    def measured(way: str) -> list[Perplexity]:
        (losses,), (tokens,) = (found.column(name, way=way) for name in ("losses", "tokens"))
        return [Perplexity(row, tokens) for row in losses]

    (whole,), (cut,) = measured("whole"), measured("as cut")
    ways = [row["way"] for row in found.rows if row["way"] not in ("whole", "as cut")]
    return {
        way: (
            [0, *found.column("after", way=way)[0]],
            [one.recovered(cut, whole) for one in (cut, *measured(way))],
        )
        for way in dict.fromkeys(ways)
    }
