"""What came out of `compress`: two models side by side, the verdict, and what to try next."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from course_lib.compression.measuring import Numbers
from course_lib.evaluation.accuracy import Accuracy, Estimate
from course_lib.evaluation.significance import PairedTest
from course_lib.files import printable
from course_lib.lessons import claims, diagrams
from course_lib.lessons.sketch import Drawing
from course_lib.lessons.test_set import counted

FILE = "report.json"


@dataclass(frozen=True)
class Report:
    """All that was measured. Every field is fit for JSON; the methods show it.

    Attributes:
        folder: where the small model lies.
        settings: what it was made from: file, model, target, seed and so on.
        rows: part → rows; classes: class → part → rows.
        lengths: "median", "95th percentile", "longest" and "share cut", at "max_length".
        cut: what became smaller, in words → before and after.
        stages: on the validation part: step → megabytes, correct, n.
        megabytes: of the two files, before and after.
        test: "before", "after" and "TF-IDF" → correct, n on the test part.
        differing: "before" and "TF-IDF" → test texts that only this one, and only the small model
            answers correctly.
        recall: class → before and after, as correct, n.
        f1: class → before and after, 0 to 1: the harmonic mean of its recall and its precision.
        milliseconds: length → who → median and quartiles.
        speedups: length → "ONNX Runtime" (both there) and "PyTorch" → value and interval.
        minutes: step → minutes, without what was found done.
    """

    folder: str
    settings: dict[str, Any]
    rows: dict[str, int]
    classes: dict[str, dict[str, int]]
    lengths: dict[str, float]
    cut: dict[str, tuple[str, str]]
    stages: dict[str, tuple[float, int, int]]
    megabytes: tuple[float, float]
    test: dict[str, tuple[int, int]]
    differing: dict[str, tuple[int, int]]
    recall: dict[str, tuple[tuple[int, int], tuple[int, int]]]
    f1: dict[str, tuple[float, float]]
    milliseconds: dict[str, dict[str, Numbers]]
    speedups: dict[str, dict[str, Numbers]]
    minutes: dict[str, float]

    @property
    def points(self) -> float:
        """How many points you can lose."""
        return float(self.settings["points"])

    @property
    def change(self) -> PairedTest:
        """The small model against the large one, on the same test texts; its value is the gain."""
        return self.against("before")

    def against(self, name: str) -> PairedTest:
        """The small model against "before" or "TF-IDF", on the same test texts."""
        only_other, only_small = self.differing[name]
        return PairedTest(only_small, only_other, self.test["after"][1])

    @property
    def only_teacher_right(self) -> int:
        """Test texts that only the large model answers correctly."""
        return self.change.only_b

    @property
    def only_student_right(self) -> int:
        """Test texts that only the small model answers correctly."""
        return self.change.only_a

    @property
    def test_texts(self) -> int:
        """How many test texts both models answered."""
        return self.change.n

    @property
    def times_smaller(self) -> float:
        """The large file's megabytes divided by the small one's."""
        large, small = self.megabytes
        return large / small

    def faster(self, runtime: str = "ONNX Runtime") -> dict[str, Estimate]:
        """Length → how many times as fast the small model is as the large one in this runtime."""
        return {length: Estimate(*row[runtime]) for length, row in self.speedups.items()}

    @property
    def verdict(self) -> str:
        """Does the small model lose less than you can afford? By the interval, as for any claim."""
        return claims.verdict(self.change.interval, -self.points / 100)

    def accuracy(self, name: str) -> Accuracy:
        """On the test part, of "before", "after" or "TF-IDF"."""
        return Accuracy(*self.test[name])

    @property
    def models(self) -> tuple[str, ...]:
        """What was scored on the test part, for the table of a lesson's claims."""
        return tuple({"before": "teacher", "after": "student"}.get(one, one) for one in self.test)

    @property
    def summary(self) -> str:
        """How many were scored on it, as a sentence."""
        return counted(self.models)

    def table(self) -> dict[str, tuple[str, str]]:
        """Row → before and after, in words."""
        large, small = self.megabytes
        smaller = f"{small:.2f} MB ({self.times_smaller:.1f} times smaller)"
        found = {"size": (f"{large:.1f} MB", smaller)}
        found["test accuracy"] = repr(self.accuracy("before")), repr(self.accuracy("after"))
        for name, (before, after) in self.recall.items():
            found[printable(f"recall of {name}")] = repr(Accuracy(*before)), repr(Accuracy(*after))
        for name, (was, now) in self.f1.items():
            found[printable(f"F1 of {name}")] = f"{was:.3f}", f"{now:.3f}"
        for length, who in self.milliseconds.items():
            value, low, high = self.speedups[length]["ONNX Runtime"]
            found[f"time for a text of {length}"] = (
                f"{who['before'][0]:.2f} ms",
                f"{who['after'][0]:.2f} ms ({value:.1f} times as fast, {low:.1f}–{high:.1f})",
            )
        return found

    def sentence(self) -> str:
        """The verdict in words."""
        low, high = (100 * end for end in self.change.interval)
        said = {
            "holds": f"It loses less than {self.points:g} points",
            "does not hold": f"It loses more than {self.points:g} points",
            "cannot tell": f"We cannot tell whether it loses less than {self.points:g} points",
        }[self.verdict]
        return (
            f"{said}: the accuracy changes by {100 * self.change.value:+.2f} points, with a 95 % "
            f"interval from {low:+.2f} to {high:+.2f}."
        )

    def advice(self) -> list[str]:
        """What to try next, the most promising first."""
        given, found = self.settings, []
        if self.verdict == "holds":
            found.append("You may go smaller: take the next shape below, or a lower target.")
            return found
        if self.verdict == "cannot tell":
            n = self.test["after"][1]
            found.append(
                f"The test part has {n:,} texts. Four times as many would halve the interval."
            )
        steps = [Accuracy(correct, n).value for _, correct, n in self.stages.values()]
        if len(steps) > 3 and steps[2] - steps[3] > 0.01:
            found.append("int8 costs more than a point here: keep the float32 file for comparison.")
        if not given["unlabeled"]:
            found.append("Give it unlabeled text of the same kind (--unlabeled more.txt).")
        if self.lengths["share cut"] > 0.05:
            found.append("Texts lose their end: try a longer --max-length.")
        found += [
            f"Let the student read more: --reads {2 * given['reads']}.",
            "Keep more of the model: a higher --width, or a larger --target-mb.",
        ]
        return found

    def picture(self) -> Drawing:
        """Size and validation accuracy along the way."""
        stages = [(name, *_round(row)) for name, row in self.stages.items()]
        return diagrams.pipeline(stages)

    def save(self) -> bytes:
        """The report as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode()

    def __repr__(self) -> str:
        rows = [("", "before", "after"), *((name, *both) for name, both in self.table().items())]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, "", self.sentence(), self._linear()])

    def _linear(self) -> str:
        return f"To compare, a linear model on TF-IDF (whole texts): {self.accuracy('TF-IDF')}."

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'
        head = "".join(f'<th scope="col" {left}>{t}</th>' for t in ("", "before", "after"))
        body = "".join(
            f"<tr><td {left}>{escape(name)}</td>"
            + "".join(f"<td {left}>{escape(one)}</td>" for one in both)
            + "</tr>"
            for name, both in self.table().items()
        )
        below = f"<p>{escape(self.sentence())}</p><p>{escape(self._linear())}</p>"
        return f"<table><tr>{head}</tr>{body}</table>{below}"


def stored_report(folder: str | Path) -> Report | None:
    """The report in a folder that `compress` wrote; None where there is none that can be read."""
    try:
        return Report(**json.loads((Path(folder) / FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _round(row: tuple[float, int, int]) -> tuple[float, float]:
    size, correct, n = row
    return round(size, 1 if size > 10 else 2), 100 * correct / n
