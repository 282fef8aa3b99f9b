"""What the steps of `compress` share: what was asked for, what is known so far, and the clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset, DatasetDict

from course_lib import evaluation
from course_lib.cached_files import sha256
from course_lib.compression.shapes import Shape, Target
from course_lib.datasets.tokenization import Lengths
from course_lib.evaluation.accuracy import Accuracy
from course_lib.files import short_hash
from course_lib.models.custom_model import CustomModel, is_classifier
from course_lib.quantization.onnx_export import OnnxClassifier

STEPS = ("measure", "choose", "prune", "distill", "int8", "measure again")


@dataclass(frozen=True)
class Options:
    """What may be left as it is.

    Attributes:
        max_length: longer texts are cut to so many tokens (default: 32, 64 or 128, the first at which
            at most 1 % of the texts are cut).
        shape: of the small model (default: chosen for the target).
        seed: of the split, the order of the texts and dropout (default 0).
        reads: how many texts the student reads in all, repeated where there are fewer (default 20,000).
        scored_on: training texts that decide which heads and units stay (default 400).
        rounds: samples of each latency (default 30).
        text, label: the columns of your file (default: these words).
    """

    max_length: int | None = None
    shape: Shape | None = None
    seed: int = 0
    reads: int = 20_000
    scored_on: int = 400
    rounds: int = 30
    text: str = "text"
    label: str = "label"


@dataclass
class Work:
    """The state of one call. `mine` and `lengths` are known after the first step."""

    options: Options
    target: Target
    settings: dict[str, Any]
    parts: DatasetDict
    mine: CustomModel = None  # type: ignore[assignment]
    lengths: Lengths = None  # type: ignore[assignment]
    stages: dict[str, tuple[float, int, int]] = field(default_factory=dict)
    minutes: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say which step begins; note how long it took, and say it where that is minutes."""
        print(f"{STEPS.index(name) + 1} of {len(STEPS)} · {name}", flush=True)
        start = time.perf_counter()
        yield
        self.minutes[name] = round((time.perf_counter() - start) / 60, 2)
        if self.minutes[name] >= 1:
            print(f"  In all, this step took {self.minutes[name]:.1f} minutes.", flush=True)

    def note(self, name: str, model: Any, validation: Dataset | Accuracy) -> None:
        """Measure size and, unless it is known, validation accuracy after a step."""
        found = (
            validation
            if isinstance(validation, Accuracy)
            else evaluation.evaluate(model, validation)
        )
        size = bytes_of(model) / 1e6
        self.stages[name] = (size, found.correct, found.n)
        print(f"  {name}: {size:.2f} MB, {found} on the validation part", flush=True)


def bytes_of(model: Any) -> int:
    """The size of a model's file."""
    if isinstance(model, OnnxClassifier):
        return len(model.content())
    return evaluation.footprint(model, zipped=False).bytes


def settings_of(
    texts: str | Path, model: str | Path, target: Target, unlabeled: Any, options: Options
) -> dict[str, Any]:
    """What the result depends on, fit for JSON, with names in place of paths.

    Raises:
        what `models.load_encoder` raises for a model that is not there.
    """
    folder = Path(model)
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    given = [Path(texts), *([Path(unlabeled)] if unlabeled else []), *files]
    return {
        "texts": Path(texts).name,
        "model": folder.name if files else str(model),
        "classifier": is_classifier(model),
        "unlabeled": Path(unlabeled).name if unlabeled else "",
        "contents": short_hash("".join(sha256(path) for path in given if path.is_file())),
        **dataclasses.asdict(target),
        **dataclasses.asdict(options),
        "shape": repr(options.shape),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
