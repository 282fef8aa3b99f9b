"""The README's pictures are what the lessons store."""

from __future__ import annotations

import io
import itertools
import re
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # tools/ is not installed

from tools import pictures as tool

CURE = "run python tools/pictures.py and commit what it writes"


def test_the_headline_is_in_step_with_the_stored_results():
    picture, alt = tool.headline(tool.results())
    assert (tool.PICTURES / "headline.svg").read_text("utf-8") == picture, CURE
    readme = (tool.ROOT / "README.md").read_text("utf-8")
    assert f"![{alt}](docs/pictures/headline.svg)" in readme, CURE


def test_the_small_pictures_are_in_step_with_the_lessons():
    found = tool.lessons()
    assert found
    for name, original in found.items():
        made = Image.open(tool.PICTURES / name)
        assert made.info["made from"] == tool.fingerprint(original), f"{name}: {CURE}"
        assert made.width == tool.WIDTH
        assert (tool.PICTURES / name).stat().st_size < 30_000


def test_the_headline_names_each_model_and_the_best_bargain():
    points = [
        tool.Point("teacher", 91, 87, 85.5, 88.5),
        tool.Point("student", 4.4, 86.5, 85, 88),
        tool.Point("student", 2.2, 85.5, 84, 87),
        tool.Point("student", 0.6, 82, 80, 84),
    ]
    picture, alt = tool.headline(points)
    assert alt.endswith(
        "student of 0.6 MB, 82.0 % (80.0–84.0). That is 41 × smaller for 1.5 points of accuracy."
    )
    assert picture.count("<circle") == 4 and f"<title>{alt}</title>" in picture
    # What is written beside two points does not overlap.
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>[^<]* MB, ', picture)
    for (x, y), (x2, y2) in itertools.pairwise(places):
        assert abs(float(x) - float(x2)) > 100 or abs(float(y) - float(y2)) > 15


def test_a_small_picture_is_white_where_the_original_is_transparent():
    buffer = io.BytesIO()
    Image.new("RGBA", (360, 200), (0, 0, 0, 0)).save(buffer, "PNG")
    made = Image.open(io.BytesIO(tool.small(buffer.getvalue())))
    assert made.size == (180, 100) and made.convert("RGB").getpixel((90, 50)) == (255, 255, 255)
