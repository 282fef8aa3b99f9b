"""How far a model's confidence is from its accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from course_lib.evaluation.accuracy import Shown


@dataclass(frozen=True, repr=False)
class Calibration(Shown):
    """The distance between confidence and accuracy, overall (`ece`) and in each bin.

    `ece`, the expected calibration error, is the mean distance over the bins, weighted by the number of
    examples in each (Guo et al. 2017, equation 3).
    """

    ece: float
    confidence: tuple[float, ...]  # mean confidence in each bin that is not empty
    accuracy: tuple[float, ...]
    count: tuple[int, ...]

    def __repr__(self) -> str:
        return f"ECE {self.ece:.3f} (n = {sum(self.count):,})"


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> Calibration:
    """Compare confidence and accuracy in `bins` intervals of confidence of equal width.

    Args:
        logits: ``[n, classes]``.
        labels: ``[n]``, the true classes.
        bins: number of intervals (default 15, as in Guo et al. 2017, section 3).

    Raises:
        ValueError: no rows, or not one label for each row.

    Example:
        >>> import torch
        >>> sure = torch.tensor([[9.0, 0.0], [9.0, 0.0]])  # certain twice, right once
        >>> expected_calibration_error(sure, torch.tensor([0, 1]))
        ECE 0.500 (n = 2)
    """
    if len(logits) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"Got {len(logits)} rows of logits and {len(labels)} labels; give one each."
        )
    confidence, answer = logits.softmax(-1).max(-1)
    right = (answer == labels).float()
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    members = [bin_of == b for b in range(bins) if (bin_of == b).any()]
    confidences = [confidence[chosen].mean().item() for chosen in members]
    accuracies = [right[chosen].mean().item() for chosen in members]
    counts = [int(chosen.sum()) for chosen in members]
    gaps = [n * abs(c - a) for n, c, a in zip(counts, confidences, accuracies, strict=True)]
    return Calibration(
        sum(gaps) / len(labels), tuple(confidences), tuple(accuracies), tuple(counts)
    )
