"""Predict and evaluate, on a CPU, a GPU or several processes alike."""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import Dataset

from course_lib import modules
from course_lib.batching import check_classes, check_dataset, labels_of, lengths, loader
from course_lib.evaluation.accuracy import Accuracy


def predict(model: nn.Module, dataset: Dataset, batch_size: int | None = None) -> Tensor:
    """Logits ``[n, classes]`` of every example, in the dataset's order, on the CPU.

    The model runs in eval mode and `inference_mode`, and is left as it is. On a GPU a copy does the
    work, unless the model has a true attribute `cpu_only`. With several processes each computes a
    share, and each returns all logits.

    Args:
        model: any module that takes what the dataset yields.
        dataset: its examples are as `training.fit` takes them.
        batch_size: default: the model's attribute `batch_size`, else 64.

    Raises:
        ValueError: the dataset is empty.
    """
    # 64: the outputs of a layer still fit into a processor's cache; 256 took a fifth more time.
    usual: int = getattr(model, "batch_size", 64)
    size = batch_size or usual
    check_dataset(dataset)
    state = PartialState()  # Accelerate's light part: processes and devices
    n = len(dataset)  # type: ignore[arg-type]
    if not n:
        raise ValueError("The dataset is empty; predict needs one example or more.")
    # Neighbors in length share a batch, so that little padding is computed.
    order = sorted(range(n), key=lengths(dataset).__getitem__)
    device = torch.device("cpu") if getattr(model, "cpu_only", False) else state.device
    if modules.device_of(model) != device:
        model = modules.copy_of(model).to(device)
    with state.split_between_processes(order) as mine, modules.evaluating(model):
        batches = [mine[i : i + size] for i in range(0, len(mine), size)]
        batches.reverse()  # the longest first: the memory that they free is enough for the others
        with torch.inference_mode():
            logits = [
                modules.logits_of(modules.forward(model, modules.to_device(batch, device))).cpu()
                for batch in loader(dataset, batches)
            ]
    logits.reverse()
    parts = gather_object(logits) if state.num_processes > 1 else logits
    in_order_of_length = torch.cat([part.clone() for part in parts])
    result = torch.empty_like(in_order_of_length)
    result[torch.tensor(order)] = in_order_of_length
    modules.release_memory()
    return result


def not_nan(logits: Tensor) -> Tensor:
    """The same logits ``[n, classes]``.

    Raises:
        FloatingPointError: there is NaN among them; argmax would take it for an answer.
    """
    broken = int(logits.isnan().any(-1).sum())
    if broken:
        raise FloatingPointError(
            f"The model answers {broken} of {len(logits)} examples with NaN, so it has no accuracy. "
            "Look for NaN in its weights (did the training diverge?) and in the inputs."
        )
    return logits


def correct(model: nn.Module, dataset: Dataset) -> Tensor:
    """Bool ``[n]``: which examples the model answers correctly. `paired_test` compares two of these.

    Raises:
        FloatingPointError: the model outputs NaN.
    """
    return right_answers(predict(model, dataset), dataset)


def right_answers(logits: Tensor, dataset: Dataset) -> Tensor:
    """`correct` for logits ``[n, classes]`` of `predict`, with the same errors."""
    numbers = labels_of(dataset).cpu()
    check_classes(not_nan(logits), numbers)
    return logits.argmax(-1) == numbers


def evaluate(model: nn.Module, dataset: Dataset) -> Accuracy:
    """Accuracy of `model` on a labeled dataset, with its interval.

    Raises:
        FloatingPointError: the model outputs NaN.
    """
    right = correct(model, dataset)
    return Accuracy(int(right.sum()), len(right))
