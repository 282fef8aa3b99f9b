"""What `compress` measures: answers on the test part, and latency."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.prediction import not_nan, predict
from course_lib.evaluation.timing import latency, one_thread, speedup
from course_lib.quantization.onnx_export import OnnxClassifier, export_onnx

Numbers = tuple[float, float, float]  # a value and its interval, or a median and its quartiles


def recall(right: Tensor, truth: Tensor, labels: Sequence[str]) -> dict[str, Accuracy]:
    """For each class: how many of its rows are answered correctly.

    Example:
        >>> recall(torch.tensor([True, False, True]), torch.tensor([0, 0, 1]), ["no", "yes"])["no"]
        50.0 % (9.5–90.5, n = 2)
    """
    found = {label: right[truth == i] for i, label in enumerate(labels)}
    return {label: Accuracy(int(r.sum()), len(r)) for label, r in found.items() if len(r)}


def f1(answers: Tensor, truth: Tensor, labels: Sequence[str]) -> dict[str, float]:
    """For each class that occurs: 2 · right / (given + true): recall and precision in one.

    Example:
        >>> f1(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), ["no", "yes"])
        {'no': 0.667, 'yes': 0.667}
    """
    found = {}
    for i, label in enumerate(labels):
        given, true = answers == i, truth == i
        if true.any():
            found[label] = round(float(2 * (given & true).sum() / (given.sum() + true.sum())), 3)
    return found


def answers_of(model: Any, rows: Dataset, batch_size: int = 64) -> Tensor:
    """The class that a model gives each text, int64 ``[n]``. With a batch size of 1 as the folder's
    program does it: in int8, a longer text in the batch changes the scales of the others a little."""
    return not_nan(predict(model, rows, batch_size=batch_size)).argmax(-1)


def linear_baseline(parts: Mapping[str, Dataset]) -> Tensor:
    """Bool ``[n]`` on the test part: a linear model on TF-IDF, with C chosen on the validation part."""
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", sublinear_tf=True)
    x = {"train": words.fit_transform(parts["train"]["text"][:])}
    x |= {name: words.transform(parts[name]["text"][:]) for name in ("validation", "test")}
    y = {name: np.array(rows["label"][:]) for name, rows in parts.items()}
    models = [
        LogisticRegression(C=C, max_iter=1000).fit(x["train"], y["train"]) for C in (2, 8, 32)
    ]
    best = max(
        models, key=lambda one: float((one.predict(x["validation"]) == y["validation"]).sum())
    )
    return torch.from_numpy(best.predict(x["test"]) == y["test"])


def times(
    large: Any, small: OnnxClassifier, at: Mapping[str, int], rounds: int = 30
) -> dict[str, tuple[dict[str, Numbers], dict[str, Numbers]]]:
    """Latency of both models, in turns, on one thread, for one text of each of some lengths.

    Args:
        large: in PyTorch; it is exported, too, so that both can be compared in one runtime.
        small: the int8 file.
        at: name of a length → tokens.
        rounds: samples of each (default 30).

    Returns:
        Name of a length → two dicts. The first: "PyTorch" (the large model there), "before" (the same
        in ONNX Runtime) and "after" → median and quartiles in milliseconds. The second: the runtime of
        the large model → how many times as fast the small one is, with the interval.
    """
    found = {}
    with one_thread(), TemporaryDirectory() as work:
        exported = OnnxClassifier(export_onnx(large, Path(work) / "large.onnx").path, threads=1)
        alone = OnnxClassifier(small.content(), threads=1)
        models = {"PyTorch": large, "before": exported, "after": alone}
        for name, tokens in at.items():
            row = latency(models, text_of(tokens), rounds)
            taken = {who: (one.median, one.q1, one.q3) for who, one in row.items()}
            ratios = {
                runtime: speedup(row[who], row["after"])
                for runtime, who in {"ONNX Runtime": "before", "PyTorch": "PyTorch"}.items()
            }
            found[name] = (taken, {k: (r.value, r.low, r.high) for k, r in ratios.items()})
    return found


def seconds_for(model: Any, rows: Dataset, n: int = 128) -> float:
    """Seconds of a forward pass for one of these rows, by a quick look at some of them.

    Example:
        >>> from course_lib.models.text_classifiers import TextCNN
        >>> rows = Dataset.from_dict({"input_ids": [[1, 2]] * 9, "attention_mask": [[1, 1]] * 9})
        >>> seconds_for(TextCNN(torch.arange(1, 9)), rows) < 1
        True
    """
    few = rows.select(range(min(n, len(rows))))
    predict(model, few.select(range(min(32, len(few)))))  # the first call of a model is slower
    start = time.perf_counter()
    predict(model, few)
    return (time.perf_counter() - start) / len(few)


def text_of(tokens: int) -> dict[str, Tensor]:
    """A batch of one text of so many tokens. Latency does not depend on which tokens they are."""
    ids = (torch.arange(tokens) % 90 + 3).unsqueeze(0)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
