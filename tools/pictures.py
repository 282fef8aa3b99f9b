"""Make the README's pictures from what the lessons store: python tools/pictures.py

docs/pictures/headline.svg   size against accuracy in lesson 5; README.md gets its alt text
docs/pictures/NN.png         the first picture of each lesson, made small

It runs in a second and loads no model. `make notebooks` calls it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
HEADLINE = re.compile(r"!\[[^\]]*\]\(docs/pictures/headline\.svg\)")
WIDTH = 180  # pixels of a small picture
SHOWN = {  # row of the record → what the picture calls it
    "the teacher itself": "teacher",
    "a quarter wide": "quarter wide",
    "three layers": "three layers",
    "narrow": "narrow",
    "text CNN": "small CNN",
}
TEACHER, STUDENT, INK, FADED = "#0072B2", "#D55E00", "#222222", "#5E5E5E"  # the lessons' colors


@dataclass(frozen=True)
class Point:
    """A model: its file's size in MB, its test accuracy in percent with its interval, and its speed as
    a multiple of the teacher's, both in ONNX Runtime."""

    name: str
    size: float
    accuracy: float
    low: float
    high: float
    speed: float = 1.0

    def __str__(self) -> str:
        accuracy = f"{self.accuracy:.1f} % ({self.low:.1f}–{self.high:.1f})"
        faster = f", {self.faster}" if self.faster else ""
        return f"{self.name} of {size_of(self.size)}, {accuracy}{faster}"

    @property
    def faster(self) -> str:
        """Such as "5 × as fast"; empty for the teacher."""
        return "" if self.speed == 1 else f"{self.speed:.0f} × as fast"


def size_of(megabytes: float) -> str:
    """Megabytes with two digits: 91 MB, 2.2 MB."""
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.2g} MB"


# ---------------------------------------------------------------------------------- what is stored


def results(root: Path = ROOT) -> list[Point]:
    """The teacher and some students of lesson 5, from the largest to the smallest.

    Intervals are over the test examples, with the seeds averaged.
    """
    record = root / "notebooks" / "experiments" / "lesson5_students.json"
    rows = json.loads(record.read_text("utf-8"))["rows"]
    answers = load_file(record.with_suffix(".safetensors"))
    fast, found = speeds(record.with_name("lesson5_times.json")), []
    for name, shown in SHOWN.items():
        seeds = [i for i, row in enumerate(rows) if row["student"] == name and "bytes" in row]
        right = 100 * np.stack([answers[f"{i}/test"] for i in seeds]).mean(0)
        size, mean = max(rows[i]["bytes"] for i in seeds) / 1e6, float(right.mean())
        half = 1.96 * float(right.std(ddof=1)) / math.sqrt(len(right))
        found.append(Point(shown, size, mean, mean - half, mean + half, fast.get(name, 1.0)))
    return sorted(found, key=lambda point: -point.size)


def speeds(record: Path) -> dict[str, float]:
    """Model → how many times as fast as the teacher: the median ratio over the rounds."""
    (row,) = json.loads(record.read_text("utf-8"))["rows"]
    samples = load_file(record.with_suffix(".safetensors"))["0/samples"]
    teacher = samples[row["models"].index("teacher, float32")]
    return {
        name: float(np.median(teacher / one))
        for name, one in zip(row["models"], samples, strict=True)
    }


# --------------------------------------------------------------------------------- the headline


def headline(points: Sequence[Point]) -> tuple[str, str]:
    """The picture as SVG, and its alt text.

    >>> picture, alt = headline([Point("teacher", 91, 87, 85, 88), Point("student", 2.2, 85, 84, 87)])
    >>> alt.split(":")[0]
    'Size against accuracy'
    """
    first, smaller = points[0], best(points)
    times, lost = first.size / smaller.size, first.accuracy - smaller.accuracy
    title = f"{times:.0f} × smaller for {lost:.1f} points of accuracy"
    alt = "Size against accuracy: " + "; ".join(map(str, points)) + f". That is {title}."
    floor = math.floor(min(point.low for point in points)) - 3  # room for words below a point
    ceiling = math.ceil(max(point.high for point in points)) + 2

    def x(size: float) -> float:
        return 90 + 580 * (math.log10(size) - math.log10(0.25)) / (
            math.log10(160) - math.log10(0.25)
        )

    def y(accuracy: float) -> float:
        return 290 - 200 * (accuracy - floor) / (ceiling - floor)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 360" role="img" '
        f'font-family="Helvetica, Arial, sans-serif" fill="{INK}"><title>{escape(alt)}</title>',
        '<rect width="720" height="360" rx="8" fill="white"/>',
        f'<text x="90" y="38" font-size="21" font-weight="bold">{title}</text>',
    ]
    for percent in range(floor + 1, ceiling - 1, 2):
        parts.append(f'<path d="M90 {y(percent):.1f}H670" stroke="#E3E3E3"/>')
        parts.append(label(80, y(percent) + 5, f"{percent} %", "end"))
    for value in (0.5, 1, 2, 5, 10, 20, 50, 100):
        parts.append(label(x(value), 312, f"{value:g}", "middle"))
    parts.append(label(380, 340, "size of the file in MB, on a log axis", "middle"))
    about = (
        "test accuracy with its 95 % interval over the test sentences; speed against the teacher"
    )
    parts.append(label(90, 60, about, "start", FADED))
    parts.append(f'<path d="M90 290H670" stroke="{FADED}"/>')
    right = math.inf
    for point in points:
        at = x(point.size)
        parts += drawn(
            point, at, [y(v) for v in (point.low, point.accuracy, point.high)], right - at < 105
        )
        right = at if right - at >= 105 else math.inf
    return "\n".join([*parts, "</svg>", ""]), alt


def best(points: Sequence[Point]) -> Point:
    """The smallest model that loses less than two points: what the title speaks of."""
    return next((p for p in reversed(points) if points[0].accuracy - p.accuracy < 2), points[-1])


def drawn(point: Point, x: float, ys: Sequence[float], below: bool) -> list[str]:
    """A point, the whisker of its interval, and what it is, above or below."""
    low, middle, high = ys
    color = TEACHER if point.name == "teacher" else STUDENT
    whisker = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 6:.1f} {low:.1f}h12M{x - 6:.1f} {high:.1f}h12"
    lines = [point.name, f"{size_of(point.size)}, {point.accuracy:.1f} %", point.faster]
    lines = [line for line in lines if line]
    top = low + 18 if below else high - 9 - 16 * (len(lines) - 1)
    return [
        f'<path d="{whisker}" stroke="{color}" stroke-width="2"/>',
        f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="7" fill="{color}"/>',
        label(x, top, lines[0], "middle", color),
        *(label(x, top + 16 * i, line, "middle") for i, line in enumerate(lines) if i),
    ]


def label(x: float, y: float, text: str, anchor: str, color: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="13" text-anchor="{anchor}" stroke="white" '
        f'stroke-width="4" paint-order="stroke" fill="{color}">{escape(text)}</text>'
    )


# ------------------------------------------------------------------------------ small pictures


def first_picture(notebook: Path) -> bytes | None:
    """The first picture that a notebook stores."""
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                return base64.b64decode("".join(output["data"]["image/png"]))
    return None


def small(picture: bytes) -> bytes:
    """The picture, `WIDTH` pixels wide; it says which one it was made from."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    height = round(WIDTH * image.height / image.width)
    made = white.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    note, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    note.add_text("made from", fingerprint(picture))
    made.quantize(64).save(buffer, "PNG", optimize=True, pnginfo=note)
    return buffer.getvalue()


def fingerprint(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()[:16]


def lessons(root: Path = ROOT) -> dict[str, bytes]:
    """The name of each lesson's small picture → the picture that it is made from."""
    found = {}
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        picture = first_picture(notebook)
        if picture is not None:
            found[notebook.name.partition("_")[0] + ".png"] = picture
    return found


def main() -> None:
    """Write all pictures, and the alt text of the first into README.md."""
    PICTURES.mkdir(exist_ok=True)
    picture, alt = headline(results())
    (PICTURES / "headline.svg").write_text(picture, "utf-8")
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    readme.write_text(HEADLINE.sub(f"![{alt}](docs/pictures/headline.svg)", text), "utf-8")
    for name, original in lessons().items():
        path = PICTURES / name
        if not path.exists() or Image.open(path).info.get("made from") != fingerprint(original):
            path.write_bytes(small(original))


if __name__ == "__main__":
    main()
