"""Several forms of one model next to each other: bytes, share of the embeddings, and latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor, nn

from course_lib.evaluation.size import Footprint, footprint
from course_lib.evaluation.timing import Latency, Speedup, latency, speedup

HEADER = ("", "bytes", "smaller", "embeddings", "latency", "against the first")


@dataclass(frozen=True, repr=False)
class Comparison:
    """Sizes and latencies of several forms of one model; the first is what the others are compared
    with."""

    footprints: Mapping[str, Footprint]
    latencies: Mapping[str, Latency]

    @property
    def speedups(self) -> dict[str, Speedup]:
        """The speed-up of each form but the first over the first."""
        (_, first), *others = self.latencies.items()
        return {name: speedup(first, other) for name, other in others}

    @property
    def warnings(self) -> list[str]:
        """A sentence for each form that is slower than the first."""
        base = next(iter(self.latencies))
        verdicts = {name: ratio.verdict for name, ratio in self.speedups.items()}
        return [
            f"Warning: {name!r} is {words} than {base!r} on this processor; it saves bytes, not time."
            for name, words in verdicts.items()
            if words.endswith("slower")
        ]

    @property
    def _rows(self) -> list[tuple[str, ...]]:
        first, speedups = next(iter(self.footprints.values())), self.speedups
        return [
            (
                name,
                f"{size.bytes:,}",
                f"{first.bytes / size.bytes:.2g} ×",
                f"{size.embedding_share:.0%}",
                str(self.latencies[name]),
                speedups[name].verdict if name in speedups else "–",
            )
            for name, size in self.footprints.items()
        ]

    def __repr__(self) -> str:
        rows = [HEADER, *self._rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *self.warnings])

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'
        head = "".join(f'<th scope="col" {left}>{escape(title)}</th>' for title in HEADER)
        lines = ["".join(f"<td {left}>{escape(cell)}</td>" for cell in row) for row in self._rows]
        body = "".join(f"<tr>{line}</tr>" for line in [head, *lines])
        warned = "".join(f"<p><b>{escape(line)}</b></p>" for line in self.warnings)
        return f"<table>{body}</table>{warned}"


def compare(
    models: Mapping[str, nn.Module], example: Mapping[str, Tensor], rounds: int = 30
) -> Comparison:
    """Size and latency of several forms of one model, measured in turns; warns of slower ones.

    Args:
        models: name → model; the first is what the others are compared with.
        example: the batch, as for `latency`.
        rounds: number of samples for each model (default 30).

    Raises:
        ValueError: a model computes with another number of threads than PyTorch; no model, or fewer
            than four rounds.

    Example:
        >>> from course_lib.models.text_classifiers import TextCNN
        >>> from course_lib.quantization.int8 import quantize
        >>> cnn, ids = TextCNN(torch.arange(1, 999)), torch.ones(1, 8).long()
        >>> forms = {"float32": cnn, "int8 rows": quantize(cnn, backend="embeddings")}
        >>> comparison = compare(forms, {"input_ids": ids, "attention_mask": ids}, rounds=4)
        >>> [round(size.embedding_share, 2) for size in comparison.footprints.values()]
        [0.56, 0.24]
    """
    threads = torch.get_num_threads()
    for name, model in models.items():
        own = getattr(model, "threads", threads)
        if own != threads:
            raise ValueError(
                f"{name!r} computes with {own} threads, PyTorch with {threads}; these cannot be "
                f"compared. Make it again: {type(model).__name__}(path)."
            )
    times = latency(models, example, rounds)
    return Comparison({n: footprint(m, zipped=False) for n, m in models.items()}, times)
